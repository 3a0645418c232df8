"""Makes instructions and answers out of visual annotations by a chat model: Syphus."""

from __future__ import annotations

import argparse
import sqlite3
import sys
import tempfile
from pathlib import Path

STAGES = ('cold_start', 'generate', 'parse', 'filter', 'translate', 'build')


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} The endpoint is OPENAI_BASE_URL with the key OPENAI_API_KEY. Ends with 0 '
        f'where all items are '
        'accounted for, 1 where some were not answered or the run stopped early, 2 for bad usage or missing input.'
    )
    parser.add_argument('config', metavar='CONFIG', help='a config file, such as configs/syphus/dense_captions.py')
    parser.add_argument('--work-dir', metavar='W', help='default: work_dirs/syphus/<config name>')
    parser.add_argument('--stage', choices=STAGES, help='make one stage anew; cold_start opens the page for examples')
    parser.add_argument('--resume', action='store_true', help='go on with the run in the work dir')
    parser.add_argument('--limit', type=int, metavar='N', help='the first N items only')
    parser.add_argument(
        '--dry-run', action='store_true', help='estimate requests, tokens, money and time; asks nothing'
    )
    parser.add_argument('--port', type=int, default=0, help='of the page; default: any free one')
    args = parser.parse_args(argv)
    if args.limit is not None and args.limit < 1:
        parser.error(f'--limit must be at least 1, got {args.limit}')
    if args.work_dir is None:
        args.work_dir = str(Path('work_dirs/syphus') / Path(args.config).stem)
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from mmgpt.engine.console import message_of, start_tool
    from mmgpt.inference.endpoint import EndpointError
    from mmgpt.inference.endpoint_limits import BudgetExhausted
    from mmgpt.syphus.settings import read_settings

    start_tool()
    folder = Path(args.work_dir)
    try:
        settings = read_settings(args.config)
        if args.stage == 'cold_start':
            return _cold_start(settings, folder, args.port)
        return _estimate(settings, folder, args) if args.dry_run else _run(settings, folder, args)
    except sqlite3.Error as error:
        print(
            f'syphus: {folder}: the state cannot be written ({error}); see to the disk, then --resume', file=sys.stderr
        )
        return 1
    except (EndpointError, BudgetExhausted) as error:
        print(f'syphus: stopped: {error}. What was answered is kept; go on with --resume', file=sys.stderr)
        return 1
    except (OSError, ValueError, TypeError, ImportError, KeyError) as error:
        print(f'syphus: {message_of(error)}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nsyphus: interrupted; go on with --resume', file=sys.stderr)
        return 130


def _cold_start(settings, folder: Path, port: int) -> int:
    from mmgpt.syphus.cold_start_page import ColdStart, serve

    try:
        serve(ColdStart(settings, folder), port, lambda address: print(f'open {address} (Ctrl-C ends it)', flush=True))
    except KeyboardInterrupt:
        print(f'\nexamples are in {folder / "cold_start"}; the next run uses the newest version')
    return 0


def _estimate(settings, folder: Path, args: argparse.Namespace) -> int:
    from mmgpt.syphus.pipeline import Run

    with tempfile.TemporaryDirectory() as scratch:
        run = Run(settings, folder, args.limit, Path(scratch))
        try:
            print(f'{run.load():,} items')
            endpoint = settings.open_endpoint(folder if run.begun() else Path(scratch))
            total = None
            for stage, estimate in run.estimate(endpoint):
                print(f'{stage}: {estimate}')
                total = estimate if total is None else total + estimate
            print(f'together: {total}')
            endpoint.cache.close()
        finally:
            run.close()
    return 0


def _run(settings, folder: Path, args: argparse.Namespace) -> int:
    from mmgpt.syphus.pipeline import Run

    run = Run(settings, folder, args.limit)
    try:
        if run.begun() and not (args.resume or args.stage):
            raise ValueError(f'{folder} holds a run: go on with it by --resume, or choose another --work-dir')
        run.load()
        summary = run.stages(args.stage)
    finally:
        run.close()
    dropped = ', '.join(f'{count:,} by {name}' for name, count in summary['dropped'].items() if count) or 'none'
    print(f'{summary["items"]:,} items: {summary["answered"]:,} of {summary["asked"]:,} requests answered, '
          f'{summary["rejected"]:,} unreadable, {summary["failed"]:,} failed, {summary["waiting"]:,} '
          f'waiting')  # fmt: skip
    print(f'{summary["pairs"]:,} pairs: {summary["kept"]:,} kept, dropped {dropped}')
    print(f'{summary["tokens"]:,} tokens, cost {summary["cost"]:.4f}; see {folder / "report.html"}')
    if lost := summary['translations_failed']:
        print(f'{lost:,} translations failed; --resume asks for them again')
    return 1 if summary['failed'] or lost or (summary['waiting'] and not args.stage) else 0


if __name__ == '__main__':
    sys.exit(main())

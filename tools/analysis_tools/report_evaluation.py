"""Shows what an evaluation gave: a page with figures, curve and pictures, a Markdown table, two runs compared."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('run', metavar='DIR', help='the folder that tools/test.py wrote to')
    parser.add_argument('--config', metavar='CONFIG', help='the config of the evaluation, for the pictures')
    parser.add_argument('--against', metavar='DIR', help='another run of the same task, to compare with')
    parser.add_argument('--page', metavar='PAGE.html', help='default: DIR/report.html')
    parser.add_argument('--markdown', metavar='FILE.md', help='default: DIR/report.md')
    parser.add_argument('--examples', type=int, default=12, metavar='N', help='right and wrong answers (default: 12)')
    args = parser.parse_args(argv)
    if args.examples < 0:
        parser.error(f'--examples must be at least 0, got {args.examples}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from mmgpt.engine.console import start_tool

    start_tool()

    from mmgpt.engine.config import load_config
    from mmgpt.evaluation.report import Run, compare, markdown, page
    from mmgpt.registry import TASKS

    try:
        run = Run.read(args.run)
        against = None if args.against is None else Run.read(args.against)
        comparison = () if against is None else compare(run, against)
        task = None if args.config is None else TASKS.build(dict(load_config(args.config).evaluation)).task
        files = {
            args.page or run.folder / 'report.html': page(run, task, comparison, against, args.examples),
            args.markdown or run.folder / 'report.md': markdown(run, comparison, against),
        }
    except (OSError, ValueError) as error:
        print(f'report_evaluation: {error}', file=sys.stderr)
        return 2
    for path, text in files.items():
        Path(path).write_text(text, encoding='utf-8')
    print(markdown(run, comparison, against))
    print(f'page: {next(iter(files))}')
    return 0


if __name__ == '__main__':
    sys.exit(main())

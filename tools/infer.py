"""Answers a JSONL file of requests in batches."""

from __future__ import annotations

import argparse
import sys


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} A line is {{"text", "image" | "images" | "video", "examples", "id"}} or {{"messages"}}.'
    )
    parser.add_argument('model', metavar='MODEL', help='a model folder, such as work_dirs/otter_demo/hf')
    parser.add_argument('requests', metavar='REQUESTS', help='a JSONL file; its paths are relative to it')
    parser.add_argument('--out', required=True, metavar='FILE', help='the answers, in the same order; must not exist')
    parser.add_argument('--system', metavar='TEXT', help='the system text of requests that have none')
    parser.add_argument('--examples', metavar='FILE', help='in-context examples of requests that have none')
    parser.add_argument('--max-new-tokens', type=int, default=256, metavar='N', help='default: %(default)s')
    parser.add_argument('--temperature', type=float, default=0.0, metavar='T', help='0 = greedy (default)')
    parser.add_argument('--top-p', type=float, default=1.0, metavar='P', help='of the draws; default: %(default)s')
    parser.add_argument('--seed', type=int, metavar='N', help='of the draws; default: another one each time')
    parser.add_argument(
        '--stop', nargs='+', default=[], metavar='TEXT', help="ends an answer, beside the template's own"
    )
    parser.add_argument('--max-batch', type=int, default=16, metavar='N', help='answers at a time; default: 16')
    parser.add_argument('--device', help='such as cpu or cuda:0; default: the accelerator where there is one')
    parser.add_argument('--dtype', default='auto', help="such as bfloat16; default: the folder's own")
    parser.add_argument('--import', dest='plugins', action='append', default=[], metavar='MODULE', help='a plugin')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 where a request failed."""
    args = parse(argv)

    from pathlib import Path

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from mmgpt.data.json_lines import json_lines
    from mmgpt.engine.console import start_tool
    from mmgpt.hub.io import load_folder
    from mmgpt.inference.batch import answer_file
    from mmgpt.inference.batching import BatchEngine
    from mmgpt.inference.examples import read_examples
    from mmgpt.inference.generation import GenerationSettings
    from mmgpt.inference.plugins import import_plugins

    start_tool()
    columns = BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn('{task.fields[rate]}')
    try:
        import_plugins(args.plugins)
        settings = GenerationSettings(
            args.max_new_tokens, args.temperature, args.top_p, stop=tuple(args.stop), seed=args.seed
        )
        examples = read_examples(args.examples) if args.examples else ()
        total = sum(1 for _ in json_lines(Path(args.requests)))  # a broken line is told now, not after hours of work
        model, processor = load_folder(args.model, args.device, args.dtype)
        with (
            BatchEngine(model, processor, max_batch=args.max_batch) as engine,
            Progress(*columns, console=Console(stderr=True)) as progress,
        ):
            task = progress.add_task('', total=total, rate='')

            def told(counts) -> None:
                seconds = progress.tasks[0].elapsed or 1e-9
                rate = f'{counts.tokens / seconds:.0f} tokens/s, {counts.failed} failed'
                progress.update(task, completed=counts.answered + counts.failed, rate=rate)

            counts = answer_file(engine, args.requests, args.out, settings, args.system, examples, told)
    except (OSError, ValueError, ImportError) as error:
        print(f'infer: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(f'{args.out}: {counts.answered} answers, {counts.tokens} tokens, {counts.failed} failed')
    return 1 if counts.failed else 0


if __name__ == '__main__':
    sys.exit(main())

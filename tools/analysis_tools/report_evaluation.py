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

    from mmgpt.evaluation.report import Run, compare, markdown, page

    try:
        run = Run.read(args.run)
        against = None if args.against is None else Run.read(args.against)
        comparison = () if against is None else compare(run, against)
        task = None if args.config is None else task_of(args.config, run.metrics['task'])
        files = {
            args.page or run.folder / 'report.html': page(run, task, comparison, against, args.examples),
            args.markdown or run.folder / 'report.md': markdown(run, comparison, against),
        }
        for path, text in files.items():
            Path(path).write_text(text, encoding='utf-8')
    except (OSError, ValueError, ImportError) as error:
        print(f'report_evaluation: {error}', file=sys.stderr)
        return 2
    print(markdown(run, comparison, against))
    print(f'page: {next(iter(files))}')
    return 0


def task_of(config: str, name: str):
    """The task of a config, which should be the one of that name.

    Raises:
        OSError: there is no such config.
        ValueError: it has no evaluation, or another one.
    """
    from mmgpt.engine.tasks import build_task

    evaluation = build_task(config, 'give the config that tools/test.py was given')
    task = getattr(evaluation, 'task', None)
    if task is None:
        raise ValueError(f'{config} has a {type(evaluation).__name__}, which is not of the kind that writes such a run')
    if task.name != name:
        raise ValueError(f'{config} evaluates {task.name}, and the run is of {name}: give the config of the run')
    return task


if __name__ == '__main__':
    sys.exit(main())

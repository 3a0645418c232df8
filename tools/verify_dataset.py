"""Looks for faults in data sets before a run meets them: the data's doctor."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} Ends with 0 where there are no errors, 1 where there are, 2 where it could not look.'
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG', help='a config file, or a training-data YAML')
    parser.add_argument('--source', metavar='TYPE', help='instead of CONFIG: what --ann is, such as mimicit or llava')
    parser.add_argument('--ann', metavar='PATH', help='an annotation file')
    parser.add_argument('--images', metavar='DIR_OR_FILE', help='its pictures')
    parser.add_argument('--template', metavar='NAME', help='such as Otter; with --source and a YAML')
    parser.add_argument('--tokenizer', metavar='DIR', help='a folder or hub id; with --source and a YAML')
    parser.add_argument('--max-seq-len', type=int, metavar='N', help="limit of a row's text in tokens")
    parser.add_argument('--json', metavar='REPORT', help='where to write all findings and the answer lengths as JSON')
    parser.add_argument('--fix', metavar='OUT', help='a folder for the same files without what is faulty')
    parser.add_argument('--jobs', type=int, default=os.cpu_count() or 1, metavar='N', help='processes; default: cores')
    parser.add_argument('--show', type=int, default=10, metavar='N', help='findings shown of each kind; default: 10')
    args = parser.parse_args(argv)
    if (args.config is None) == (args.source is None):
        parser.error('name either a CONFIG, or one source by --source, --ann, --template and --tokenizer')
    if args.source and not (args.ann and args.template and args.tokenizer):
        parser.error('--source needs --ann, --template and --tokenizer')
    if args.jobs < 1:
        parser.error(f'--jobs must be at least 1, got {args.jobs}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from mmgpt.data.verify import examine, open_patient
    from mmgpt.data.verify.progress import ProgressBar
    from mmgpt.data.verify.repair import check_target, repair
    from mmgpt.engine.console import message_of, start_tool
    from mmgpt.engine.data_arguments import named_data

    start_tool()
    try:
        if args.fix:
            check_target(args.fix)
        if args.json:
            Path(args.json).parent.mkdir(parents=True, exist_ok=True)
        patient = open_patient(named_data(args))
        with ProgressBar() as progress:
            report = examine(patient, args.jobs, progress)
        print(report.summary(args.show))
        if args.json:
            text = json.dumps(report.to_dict(), indent=1, ensure_ascii=False)
            Path(args.json).write_text(text + '\n', encoding='utf-8', errors='backslashreplace')
        if args.fix:
            for path, lost in repair(patient, report, args.fix):
                print(f'{path}: {lost} entries left out' if lost else f'{path}: as it was')
    except (OSError, ValueError, TypeError, ImportError, KeyError) as error:
        print(f'verify_dataset: {message_of(error)}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print('\nverify_dataset: interrupted', file=sys.stderr)
        return 130
    return 1 if report.errors else 0


if __name__ == '__main__':
    sys.exit(main())

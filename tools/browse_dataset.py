"""Shows what a model will really see of data sets: pictures, text, and which tokens are trained."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

ROWS_OF_A_PAGE = 100


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} In the order of the files, made by the code that makes training batches.'
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG', help='a config file, or a training-data YAML')
    parser.add_argument('--source', metavar='TYPE', help='instead of CONFIG: what --ann is, such as mimicit or llava')
    parser.add_argument('--ann', metavar='PATH', help='an annotation file')
    parser.add_argument('--images', metavar='DIR_OR_FILE', help='its pictures')
    parser.add_argument('--template', metavar='NAME', help='such as Otter; with --source and a YAML')
    parser.add_argument('--tokenizer', metavar='DIR', help='a folder or hub id; with --source and a YAML')
    parser.add_argument('--max-seq-len', type=int, metavar='N', help="limit of a row's text in tokens")
    parser.add_argument('--out', metavar='PAGE.html', help='a page for the browser, in one file')
    parser.add_argument('--jsonl', metavar='FILE', help='the rows as data, one a line; reads no pixels')
    parser.add_argument(
        '--limit', type=int, metavar='N', help=f'the first N rows; default: all, on a page {ROWS_OF_A_PAGE}'
    )
    parser.add_argument('--no-pack', action='store_true', help='a row for each sample, also where training packs them')
    args = parser.parse_args(argv)
    if (args.config is None) == (args.source is None):
        parser.error('name either a CONFIG, or one source by --source, --ann, --template and --tokenizer')
    if args.source and not (args.ann and args.template and args.tokenizer):
        parser.error('--source needs --ann, --template and --tokenizer')
    if not (args.out or args.jsonl):
        parser.error('name what to write: --out PAGE.html, --jsonl FILE, or both')
    if args.limit is not None and args.limit < 1:
        parser.error(f'--limit must be at least 1, got {args.limit}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code."""
    args = parse(argv)

    from itertools import islice

    from mmgpt.data.browse import packed, rows, without_augmentation, write_page
    from mmgpt.engine.console import message_of, start_tool
    from mmgpt.engine.data_arguments import named_data

    start_tool()
    try:
        named = named_data(args)
        dataset = without_augmentation(named.open(named.prompter()))

        def groups():
            return None if args.no_pack else packed(dataset, named.sampler)

        if args.jsonl:
            Path(args.jsonl).parent.mkdir(parents=True, exist_ok=True)
            with open(args.jsonl, 'w', encoding='utf-8') as file:
                for row in islice(rows(dataset, groups()), args.limit):
                    file.write(json.dumps(row.to_dict(dataset), ensure_ascii=False) + '\n')
        if args.out:
            shown = islice(rows(dataset, groups(), pixels=True), args.limit or ROWS_OF_A_PAGE)
            whole = args.limit is None and not any(dataset.blocks)  # what is streamed is fetched as far as it is shown
            count = write_page(args.out, shown, dataset, args.config or args.ann, whole)
            print(f'{args.out}: {count} rows, of {len(dataset)} samples')
    except (OSError, ValueError, TypeError, ImportError, KeyError) as error:
        told = message_of(error) + ''.join(f' ({note})' for note in getattr(error, '__notes__', ()))
        print(f'browse_dataset: {told}; tools/verify_dataset.py finds all faults of a set', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())

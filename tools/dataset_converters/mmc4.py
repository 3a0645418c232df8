"""Puts the documents of Multimodal C4 and their pictures together: tars that the pretraining reads."""

from __future__ import annotations

import argparse
import sys


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=f'{__doc__} Tars that are there are not made again.')
    parser.add_argument('documents', nargs='+', metavar='FILE', help='docs_shard_N_v2.jsonl, or its zip')
    parser.add_argument('--images', required=True, metavar='DIR_OR_FILE', help='the pictures, by their image_name')
    parser.add_argument('--out', required=True, metavar='DIR', help='the folder of the tars, such as data/mmc4')
    parser.add_argument('--pages-per-tar', type=int, default=30_000, metavar='N', help='%(default)s')
    args = parser.parse_args(argv)
    if args.pages_per_tar < 1:
        parser.error(f'--pages-per-tar must be at least 1, got {args.pages_per_tar}')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 2 where it could not be done."""
    args = parse(argv)

    from zipfile import BadZipFile

    from mmgpt.data.builder import build_image_store
    from mmgpt.data.converters import write_pages

    try:
        print(write_pages(args.documents, build_image_store(args.images), args.out, args.pages_per_tar))
    except (OSError, ValueError, BadZipFile) as error:
        print(f'mmc4: {error}', file=sys.stderr)
        return 2
    return 0


if __name__ == '__main__':
    sys.exit(main())

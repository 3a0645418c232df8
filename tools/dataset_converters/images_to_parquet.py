"""Makes MIMIC-IT's Parquet of pictures: of a folder, a JSON file of base64, tars, or Parquet written otherwise."""

from __future__ import annotations

import argparse
import sys


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} What is broken is left out and told, and then the exit code is 1.'
    )
    parser.add_argument('images', metavar='DIR_OR_FILE', help='the pictures')
    parser.add_argument('--out', required=True, metavar='XX.parquet', help='where there is much, a folder of files')
    parser.add_argument('--prefix', metavar='XX', help='ids become XX_IMG_{file name}; default: the names as they are')
    parser.add_argument('--size', type=int, metavar='PIXELS', help='resized to squares; default: as they are')
    parser.add_argument('--jpeg', type=int, metavar='QUALITY', help='with --size, 1 to 95; default: PNG')
    parser.add_argument('--part-bytes', type=int, metavar='N', default=1_500_000_000, help='of a file (%(default)s)')
    parser.add_argument('--jobs', type=int, default=4, metavar='N', help='pictures read at a time (%(default)s)')
    args = parser.parse_args(argv)
    if min(args.jobs, args.part_bytes, args.size or 1) < 1 or not (args.jpeg is None or 1 <= args.jpeg <= 95):
        parser.error('--size, --part-bytes and --jobs must be at least 1, and --jpeg from 1 to 95')
    if args.jpeg is not None and args.size is None:
        parser.error('--jpeg needs --size: without it pictures stay as they are')
    return args


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 where pictures were broken, 2 where it could not be done."""
    args = parse(argv)

    from mmgpt.data.builder import build_image_store
    from mmgpt.data.converters import Encoder, write_parquet

    try:
        images = build_image_store(args.images)
        encoder = Encoder(args.size, args.jpeg)
        made = write_parquet(images, args.out, args.prefix, encoder, args.jobs, args.part_bytes)
    except (OSError, ValueError) as error:
        print(f'images_to_parquet: {error}', file=sys.stderr)
        return 2
    print(made)
    return 1 if made.faults else 0


if __name__ == '__main__':
    sys.exit(main())

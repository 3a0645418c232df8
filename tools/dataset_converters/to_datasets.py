"""Makes a Hugging Face data set of messages and images of any source."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} datasets.load_dataset loads it, and the source Messages reads it back. '
        'Samples that cannot be read are left out and told, and then the exit code is 1.'
    )
    parser.add_argument('config', nargs='?', metavar='CONFIG', help='a config file: all sources of its training')
    parser.add_argument('--source', metavar='TYPE', help='instead of CONFIG: what --ann is, such as mimicit or llava')
    parser.add_argument('--ann', metavar='PATH', help='an annotation file')
    parser.add_argument('--images', metavar='DIR_OR_FILE', help='its pictures')
    parser.add_argument('--split', default='train', help='the name of the split (%(default)s)')
    parser.add_argument('--out', required=True, metavar='DIR', help='the folder to write; must not exist')
    args = parser.parse_args(argv)
    if (args.config is None) == (args.source is None):
        parser.error('name either a CONFIG, or one source by --source and --ann')
    if args.source and not args.ann:
        parser.error('--source needs --ann')
    return args


def sources(args: argparse.Namespace) -> Iterator[Any]:
    """The sources that the arguments name."""
    from mmgpt.data.builder import ENTRY_KEYS, build_image_store
    from mmgpt.data.sources.table import source_from_files
    from mmgpt.engine.config import load_config
    from mmgpt.registry import SOURCES

    if args.source:
        yield source_from_files(args.source, args.ann, args.images)
        return
    for entry in load_config(args.config, check=False).train_dataloader.dataset.sources:
        source = {key: value for key, value in entry.items() if key not in ENTRY_KEYS}
        if source.get('images') is not None:
            source['images'] = build_image_store(source['images'])
        yield SOURCES.build(source)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 where samples could not be read, 2 where it could not be done."""
    args = parse(argv)

    from mmgpt.data.converters import write_dataset
    from mmgpt.engine.console import quiet

    quiet()
    try:
        made = write_dataset(list(sources(args)), args.out, args.split)
    except (OSError, ValueError, TypeError, KeyError, ImportError) as error:
        print(f'to_datasets: {error.args[0] if isinstance(error, KeyError) else error}', file=sys.stderr)
        return 2
    print(made)
    return 1 if made.faults else 0


if __name__ == '__main__':
    sys.exit(main())

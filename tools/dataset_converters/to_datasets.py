"""Makes a Hugging Face data set of messages and images of any source."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=f'{__doc__} datasets.load_dataset loads it, and the source Messages reads it back. '
        'Samples that cannot be read are left out and told, and then the exit code is 1.'
    )
    parser.add_argument(
        'config', nargs='?', metavar='CONFIG', help='a config file or training-data YAML: all its sources'
    )
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


def entries(args: argparse.Namespace) -> list[Mapping[str, Any]]:
    """The configs of the sources that the arguments name."""
    from mmgpt.data.sources.table import source_config
    from mmgpt.engine.config import load_config

    if args.source:
        return [source_config(args.source, args.ann, args.images)]
    if Path(args.config).suffix in ('.yaml', '.yml'):
        return [{'type': 'TrainingData', 'path': args.config}]
    cfg = load_config(args.config, check=False)
    if not cfg.get('train_dataloader'):
        raise ValueError(f'{args.config} names no training data: it has no train_dataloader')
    return list(cfg.train_dataloader.dataset.sources)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; returns its exit code: 1 where samples could not be read, 2 where it could not be done."""
    args = parse(argv)

    from mmgpt.data.builder import build_sources
    from mmgpt.data.converters import write_dataset
    from mmgpt.engine.console import message_of, start_tool

    start_tool()
    try:
        sources, languages = zip(*build_sources(entries(args)), strict=True)
        made = write_dataset(sources, args.out, args.split, languages=languages)
    except (OSError, ValueError, TypeError, KeyError, AttributeError, ImportError) as error:
        print(f'to_datasets: {message_of(error)}', file=sys.stderr)
        return 2
    print(made)
    return 1 if made.faults else 0


if __name__ == '__main__':
    sys.exit(main())

"""The data that the arguments of a data tool name."""

from __future__ import annotations

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

from mmgpt.data.opening import NamedData
from mmgpt.engine.config import load_config
from mmgpt.engine.inputs import data_builder


def named_data(args: Namespace) -> NamedData:
    """The data that the arguments of a data tool name.

    Args:
        args: ``config`` (a config file or a training-data YAML), or ``source``, ``ann`` and ``images``; ``template``,
            ``tokenizer`` and ``max_seq_len``.

    Raises:
        OSError: a file is not there.
        ValueError: it names no data, or is no config.
        KeyError: there is no source or template of that name.
    """
    given = {'template': args.template, 'tokenizer': args.tokenizer, 'max_seq_len': args.max_seq_len}
    if args.source:
        return NamedData.of_files(args.source, args.ann, args.images, **given)
    if Path(args.config).suffix in ('.yaml', '.yml'):
        return NamedData.of_yaml(args.config, **given)
    cfg = load_config(args.config, check=False)
    builder = data_builder(cfg)
    if builder is not None and not builder.is_built() and not Path(builder.folder).exists():
        build = f'python tools/train.py {args.config}'
        raise ValueError(f'{args.config} makes its data before a run, and has not yet made {builder.folder}: {build}')
    data = NamedData.of_config(cfg)
    if args.max_seq_len is not None:
        data = replace(data, dataset={**data.dataset, 'max_seq_len': args.max_seq_len})
    return data

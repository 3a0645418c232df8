"""Builds the data way from config dicts; nothing else of ``mmgpt.data`` reads a config."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from mmgpt.data.address import Address
from mmgpt.data.collate import PadCollate
from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.image_stores import ImageStore
from mmgpt.data.prompter import Prompter
from mmgpt.data.source_entry import SourceEntry
from mmgpt.data.sources import Source
from mmgpt.data.templates import Template
from mmgpt.data.tokens import add_special_tokens
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.data.worker_signals import outlive_signals
from mmgpt.registry import IMAGE_STORES, RETRIEVERS, SAMPLERS, SOURCES, TEMPLATES, TRANSFORMS

# The keys of a source's dict that are the mixture's; all others go to the source's constructor.
ENTRY_KEYS = frozenset(field.name for field in fields(SourceEntry)) - {'source'}

_STORES = {'.json': 'JsonImages', '.tar': 'TarImages', '.arrow': 'TableImages', 'folder': 'VideoFiles'}


def build_tokenizer(cfg: Mapping[str, Any], template: Template) -> PreTrainedTokenizerBase:
    """The tokenizer of ``dict(path=folder or hub id, revision=None)`` with the template's special tokens added.

    Raises:
        OSError: there is no tokenizer; the message says what to do.
    """
    path, revision = cfg['path'], cfg.get('revision') or 'main'
    if unknown := set(cfg) - {'path', 'revision'}:
        raise TypeError(f"a tokenizer is configured by 'path' and 'revision', got {sorted(unknown)} too")
    tokenizer = read_tokenizer(path, revision)
    add_special_tokens(tokenizer, template)
    return tokenizer


def read_tokenizer(path: str, revision: str = 'main') -> PreTrainedTokenizerBase:
    """The tokenizer of a folder or hub id as it is.

    Raises:
        OSError: there is no tokenizer; the message says what to do.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
        if len(tokenizer) <= len(tokenizer.all_special_ids):  # some classes make an empty one where files are missing
            raise ValueError('its files are not there (tokenizer.json, tokenizer.model)')
    except (OSError, ValueError) as error:
        raise OSError(f'no tokenizer at {path!r}: give a folder that holds one, or a hub id: {error}') from error
    return tokenizer


def build_prompter(
    template: Mapping[str, Any],
    tokenizer: Mapping[str, Any] | PreTrainedTokenizerBase,
    image_transform: Mapping[str, Any],
) -> Prompter:
    """The prompter of three configs: ``dict(type='Otter')``, ``dict(path=…)`` (or a tokenizer), ``dict(size=224)``."""
    template = TEMPLATES.build(dict(template))
    if isinstance(tokenizer, Mapping):
        tokenizer = build_tokenizer(tokenizer, template)
    return Prompter(template, tokenizer, ImageTransform(**image_transform))


def build_image_store(cfg: str | Path | Mapping[str, Any]) -> ImageStore:
    """An image store of a dict with ``type``, or of a path.

    ``.json`` is ``JsonImages``; ``.tar``, or a folder with such files, ``TarImages``; ``.arrow``, or a folder with such
    files, ``TableImages``; any other folder without Parquet files ``VideoFiles``, which holds pictures too; all else
    ``ParquetImages``.
    """
    if isinstance(cfg, Mapping):
        return IMAGE_STORES.build(dict(cfg))
    path = Path(cfg)
    suffix = path.suffix
    if path.is_dir():
        endings = ('.parquet', '.tar', '.arrow')
        suffix = next((ending for ending in endings if next(path.glob(f'*{ending}'), None)), 'folder')
    return IMAGE_STORES.build({'type': _STORES.get(suffix, 'ParquetImages'), 'path': cfg})


def build_dataset(cfg: Mapping[str, Any], prompter: Prompter, seed: int = 0) -> InstructionDataset:
    """The data set of ``dict(sources=[dict(type='MimicIt', …)], max_seq_len=None)``.

    A source's dict also holds the keys of :class:`~mmgpt.data.source_entry.SourceEntry` (``retriever``, ``augment``,
    ``weight``, …). Sources with the same ``images`` share one store. ``dict(type='TrainingData', path='data.yaml')``
    stands for the sources that Otter's training-data file names.
    """
    stores: dict[str, ImageStore] = {}
    entries = [_build_entry(source, stores) for named in cfg['sources'] for source in named_sources(named)]
    others = {key: value for key, value in cfg.items() if key != 'sources'}
    return InstructionDataset(entries, prompter, seed=seed, **others)


def build_dataloader(
    cfg: Mapping[str, Any], prompter: Prompter, seed: int = 0, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """An endless loader of :class:`~mmgpt.structures.Batch` es.

    Its ``batch_sampler`` is the stream: set its position before iterating. Its batches are the same ones for any
    number of workers, and making it draws nothing from the global random state.

    Args:
        cfg: ``dict(batch_size, dataset=dict(…))``; optional: ``sampler=dict(type='MixtureSampler')``,
            ``pad_to_multiple_of``, ``padding_free`` (the samples of a batch one after the other in one packed row), and
            what torch's ``DataLoader`` takes (``num_workers``, ``prefetch_factor``, …).
        prompter: makes ids and frames.
        seed: of order, retrieval and augmentation.
        rank: of this process.
        world_size: the number of processes.
    """
    cfg = dict(cfg)
    dataset = build_dataset({'replace_unreadable': True, **cfg.pop('dataset')}, prompter, seed)
    stream = {'dataset': dataset, 'batch_size': cfg.pop('batch_size'), 'seed': seed}
    sampler = {'type': 'MixtureSampler', **cfg.pop('sampler', {})}
    batches = SAMPLERS.build({**stream, 'rank': rank, 'world_size': world_size, **sampler})
    return _build_loader(cfg, dataset, batches, prompter, seed)


def build_val_dataloader(
    cfg: Mapping[str, Any], prompter: Prompter, seed: int = 0, rank: int = 0, world_size: int = 1
) -> DataLoader:
    """A loader that gives each sample of an epoch once, in their order and with the same draws every time.

    Of several processes each has its share; their shares differ by one sample at most.

    Args:
        cfg: as of :func:`build_dataloader`, without ``sampler``.
        prompter: makes ids and frames.
        seed: of retrieval and augmentation.
        rank: of this process.
        world_size: the number of processes.

    Raises:
        ValueError: there is no sample.
    """
    cfg = dict(cfg)
    dataset = build_dataset({'replace_unreadable': True, **cfg.pop('dataset')}, prompter, seed)
    size = cfg.pop('batch_size')
    quotas = enumerate(zip(dataset.quotas, dataset.sizes, strict=True))
    epoch = [Address(source, draw % total, draw // total) for source, (quota, total) in quotas for draw in range(quota)]
    if not epoch:
        raise ValueError('val_dataloader: there is no sample to measure the loss on: give a source a weight above 0')
    share = epoch[rank::world_size]
    batches = [share[start : start + size] for start in range(0, len(share), size)]
    return _build_loader(cfg, dataset, batches, prompter, seed)


def _build_loader(
    cfg: dict[str, Any], dataset: InstructionDataset, batches: Iterable[list[Address]], prompter: Prompter, seed: int
) -> DataLoader:
    rows = {key: cfg.pop(key) for key in ('pad_to_multiple_of', 'padding_free') if key in cfg}
    if not cfg.get('num_workers'):
        cfg.pop('prefetch_factor', None)  # of workers alone, and torch would refuse it
    return DataLoader(
        dataset,
        batch_sampler=batches,
        collate_fn=PadCollate(prompter.tokenizer.pad_token_id, **rows),
        generator=torch.Generator().manual_seed(seed),
        worker_init_fn=outlive_signals,
        **{'pin_memory': torch.cuda.is_available(), **cfg},  # a copy to the GPU does not wait then
    )


def named_sources(cfg: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The sources that an entry of a config stands for: itself, or those of a training-data file."""
    if cfg.get('type') != 'TrainingData':
        return [cfg]
    options = {key: value for key, value in cfg.items() if key in ENTRY_KEYS}
    read = {key: value for key, value in cfg.items() if key not in ENTRY_KEYS}
    return [{**source, **options} for source in SOURCES.build(read)]


def build_sources(cfgs: Iterable[Mapping[str, Any]]) -> list[tuple[Source, str]]:
    """The sources of a config's entries by themselves, and the language that each entry names ('' = none)."""
    stores: dict[str, ImageStore] = {}
    named = chain.from_iterable(map(named_sources, cfgs))
    return [(_build_source(cfg, stores), cfg.get('language') or '') for cfg in named]


def _build_source(cfg: Mapping[str, Any], stores: dict[str, ImageStore]) -> Source:
    source = {key: value for key, value in cfg.items() if key not in ENTRY_KEYS}
    if source.get('images') is not None:
        images = source['images']
        name = json.dumps(images, sort_keys=True, default=str)
        if name not in stores:
            stores[name] = build_image_store(images)
        source['images'] = stores[name]
    return SOURCES.build(source)


def _build_entry(cfg: Mapping[str, Any], stores: dict[str, ImageStore]) -> SourceEntry:
    options = {key: value for key, value in cfg.items() if key in ENTRY_KEYS}
    if options.get('retriever') is not None:
        options['retriever'] = RETRIEVERS.build(dict(options['retriever']))
    options['augment'] = tuple(TRANSFORMS.build(dict(transform)) for transform in options.get('augment') or ())
    return SourceEntry(_build_source(cfg, stores), **options)

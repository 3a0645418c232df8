"""What a user named on the command line of a data tool: a config, a training-data file, or one annotation file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmgpt.data.builder import build_dataset, build_prompter
from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.prompter import Prompter
from mmgpt.data.sources.table import source_config
from mmgpt.data.sources.training_data import read_training_data
from mmgpt.registry import SOURCES, TEMPLATES

PARTS = ('template', 'tokenizer', 'image_transform', 'train_dataloader')
EVALUATION = ('evaluation', 'val_dataloader', 'test_dataloader')  # the keys of a config that may name other data


@dataclass(frozen=True)
class NamedData:
    """Data sets and how prompts are made of them, as configs: nothing is read before a method is called.

    Args:
        dataset: ``dict(sources=[…], max_seq_len=None)``, as :func:`mmgpt.data.builder.build_dataset` takes it.
        template: ``dict(type='Otter')``.
        tokenizer: ``dict(path=folder or hub id)``.
        image_transform: ``dict(size=224)``.
        seed: of retrieval and augmentation.
        sampler: ``dict(type='PackingSampler', …)``, as of a ``train_dataloader``; empty = the usual one.
        evaluated: the sources that an evaluation reads.
    """

    dataset: dict[str, Any]
    template: dict[str, Any]
    tokenizer: dict[str, Any]
    image_transform: dict[str, Any] = field(default_factory=lambda: {'size': 224})
    seed: int = 0
    sampler: dict[str, Any] = field(default_factory=dict)
    evaluated: list[dict[str, Any]] = field(default_factory=list)

    @classmethod
    def of_config(cls, cfg: Mapping[str, Any]) -> NamedData:
        """The data of a training's config; an evaluation's sources are looked for in ``EVALUATION``.

        Raises:
            ValueError: the config describes no training.
        """
        if missing := [name for name in PARTS if not cfg.get(name)]:
            raise ValueError(f'the config names no training data: it has no {", ".join(missing)}')
        cfg = cfg.to_dict() if hasattr(cfg, 'to_dict') else dict(cfg)
        return cls(
            dataset=dict(cfg['train_dataloader']['dataset']),
            template=cfg['template'],
            tokenizer=cfg['tokenizer'],
            image_transform=cfg['image_transform'],
            seed=int((cfg.get('randomness') or {}).get('seed') or 0),
            sampler=dict(cfg['train_dataloader'].get('sampler') or {}),
            evaluated=[source for name in EVALUATION for source in _sources_in(cfg.get(name))],
        )

    @classmethod
    def of_files(
        cls, source: str, annotations: str, images: str | None, template: str, tokenizer: str, max_seq_len: int | None
    ) -> NamedData:
        """One annotation file.

        Args:
            source: its type, one of ``mmgpt.data.sources.table.TABLE``.
            annotations: the file.
            images: folder or file of its pictures.
            template: the type of a template, in any letters: ``Otter``, ``multimodal_gpt``.
            tokenizer: folder or hub id.
            max_seq_len: limit of a row's text in tokens; None = no limit.

        Raises:
            KeyError: there is no source of that name.
        """
        config = source_config(source, annotations, images)
        dataset = {'sources': [config], 'max_seq_len': max_seq_len}
        return cls(dataset, template=template_config(template), tokenizer={'path': tokenizer})

    @classmethod
    def of_yaml(cls, path: str, template: str | None, tokenizer: str | None, max_seq_len: int | None) -> NamedData:
        """A training-data file of Otter's; see :func:`mmgpt.data.sources.training_data.read_training_data`.

        Args:
            path: the file.
            template: the type of a template; None = ``Otter``.
            tokenizer: folder or hub id.
            max_seq_len: limit of a row's text in tokens; None = no limit.

        Raises:
            FileNotFoundError, ValueError: see there.
        """
        if tokenizer is None:
            raise ValueError(f'{path} names no tokenizer: give --tokenizer, a folder or hub id')
        dataset = {'sources': read_training_data(path), 'max_seq_len': max_seq_len}
        return cls(dataset, template=template_config(template or 'Otter'), tokenizer={'path': tokenizer})

    def prompter(self) -> Prompter:
        """Template, tokenizer and image transform.

        Raises:
            OSError, ValueError: see :func:`mmgpt.data.builder.build_prompter`.
        """
        return build_prompter(self.template, self.tokenizer, self.image_transform)

    def open(self, prompter: Prompter) -> InstructionDataset:
        """The data set that training reads."""
        return build_dataset(self.dataset, prompter, self.seed)


def template_config(name: str) -> dict[str, Any]:
    """The config of a template by the name that a user gives it: upper case, blanks and dashes do not count.

    Example:
        >>> template_config('multimodal-gpt'), template_config('simple')
        ({'type': 'MultiModalGPT'}, {'type': 'Otter'})
    """
    known = {_plain(type): {'type': type} for type in TEMPLATES.names()} | {
        'simple': {'type': 'Otter'},  # as Otter's code calls its formats, and the demos' spacing of the first
        'spaced': {'type': 'Otter', 'spacing': 'spaced'},
        'llama2': {'type': 'OtterLlama2'},
        'idefics': {'type': 'Idefics', 'answer_token': True},
        'chat': {'type': 'ChatTemplate'},
    }
    return dict(known.get(_plain(name), {'type': name}))


def _plain(name: str) -> str:
    return ''.join(letter for letter in name.lower() if letter.isalnum())


def _sources_in(cfg: Any) -> Iterator[dict[str, Any]]:
    """The sources anywhere in a config."""
    if isinstance(cfg, Mapping):
        if cfg.get('type') in SOURCES.names():
            yield dict(cfg)
            return
        cfg = list(cfg.values())
    for value in cfg if isinstance(cfg, list | tuple) else ():
        yield from _sources_in(value)

"""Rows as training makes them, in the order of the files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mmgpt.data.address import Address
from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.frames import FrameKey
from mmgpt.data.samplers import PackingSampler
from mmgpt.registry import SAMPLERS
from mmgpt.structures import IGNORE_INDEX, Encoded


@dataclass(frozen=True)
class Row:
    """One row of a batch: a sample with its context, or several of them that were packed.

    Args:
        samples: what it holds, in its order; their media name frames by :class:`~mmgpt.data.frames.FrameKey`.
        sources: the name of the source of each.
        frames: the pixels of its frames, where they were read.
    """

    samples: tuple[Encoded, ...]
    sources: tuple[str, ...]
    frames: dict[FrameKey, Tensor]

    @property
    def id(self) -> str:
        """The ids of its samples."""
        return ' + '.join(sample.id for sample in self.samples)

    @property
    def input_ids(self) -> Tensor:
        """(S,) int64."""
        return torch.cat([sample.input_ids for sample in self.samples])

    @property
    def labels(self) -> Tensor:
        """(S,) int64, unshifted, ``IGNORE_INDEX`` = not trained."""
        return torch.cat([sample.labels for sample in self.samples])

    @property
    def segment_ids(self) -> Tensor:
        """(S,) int64, 1..k = the samples of the row."""
        lengths = torch.tensor([len(sample.input_ids) for sample in self.samples])
        return torch.repeat_interleave(torch.arange(1, len(lengths) + 1), lengths)

    @property
    def trained(self) -> int:
        """The number of supervised tokens."""
        return int((self.labels != IGNORE_INDEX).sum())

    def to_dict(self, dataset: InstructionDataset) -> dict[str, Any]:
        """A line of ``--jsonl``."""
        prompter = dataset.prompter
        size = prompter.image_transform.size
        ids = self.input_ids.tolist()
        media = chain.from_iterable(sample.media for sample in self.samples)
        line = {
            'id': self.id,
            'text': prompter.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False),
            'input_ids': ids,
            'labels': self.labels.tolist(),
            'media': [
                {'frame_ids': [frame_name(key) for key in medium.frames], 'shape': [len(medium.frames), 3, size, size]}
                for medium in media
            ],
            'context_ids': [id for sample in self.samples for id in sample.context_ids],
            'segment_ids': self.segment_ids.tolist(),
        }
        placed = [sample.attend_next for sample in self.samples]
        return line if set(placed) == {None} else {**line, 'attend_next': placed}


def frame_name(key: Any) -> Any:
    """What a frame is called in its image store; of a picture that has no name, its place in the sample."""
    if isinstance(key, FrameKey):
        return frame_name(key.key)
    if isinstance(key, tuple):  # of several pictures side by side
        return [frame_name(one) for one in key]
    return key if isinstance(key, str | int) else repr(key)


def rows(
    dataset: InstructionDataset, groups: Iterable[Sequence[Address]] | None = None, pixels: bool = False
) -> Iterator[Row]:
    """The rows of a data set as an epoch's first sight of each sample gives them.

    Args:
        dataset: see :func:`without_augmentation`.
        groups: the samples of each row; None = a row for each sample, in the order of sources and files.
        pixels: read the frames too.

    Raises:
        ValueError, KeyError: a sample has a fault; the message or its note names it.
    """
    for group in addresses(dataset) if groups is None else groups:
        names = tuple(dataset.entries[address.source].source.name for address in group)
        if pixels:
            items = dataset.__getitems__(group)
            frames = {key: frame for item in items for key, frame in item.frames.items()}
            yield Row(tuple(item.encoded for item in items), names, frames)
        else:
            yield Row(tuple(dataset.named(address) for address in group), names, {})


def packed(dataset: InstructionDataset, sampler: Mapping[str, Any]) -> Iterator[list[Address]] | None:
    """The rows of an epoch as a packing sampler plans them, in the order of the files as far as the rows allow.

    Args:
        dataset: that is packed.
        sampler: its config; where it does not pack, there is None.
    """
    if 'type' not in sampler or not issubclass(SAMPLERS.get(sampler['type']), PackingSampler):
        return None
    options = {**sampler, 'dataset': dataset, 'batch_size': 1, 'shuffle': False, 'workers': 0}
    return SAMPLERS.build(options).epoch()


def addresses(dataset: InstructionDataset) -> Iterator[list[Address]]:
    """Every sample as a row of its own."""
    for source, size in enumerate(dataset.sizes):
        for index in range(size):
            yield [Address(source, index)]


def spaced(dataset: InstructionDataset, most: int) -> Iterator[Address]:
    """At most so many samples, evenly spaced over all sources."""
    ends = np.cumsum(dataset.sizes)
    for number in np.linspace(0, ends[-1] - 1, min(most, ends[-1])).astype(int):
        source = int(np.searchsorted(ends, number, side='right'))
        yield Address(source, int(number - ends[source] + dataset.sizes[source]))


def without_augmentation(dataset: InstructionDataset) -> InstructionDataset:
    """The same data set, its pictures resized but not augmented."""
    entries = [replace(entry, augment=()) for entry in dataset.entries]
    return InstructionDataset(entries, dataset.prompter, dataset.max_seq_len, dataset.seed)

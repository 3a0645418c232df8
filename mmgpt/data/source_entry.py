"""A source in a mixture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from mmgpt.data.incontext import Retriever
from mmgpt.data.sources import Source, check_attend_next
from mmgpt.data.vision_inputs import Transform


class Blocks(NamedTuple):
    """Runs of neighbouring samples of a source that are best read together."""

    sizes: np.ndarray  # (n,) int64, samples of each
    mixed: int  # from about how many at a time the order takes samples


@dataclass(frozen=True)
class SourceEntry:
    """A source and how it takes part in the mixture.

    Args:
        source: gives the samples.
        retriever: chooses the context of each; None = none.
        marks: with context, 'every' example shows its own media (Otter's IMAGE_TEXT_IN_CONTEXT), or the media of the
            sample stand before the 'first' one and all share them (its IMAGE_TEXT and VIDEO_TEXT: same scene or clip).
        augment: augmentations of its pictures, alike for all frames of a medium.
        weight: how often an epoch sees each sample: 2 = twice, 0.5 = half of them, other ones in each epoch.
        num_samples: how many an epoch sees, instead of ``weight``.
        loss_weight: of its tokens in the loss.
        language: of its samples that do not say it themselves, a tag such as 'en' or 'zh'; losses are reported apart.
        max_seq_len: limit of its rows' text in tokens, instead of the data set's.
        shuffle_blocks: of a streamed source: from about how many row groups at a time its samples are mixed; more mix
            better and need more room in the cache.
        attend_next: in training, the share of its samples whose text sees the next medium; that of the others sees the
            previous one. Flamingo's augmentation (arXiv 2204.14198, appendix A.3.2), which draws 0.5 for web pages.
            None = as the model's ``attend`` says.
    """

    source: Source
    retriever: Retriever | None = None
    marks: Literal['every', 'first'] = 'every'
    augment: Sequence[Transform] = ()
    weight: float = 1.0
    num_samples: int | None = None
    loss_weight: float = 1.0
    language: str = ''
    max_seq_len: int | None = None
    shuffle_blocks: int = 8
    attend_next: float | None = None

    def __post_init__(self) -> None:
        if self.retriever is not None and self.blocks is not None:
            raise ValueError(
                f'{self.source.name} is streamed, and a retriever looks for samples all over it: download it first, or '
                'leave out the retriever'
            )
        if self.shuffle_blocks < 1:
            raise ValueError(f'shuffle_blocks of {self.source.name} must be at least 1, got {self.shuffle_blocks}')
        if hasattr(self.retriever, 'bind'):
            object.__setattr__(self, 'retriever', self.retriever.bind(self.source))
        if self.max_seq_len is not None and self.max_seq_len < 1:
            raise ValueError(f'max_seq_len of {self.source.name} must be at least 1 or None, got {self.max_seq_len}')
        check_attend_next(self.source, self.attend_next)
        if self.marks not in ('every', 'first'):
            raise ValueError(f"marks must be 'every' or 'first', got {self.marks!r}")
        if not isinstance(self.num_samples, int | None):
            raise ValueError(
                f'num_samples of {self.source.name} must be a whole number or None, got {self.num_samples!r}'
            )
        if self.weight < 0 or self.loss_weight < 0 or (self.num_samples or 0) < 0:
            raise ValueError(f'weight, num_samples and loss_weight of {self.source.name} must not be negative')
        if self.quota and not len(self.source):
            raise ValueError(f'the source {self.source.name} has no samples')

    @property
    def blocks(self) -> Blocks | None:
        """The runs of samples that are read together; None where there are none."""
        sizes = getattr(self.source, 'blocks', None)  # a source from outside need not have it
        return None if sizes is None else Blocks(sizes, self.shuffle_blocks)

    @property
    def quota(self) -> int:
        """How many samples an epoch sees of this source."""
        return round(self.weight * len(self.source)) if self.num_samples is None else self.num_samples

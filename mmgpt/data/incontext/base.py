"""What a retriever is, and those that need nothing but the sample."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np

from mmgpt.data.sources import Source
from mmgpt.registry import RETRIEVERS
from mmgpt.structures import Sample


class Retriever(Protocol):
    """Chooses the context of a sample. One that has ``bind(source) -> Retriever`` is bound before it is asked."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> list[str]:
        """Ids of samples of the same source, oldest first; empty = zero-shot.

        Args:
            sample: the query.
            rng: whatever is random is drawn from it, so that the choice repeats.
        """
        ...


class Choice:
    """How many of the candidates are taken, and which.

    Args:
        num: how many, or the smallest and largest number between which one is drawn; None = all. Where there are
            fewer candidates, all of them.
        pick: 'random' ones (which keep their order), the 'first' or the 'last'.
    """

    def __init__(
        self, num: int | tuple[int, int] | None = None, pick: Literal['random', 'first', 'last'] = 'random'
    ) -> None:
        bounds = (num, num) if num is None or isinstance(num, int) else tuple(num)
        if num is not None and not (len(bounds) == 2 and 0 <= bounds[0] <= bounds[1]):
            raise ValueError(f'num must be None, a number or (smallest, largest), got {num!r}')
        if pick not in ('random', 'first', 'last'):
            raise ValueError(f"pick must be 'random', 'first' or 'last', got {pick!r}")
        self.bounds = None if num is None else bounds
        self.pick = pick

    def draw_count(self, rng: np.random.Generator) -> int | None:
        """How many are wanted; None = all."""
        return None if self.bounds is None else int(rng.integers(self.bounds[0], self.bounds[1] + 1))

    def choose(self, candidates: Sequence[str], rng: np.random.Generator) -> list[str]:
        """Some of the candidates, in their order."""
        wanted = self.draw_count(rng)
        if wanted is None:
            return list(candidates)
        count = min(len(candidates), wanted)
        if self.pick == 'random':
            chosen = np.sort(rng.choice(len(candidates), count, replace=False)) if len(candidates) else []
            return [candidates[i] for i in chosen]
        return list(candidates[:count] if self.pick == 'first' else candidates[len(candidates) - count :])


@RETRIEVERS.register_module()
class RelatedInstructions(Choice):
    """The related instructions that the annotation names (MIMIC-IT's ``rel_ins_ids`` or train file).

    A sample is never its own context, even if the annotation says so: it would show its answer.

    Args:
        num, pick: see :class:`Choice`.

    Example:
        >>> sample = Sample('d', (), context_ids=('a', 'b', 'c', 'd'))
        >>> RelatedInstructions(num=2, pick='last')(sample, np.random.default_rng(0))
        ['b', 'c']
    """

    def __call__(self, sample: Sample, rng: np.random.Generator) -> list[str]:
        """See :class:`Retriever`."""
        return self.choose([i for i in sample.context_ids if i != sample.id], rng)


@RETRIEVERS.register_module()
class RandomInstructions:
    """Any other samples of the source, each as likely: what a chosen context has to be better than.

    Args:
        num: how many, or the smallest and largest number between which one is drawn.
    """

    def __init__(self, num: int | tuple[int, int]) -> None:
        self.choice = Choice(num)
        self.source: Source | None = None

    def bind(self, source: Source) -> RandomInstructions:
        """The retriever for the samples of a source."""
        bound = copy.copy(self)
        bound.source = source
        return bound

    def __call__(self, sample: Sample, rng: np.random.Generator) -> list[str]:
        """See :class:`Retriever`."""
        if self.source is None:
            raise ValueError('RandomInstructions has no source to draw from: call bind(source) first')
        wanted = self.choice.draw_count(rng)
        drawn = rng.choice(len(self.source), min(len(self.source), 4 * wanted + 4), replace=False)
        ids: dict[str, None] = {}
        for index in drawn:
            if len(ids) == wanted:
                break
            try:
                id = self.source[int(index)].id
            except (ValueError, LookupError, OSError):  # it cannot be shown: another one is
                continue
            if id != sample.id:
                ids[id] = None  # a resampled source repeats some
        return list(ids)

"""The in-context function C(I, X): which samples are shown before a sample. Retrievers give ids and know no pixels."""

from __future__ import annotations

from typing import Literal, Protocol

import numpy as np

from mmgpt.registry import RETRIEVERS
from mmgpt.structures import Sample


class Retriever(Protocol):
    """Chooses the context of a sample."""

    def __call__(self, sample: Sample, rng: np.random.Generator) -> list[str]:
        """Ids of samples of the same source, oldest first; empty = zero-shot.

        Args:
            sample: the query.
            rng: whatever is random is drawn from it, so that the choice repeats.
        """
        ...


@RETRIEVERS.register_module()
class RelatedInstructions:
    """The related instructions that the annotation names (MIMIC-IT's ``rel_ins_ids`` or train file).

    A sample is never its own context, even if the annotation says so: it would show its answer.

    Args:
        num: how many, or the smallest and largest number between which one is drawn; None = all. Where the annotation
            names fewer, all of them.
        pick: 'random' ones (which keep the order of the annotation), the 'first' or the 'last'.

    Example:
        >>> sample = Sample('d', (), context_ids=('a', 'b', 'c', 'd'))
        >>> RelatedInstructions(num=2, pick='last')(sample, np.random.default_rng(0))
        ['b', 'c']
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

    def __call__(self, sample: Sample, rng: np.random.Generator) -> list[str]:
        """See :class:`Retriever`."""
        related = [i for i in sample.context_ids if i != sample.id]
        if self.bounds is None:
            return related
        count = min(len(related), int(rng.integers(self.bounds[0], self.bounds[1] + 1)))
        if self.pick == 'random':
            chosen = np.sort(rng.choice(len(related), count, replace=False)) if related else []
            return [related[i] for i in chosen]
        return related[:count] if self.pick == 'first' else related[len(related) - count :]

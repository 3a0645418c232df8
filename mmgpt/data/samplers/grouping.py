"""Samples of similar length side by side: little padding without packed rows."""

from __future__ import annotations

from typing import Any

import numpy as np

from mmgpt.data.address import Address
from mmgpt.data.samplers.windows import Planned, WindowSampler
from mmgpt.registry import SAMPLERS


@SAMPLERS.register_module()
class LengthGroupedSampler(WindowSampler):
    """One sample a row, and samples of similar length one after the other: for language models that cannot pack.

    The samples of a window are sorted by length and cut into groups, and the groups come in an order drawn anew in each
    window; where nothing is shuffled, from the shortest to the longest.

    Args:
        dataset: has ``sizes``, ``quotas`` and ``measure(address)``.
        batch_size: samples of a batch of one process.
        group: samples that stay together; best a multiple of the samples of all processes' batches.
        options: as of :class:`~mmgpt.data.samplers.windows.WindowSampler`.

    Example:
        >>> from types import SimpleNamespace
        >>> from mmgpt.data.address import Length
        >>> lengths = [5, 9, 3, 7]
        >>> data = SimpleNamespace(
        ...     sizes=[4], quotas=[4], measure=lambda address: Length(lengths[address.index], True))
        >>> sampler = LengthGroupedSampler(data, batch_size=2, shuffle=False)
        >>> [[address.index for (address,) in batch] for batch, _ in zip(sampler, range(2))]
        [[2, 0], [3, 1]]
    """

    def __init__(self, dataset: Planned, batch_size: int, group: int = 64, **options: Any) -> None:
        if group < 1:
            raise ValueError(f'group must be at least 1, got {group}')
        self.group = group
        super().__init__(dataset, batch_size, **options)

    def settings(self) -> dict[str, Any]:
        """See :meth:`WindowSampler.settings`."""
        return {**super().settings(), 'group': self.group}

    def arrange(self, addresses: list[Address], lengths: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
        """See :meth:`WindowSampler.arrange`."""
        order = np.argsort(lengths, kind='stable').tolist()
        groups = [order[start : start + self.group] for start in range(0, len(order), self.group)]
        if self.stream.shuffle:
            groups = [groups[i] for i in rng.permutation(len(groups))]
        return [[place] for group in groups for place in group]

"""Batches with and without pictures in turn: the published schedule of MultiModal-GPT."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, Protocol

from mmgpt.data.address import Address
from mmgpt.data.samplers.mixture import Mixed, MixtureSampler
from mmgpt.registry import SAMPLERS


class MixedKinds(Mixed, Protocol):
    """What the sampler needs of a data set."""

    visual: list[bool]  # whether a source has pictures


@SAMPLERS.register_module()
class AlternatingSampler:
    """One batch of the sources with pictures, one of those without, and so on; on all processes the same kind.

    MultiModal-GPT (arXiv 2305.04790; its code's training loop) sees a batch of either in each of its steps, and its
    epoch ends when the pictures have been seen. Each half is a ``MixtureSampler`` of its sources, with all that this
    one promises: the order depends on the seed alone, and skipping is arithmetic.

    Args:
        dataset: has ``sizes``, ``quotas`` and ``visual``, whether a source has pictures; it may have ``blocks``.
        batch_size: samples of a batch of one process.
        shuffle: False walks through the sources in their order.
        seed: of the order.
        rank: of this process.
        world_size: the number of processes.

    Raises:
        ValueError: all sources have pictures, or none has.

    Example:
        >>> data = SimpleNamespace(sizes=[2, 1], quotas=[2, 1], visual=[True, False])
        >>> sampler = AlternatingSampler(data, batch_size=1, shuffle=False)
        >>> [tuple(address) for (address,), _ in zip(sampler, range(4))]
        [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 0, 1)]
    """

    def __init__(
        self,
        dataset: MixedKinds,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        self.batch_size = batch_size
        self.turn = 0  # whose the next batch is: 0 pictures, 1 text
        self.halves = []
        for visual in (True, False):
            quotas = [quota * (own == visual) for quota, own in zip(dataset.quotas, dataset.visual, strict=True)]
            if not sum(quotas):
                kind = 'with pictures' if visual else 'without pictures'
                raise ValueError(f'AlternatingSampler needs sources {kind} too: add one, or use MixtureSampler')
            half = SimpleNamespace(sizes=dataset.sizes, quotas=quotas, blocks=getattr(dataset, 'blocks', None))
            self.halves.append(MixtureSampler(half, batch_size, shuffle, seed, rank, world_size))

    def __iter__(self) -> Iterator[list[Address]]:
        streams, turn = [iter(half) for half in self.halves], self.turn
        while True:
            yield next(streams[turn])
            turn = 1 - turn

    @property
    def position(self) -> int:
        """Samples of the stream that all processes together have trained on."""
        return sum(half.position for half in self.halves)

    @property
    def epoch_size(self) -> int:
        """Samples until every source with pictures has had its quota: as many again have none."""
        return 2 * self.halves[0].epoch_size

    @property
    def batches_per_epoch(self) -> float:
        """Batches of each process in an epoch."""
        return 2 * self.halves[0].batches_per_epoch

    def skip(self, batches: int) -> None:
        """Moves the position on by so many batches of each process."""
        for number, half in enumerate(self.halves):
            half.skip((batches + (number == self.turn)) // 2)
        self.turn = (self.turn + batches) % 2

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and what it is a stream of, as plain data."""
        return {'turn': self.turn, 'halves': [half.state_dict() for half in self.halves]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where another sampler of the same stream stood; batch size and processes may differ.

        Raises:
            ValueError: it was another stream.
        """
        if set(state) != {'turn', 'halves'}:
            raise ValueError(f'the stream cannot go on: it was not one of an AlternatingSampler, but {sorted(state)}')
        for half, saved in zip(self.halves, state['halves'], strict=True):
            half.load_state_dict(saved)
        self.turn = int(state['turn'])

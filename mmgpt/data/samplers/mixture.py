"""The order of the stream: which samples each batch holds, as a function of the seed and the position."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np

from mmgpt.data.dataset import Address
from mmgpt.registry import SAMPLERS


class Mixed(Protocol):
    """What a sampler must know of a data set."""

    sizes: list[int]  # samples of each source
    quotas: list[int]  # samples that an epoch sees of each source


@SAMPLERS.register_module()
class MixtureSampler:
    """An endless stream of batches of addresses in which every source has its share.

    An epoch holds ``quotas[i]`` samples of source i, all of them mixed. Each source is walked through in an order of
    its own, reshuffled when it has been seen in full, and an epoch goes on where the last one stopped: with a quota
    below the source's size other samples come in each epoch, with one above it some come twice before others do three
    times. The stream is cut into batches without regard to the epochs, and process ``rank`` of ``world_size`` takes
    every ``world_size``-th batch.

    Which sample stands at a position is computed, not walked to: :meth:`skip` costs nothing. Iterating does not move
    the position, since workers read ahead of the training; the training calls :meth:`skip` or :meth:`state_dict`.

    Args:
        dataset: has ``sizes`` and ``quotas``.
        batch_size: samples of a batch of one process.
        shuffle: False walks through the sources in their order, one after the other.
        seed: of the order.
        rank: of this process.
        world_size: the number of processes.

    Example:
        >>> from types import SimpleNamespace
        >>> sampler = MixtureSampler(SimpleNamespace(sizes=[2, 1], quotas=[2, 1]), batch_size=2, shuffle=False)
        >>> [[tuple(a) for a in batch] for batch, _ in zip(sampler, range(2))]
        [[(0, 0, 0), (0, 1, 0)], [(1, 0, 0), (0, 0, 1)]]
    """

    def __init__(
        self,
        dataset: Mixed,
        batch_size: int,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size must be at least 1, got {batch_size}')
        if not 0 <= rank < world_size:
            raise ValueError(f'rank must be one of 0 to {world_size - 1}, got {rank}')
        self.sizes, self.quotas = list(dataset.sizes), list(dataset.quotas)
        self.epoch_size = sum(self.quotas)
        if not self.epoch_size:
            raise ValueError('an epoch would hold no sample: give a source a weight above 0')
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.rank = rank
        self.world_size = world_size
        self.position = 0  # samples of the stream that all processes together have trained on
        self._starts = np.concatenate([[0], np.cumsum(self.quotas)])
        self._orders: dict[tuple[int, ...], np.ndarray] = {}

    def __iter__(self) -> Iterator[list[Address]]:
        step = self.batch_size * self.world_size
        start = self.position + self.rank * self.batch_size
        while True:
            yield [self.address(position) for position in range(start, start + self.batch_size)]
            start += step

    @property
    def batches_per_epoch(self) -> float:
        """Batches of each process until every source has had its quota."""
        return self.epoch_size / (self.batch_size * self.world_size)

    def address(self, position: int) -> Address:
        """The sample at a position of the stream."""
        epoch, slot = divmod(position, self.epoch_size)
        slot = self._place(self.epoch_size, slot, epoch)
        source = int(np.searchsorted(self._starts, slot, side='right')) - 1
        draw = epoch * self.quotas[source] + slot - int(self._starts[source])
        passes, place = divmod(draw, self.sizes[source])
        return Address(source, self._place(self.sizes[source], place, passes, source), passes)

    def skip(self, batches: int) -> None:
        """Moves the position on by so many batches of each process."""
        self.position += batches * self.batch_size * self.world_size

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and what it is a stream of, as plain data."""
        return {'position': self.position, **self._identity()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where another sampler of the same stream stood; batch size and processes may differ.

        Raises:
            ValueError: it was another stream: other sources, shares, order or seed.
        """
        saved = {name: value for name, value in state.items() if name != 'position'}
        if saved != self._identity():
            raise ValueError(f'the stream cannot go on: it was one of {saved}, and now is one of {self._identity()}')
        self.position = int(state['position'])

    def _identity(self) -> dict[str, Any]:
        return {'sizes': self.sizes, 'quotas': self.quotas, 'shuffle': self.shuffle, 'seed': self.seed}

    def _place(self, size: int, place: int, epoch: int, source: int | None = None) -> int:
        """The place in the shuffled order of an epoch, of the stream or of a source."""
        if not self.shuffle:
            return place
        key = (epoch,) if source is None else (epoch, source)
        order = self._orders.get(key)
        if order is None:
            if len(self._orders) > 2 * len(self.sizes) + 2:  # of past epochs; batches may span two
                self._orders.clear()
            kind = np.int32 if size < 2**31 else np.int64
            order = np.random.default_rng((self.seed, len(key), *key)).permutation(size).astype(kind)
            self._orders[key] = order
        return int(order[place])

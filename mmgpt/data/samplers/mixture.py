"""The order of the stream: which samples each batch holds, as a function of the seed and the position."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import numpy as np

from mmgpt.data.address import Address
from mmgpt.data.cache import digest
from mmgpt.data.source_entry import Blocks
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

    A source that is read in blocks, such as one that is streamed, comes in an order that keeps to a few blocks at a
    time: see :func:`near_order`.

    Which sample stands at a position is computed, not walked to: :meth:`skip` costs nothing. Iterating does not move
    the position, since workers read ahead of the training; the training calls :meth:`skip` or :meth:`state_dict`.

    Args:
        dataset: has ``sizes`` and ``quotas``, and where sources are read in blocks ``blocks``, of each source its
            :class:`~mmgpt.data.source_entry.Blocks` or None.
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
        self.blocks: list[Blocks | None] = getattr(dataset, 'blocks', None) or [None] * len(self.sizes)
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
        self._orders: dict[tuple[int, ...], dict[int, np.ndarray]] = {}  # by epoch or pass

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
        epoch, place = divmod(position, self.epoch_size)
        slot = self._place(self.epoch_size, place, epoch)
        source = int(np.searchsorted(self._starts, slot, side='right')) - 1
        if self.shuffle and self.blocks[source] is not None:
            turn = self._turn(epoch, place)
        else:
            turn = slot - int(self._starts[source])
        passes, place = divmod(epoch * self.quotas[source] + turn, self.sizes[source])
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
        identity = {'sizes': self.sizes, 'quotas': self.quotas, 'shuffle': self.shuffle, 'seed': self.seed}
        if any(blocks is not None for blocks in self.blocks):
            identity['blocks'] = [b and f'{b.mixed} of {digest(list(map(int, b.sizes)))}' for b in self.blocks]
        return identity

    def _place(self, size: int, place: int, epoch: int, source: int | None = None) -> int:
        """The place in the shuffled order of an epoch, of the stream or of a source."""
        if not self.shuffle:
            return place
        return int(self._order(size, epoch, source)[place])

    def _order(self, size: int, epoch: int, source: int | None = None) -> np.ndarray:
        key = (epoch,) if source is None else (epoch, source)

        def drawn() -> np.ndarray:
            rng = np.random.default_rng((self.seed, len(key), *key))
            if source is None or (blocks := self.blocks[source]) is None:
                return rng.permutation(size)
            return near_order(blocks, rng)

        return self._remembered(key, drawn)

    def _turn(self, epoch: int, place: int) -> int:
        """How many samples of the same source stand before a place of an epoch: they come in the source's own order."""

        def counted() -> np.ndarray:
            slots = self._order(self.epoch_size, epoch)
            turns = np.zeros_like(slots)
            for source, blocks in enumerate(self.blocks):
                if blocks is not None:
                    own = (self._starts[source] <= slots) & (slots < self._starts[source + 1])
                    turns[own] = np.arange(np.count_nonzero(own))
            return turns

        return int(self._remembered((epoch, -1), counted)[place])

    def _remembered(self, key: tuple[int, ...], make: Callable[[], np.ndarray]) -> np.ndarray:
        number, *whose = key
        orders = self._orders.setdefault(tuple(whose), {})
        if number not in orders:
            order = make()
            while len(orders) >= self._most(*whose):
                del orders[next(iter(orders))]  # the oldest
            orders[number] = order.astype(np.int32 if len(order) < 2**31 else np.int64)
        return orders[number]

    def _most(self, source: int = -1) -> int:
        """How many orders are remembered: of the stream two epochs, which a batch may span; of a source their passes.

        An epoch is mixed, so that it is in all of its passes at once: with a weight of 10 in 10, or 11 where it begins
        in the midst of one.
        """
        return 2 if source < 0 else -(-self.quotas[source] // self.sizes[source]) + 2


def near_order(blocks: Blocks, rng: np.random.Generator) -> np.ndarray:
    """A random order of the samples of blocks in which those of a block stay near one another.

    The blocks come in random order, and each sample is moved on by a random way of up to ``mixed`` blocks of average
    size. So about ``mixed`` + 1 blocks are in use at any time, and where all are of one size another one begins when
    one has ended: fetching them is spread evenly, unlike where windows of blocks are shuffled in turn.

    Returns:
        (n,) int64, each of 0 … n - 1 once.

    Example:
        >>> order = near_order(Blocks(np.array([3, 3, 3]), mixed=1), np.random.default_rng(0))
        >>> sorted(order.tolist())
        [0, 1, 2, 3, 4, 5, 6, 7, 8]
    """
    sizes = np.asarray(blocks.sizes)
    shuffled = rng.permutation(len(sizes))
    starts = np.cumsum(sizes) - sizes
    moves = starts[shuffled] - (np.cumsum(sizes[shuffled]) - sizes[shuffled])
    indices = np.arange(sizes.sum()) + np.repeat(moves, sizes[shuffled])
    way = blocks.mixed * sizes.mean()
    return indices[np.argsort(np.arange(len(indices)) + way * rng.random(len(indices)), kind='stable')]

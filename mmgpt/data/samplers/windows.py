"""Rows that are planned from the lengths of their samples, one window of the stream after the other."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from itertools import count, islice
from typing import Any, Protocol

import numpy as np

from mmgpt.data.address import Address
from mmgpt.data.lengths import Lengths, Measurable
from mmgpt.data.samplers.mixture import Mixed, MixtureSampler


class Planned(Mixed, Measurable, Protocol):
    """What the sampler needs of a data set."""


class WindowSampler(ABC):
    """The stream of a ``MixtureSampler``, cut into windows in each of which samples are put into rows by their length.

    Which rows a window has depends on its samples, their lengths and the seed alone: the rows are the same ones
    whatever the batch size and the number of processes and workers. Process ``rank`` of ``world_size`` takes every
    ``world_size``-th batch of them. The position is a window and a row in it, so that a resumed stream plans one window
    again and nothing that was already seen. Every process plans for itself.

    A subclass defines :meth:`arrange`.

    Args:
        dataset: has ``sizes``, ``quotas`` and ``measure(address)``.
        batch_size: rows of a batch of one process.
        window: samples that are planned together; at most an epoch.
        workers: processes that measure the samples of the windows to come; 0 measures in the training process when a
            window begins, for 0.4 to 1 ms a sample.
        shuffle: False walks through the sources in their order, and keeps it as far as rows allow.
        seed: of the order.
        rank: of this process.
        world_size: the number of processes.
    """

    def __init__(
        self,
        dataset: Planned,
        batch_size: int,
        window: int = 1024,
        workers: int = 0,
        shuffle: bool = True,
        seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        if window < 1 or workers < 0:
            raise ValueError(f'window must be at least 1 and workers at least 0, got {window} and {workers}')
        self.stream = MixtureSampler(dataset, batch_size, shuffle, seed, rank, world_size)
        self.lengths = Lengths(dataset)
        self.batch_size, self.rank, self.world_size = batch_size, rank, world_size
        self.workers = workers
        self.window_size = min(window, self.stream.epoch_size)
        self.window = 0  # where the training stands: in this window,
        self.row = 0  # at this row of it
        self._samples: dict[int, list[int]] = {}  # of each row of the windows that were planned

    @abstractmethod
    def arrange(self, addresses: list[Address], lengths: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
        """The rows of a window.

        Args:
            addresses: n samples in the order of the stream.
            lengths: (n,) int32, of their tokens.
            rng: for what is left to chance; not to be used where ``shuffle`` is False.

        Returns:
            the places of the samples of each row; each of 0 … n-1 once.
        """

    def settings(self) -> dict[str, Any]:
        """What the rows depend on, as plain data: another stream is not continued."""
        return {'window': self.window_size}

    def __iter__(self) -> Iterator[list[list[Address]]]:
        rows = islice(self._rows(self.window), self.row, None)
        start = self.rank * self.batch_size
        while True:
            step = list(islice(rows, self.batch_size * self.world_size))  # of all processes
            yield step[start : start + self.batch_size]

    @property
    def position(self) -> int:
        """Samples of the stream that all processes together have trained on."""
        return self.window * self.window_size + sum(self._planned(self.window)[: self.row])

    @property
    def epoch_size(self) -> int:
        """Samples until every source has had its quota."""
        return self.stream.epoch_size

    @property
    def batches_per_epoch(self) -> float:
        """Batches of each process in an epoch, as estimated from the first window."""
        rows = len(self._planned(0)) / self.window_size * self.epoch_size
        return rows / (self.batch_size * self.world_size)

    def skip(self, batches: int) -> None:
        """Moves the position on by so many batches of each process."""
        self.row += batches * self.batch_size * self.world_size
        while self.row >= (rows := len(self._planned(self.window))):
            self.row -= rows
            if self.window:  # the first one tells how long an epoch is
                del self._samples[self.window]
            self.window += 1

    def state_dict(self) -> dict[str, Any]:
        """Where the stream stands, and what it is a stream of, as plain data."""
        stream = {name: value for name, value in self.stream.state_dict().items() if name != 'position'}
        return {'window': self.window, 'row': self.row, 'settings': self.settings(), 'stream': stream}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on where another sampler of the same stream stood; batch size and processes may differ.

        Raises:
            ValueError: it was another stream: other sources, shares, order, seed or settings.
        """
        own = {name: value for name, value in self.state_dict().items() if name not in ('window', 'row')}
        saved = {name: value for name, value in state.items() if name not in ('window', 'row')}
        if saved != own:
            raise ValueError(f'the stream cannot go on: it was one of {saved}, and now is one of {own}')
        self.window, self.row = int(state['window']), int(state['row'])

    def epoch(self) -> Iterator[list[Address]]:
        """The rows of the first epoch alone, each sample once; its last window ends with it, and may be smaller."""
        for start in range(0, self.epoch_size, self.window_size):
            window = start // self.window_size
            addresses = self._addresses(window)[: self.epoch_size - start]
            yield from self._arranged(window, addresses, self.lengths.of(addresses))

    def _rows(self, window: int) -> Iterator[list[Address]]:
        """All rows from a window on."""
        windows = map(self._addresses, count(window))
        for number, lengths in zip(count(window), self.lengths.ahead(windows, self.workers)):
            yield from self._plan(number, lengths)

    def _planned(self, window: int) -> list[int]:
        """How many samples each row of a window has."""
        if window not in self._samples:
            self._plan(window, self.lengths.of(self._addresses(window)))
        return self._samples[window]

    def _plan(self, window: int, lengths: np.ndarray) -> list[list[Address]]:
        rows = self._arranged(window, self._addresses(window), lengths)
        self._samples[window] = [len(row) for row in rows]
        return rows

    def _arranged(self, window: int, addresses: list[Address], lengths: np.ndarray) -> list[list[Address]]:
        rows = self.arrange(addresses, lengths, np.random.default_rng((self.stream.seed, 3, window)))
        return [[addresses[place] for place in row] for row in rows]

    def _addresses(self, window: int) -> list[Address]:
        start = window * self.window_size
        return [self.stream.address(position) for position in range(start, start + self.window_size)]

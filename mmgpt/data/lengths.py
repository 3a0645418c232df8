"""How many tokens samples have, known before their batches are put together."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from mmgpt.data.address import Address, Length
from mmgpt.data.dataset import InstructionDataset
from mmgpt.data.length_table import length_table
from mmgpt.data.worker_signals import ending_workers, outlive_signals


class Measurable(Protocol):
    """What must be known of a data set."""

    sizes: list[int]  # samples of each source

    def measure(self, address: Address) -> Length:
        """The length of a sample."""
        ...


class Lengths:
    """The lengths of samples; those that last are measured once.

    A sample is measured by making its ids, which reads no pixels. Its context and its wording may be drawn anew in each
    epoch, and its length with them: such a sample is measured at every address. Lengths of large sources that last are
    kept on disk, see :func:`~mmgpt.data.length_table.length_table`.

    Args:
        dataset: measures.

    Example:
        >>> from types import SimpleNamespace
        >>> data = SimpleNamespace(sizes=[3], measure=lambda address: Length(10 * address.index + 5, True))
        >>> Lengths(data).of([Address(0, 2), Address(0, 0)]).tolist()
        [25, 5]
    """

    def __init__(self, dataset: Measurable) -> None:
        self.dataset = dataset
        self._lasting = [  # of each source (samples,) int32; 0 = not measured, or does not last
            length_table(dataset, source) if isinstance(dataset, InstructionDataset) else np.zeros(size, np.int32)
            for source, size in enumerate(dataset.sizes)
        ]

    def of(self, addresses: Sequence[Address]) -> np.ndarray:
        """(len(addresses),) int32, measured here and now."""
        unknown = self._unknown(addresses)
        return self._known(addresses, unknown, [self.dataset.measure(address) for address in unknown])

    def ahead(self, groups: Iterable[Sequence[Address]], workers: int) -> Iterator[np.ndarray]:
        """The same of one group after the other, measured by processes that read ahead.

        Args:
            groups: may be endless.
            workers: how many processes; 0 measures in this one, when the lengths are asked for.
        """
        asked: deque[tuple[Sequence[Address], list[Address]]] = deque()

        def requests() -> Iterator[list[Address]]:
            for addresses in groups:
                unknown = self._unknown(addresses)
                asked.append((addresses, unknown))
                yield unknown

        measured = DataLoader(
            _Measuring(self.dataset),
            batch_sampler=requests(),
            num_workers=workers,
            collate_fn=list,
            generator=torch.Generator().manual_seed(0),  # nothing is drawn from the global state
            worker_init_fn=outlive_signals,
        )
        with ending_workers(iter(measured)) as measures:
            for lengths in measures:
                yield self._known(*asked.popleft(), lengths)

    def _unknown(self, addresses: Sequence[Address]) -> list[Address]:
        return [address for address in addresses if not self._lasting[address.source][address.index]]

    def _known(self, addresses: Sequence[Address], unknown: list[Address], measured: list[Length]) -> np.ndarray:
        passing = dict(zip(unknown, measured, strict=True))
        for address, length in passing.items():
            if length.lasting:
                self._lasting[address.source][address.index] = length.tokens
        tokens = [passing[a].tokens if a in passing else self._lasting[a.source][a.index] for a in addresses]
        return np.array(tokens, np.int32)


class _Measuring(Dataset):
    """A data set whose items are the lengths of another one's."""

    def __init__(self, dataset: Measurable) -> None:
        self.dataset = dataset

    def __getitems__(self, addresses: Sequence[Address]) -> list[Length]:
        return [self.dataset.measure(address) for address in addresses]

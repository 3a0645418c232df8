"""Packed rows: several samples one after the other in each, and hardly any padding."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any

import numpy as np

from mmgpt.data.address import Address
from mmgpt.data.samplers.windows import Planned, WindowSampler
from mmgpt.registry import SAMPLERS

ENDS = 2  # beginning and end of text come on top of max_seq_len


@SAMPLERS.register_module()
class PackingSampler(WindowSampler):
    """Puts as many samples into a row as it has room for; they do not see one another.

    The model restarts the positions at each sample and keeps text and media of others out of its sight, so that packed
    training equals training with one sample a row, which it needs a fitting language model for; building a run refuses
    one that is not (see ``docs/decoders.md``). A batch is ``batch_size`` rows, so set it lower than without packing: as
    many rows of ``row_length`` tokens as memory has room for.

    The samples of a window are placed from the longest to the shortest, each into the fullest row that has room for it
    (best fit decreasing); the rows come in an order drawn anew in each window.

    Args:
        dataset: has ``sizes``, ``quotas``, ``measure(address)`` and ``max_seq_len``, and where sources may have limits
            of their own ``entries``.
        batch_size: rows of a batch of one process.
        row_length: the most tokens of a row; at least ``max_seq_len`` + 2, for the beginning and the end of text.
        options: as of :class:`~mmgpt.data.samplers.windows.WindowSampler`.

    Raises:
        ValueError: a row has no room for a sample of ``max_seq_len`` tokens, the data set's or a source's own,
            or the data set's is not limited.

    Example:
        >>> from types import SimpleNamespace
        >>> from mmgpt.data.address import Length
        >>> lengths = [5, 9, 3, 4]
        >>> data = SimpleNamespace(
        ...     sizes=[4], quotas=[4], max_seq_len=8, measure=lambda address: Length(lengths[address.index], True))
        >>> sampler = PackingSampler(data, batch_size=2, row_length=10, shuffle=False)
        >>> [[address.index for address in row] for row in next(iter(sampler))]
        [[0, 3], [1]]
    """

    def __init__(self, dataset: Planned, batch_size: int, row_length: int, **options: Any) -> None:
        limit = dataset.max_seq_len
        if limit is None or limit + ENDS > row_length:
            raise ValueError(
                f'rows of row_length={row_length} tokens must hold samples of max_seq_len={limit} and {ENDS} more, for '
                f'the beginning and end of text: set max_seq_len of the data set to {row_length - ENDS} or '
                'less, or row_length higher'
            )
        for entry in getattr(dataset, 'entries', ()):
            if (own := entry.max_seq_len) is not None and own + ENDS > row_length and entry.quota:
                raise ValueError(
                    f'rows of row_length={row_length} tokens must hold samples of max_seq_len={own}, which the source '
                    f'{entry.source.name!r} sets, and {ENDS} more, for the beginning and end of text: set its '
                    f'max_seq_len to {row_length - ENDS} or less, or row_length higher'
                )
        self.row_length = row_length
        super().__init__(dataset, batch_size, **options)

    def settings(self) -> dict[str, Any]:
        """See :meth:`WindowSampler.settings`."""
        return {**super().settings(), 'row_length': self.row_length}

    def arrange(self, addresses: list[Address], lengths: np.ndarray, rng: np.random.Generator) -> list[list[int]]:
        """See :meth:`WindowSampler.arrange`."""
        longest = int(lengths.argmax())
        if lengths[longest] > self.row_length:
            source, index, _ = addresses[longest]
            raise ValueError(
                f'sample {index} of source {source} has {lengths[longest]} tokens, and a packed row only '
                f'{self.row_length}: set row_length higher, or max_seq_len of the data set lower'
            )
        rows = pack(lengths.tolist(), self.row_length)
        return [rows[i] for i in rng.permutation(len(rows))] if self.stream.shuffle else rows


def pack(lengths: Sequence[int], row_length: int) -> list[list[int]]:
    """Distributes samples over as few rows as best fit decreasing needs: at most 11/9 of the fewest, and one.

    Args:
        lengths: of n samples, none above ``row_length``.
        row_length: the most that a row holds.

    Returns:
        the places of the samples of each row, ascending; the rows in the order of their first sample.

    Example:
        >>> pack([5, 9, 3, 4], row_length=10)
        [[0, 3], [1], [2]]
    """
    rows: list[list[int]] = []
    rooms: list[tuple[int, int]] = []  # of each row: what is left, and its number; ascending
    for place in sorted(range(len(lengths)), key=lambda place: -lengths[place]):
        found = bisect_left(rooms, (lengths[place], 0))
        if found == len(rooms):
            left, number = row_length, len(rows)
            rows.append([])
        else:
            left, number = rooms.pop(found)
        rows[number].append(place)
        insort(rooms, (left - lengths[place], number))
    return sorted(sorted(row) for row in rows)

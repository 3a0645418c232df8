"""From a string to its place among millions, in a few bytes each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmgpt.data.cache import mapped_array


class KeyIndex:
    """The place of each key in a list, found by binary search.

    The keys lie in one Arrow array instead of millions of Python strings, so worker processes share its memory: a
    dict would be copied into each worker as soon as its reference counts are touched. Of equal keys the last counts,
    as in JSON. An index that was saved and loaded is mapped into memory and takes none of its own.

    Args:
        keys: the keys in their order.

    Example:
        >>> index = KeyIndex(['b', 'a'])
        >>> index.find('a'), index.find('c'), index[0]
        (1, None, 'b')
    """

    def __init__(self, keys: Iterable[str] | pa.Array) -> None:
        names = keys if isinstance(keys, pa.Array) else pa.array(keys, pa.large_string())
        self._names = names.cast(pa.large_string())
        self._order = pc.array_sort_indices(self._names).to_numpy().astype(np.int64)
        self._folder: Path | None = None

    def save(self, folder: Path) -> None:
        """Writes ``keys.arrow`` and ``key_order.npy`` into a folder."""
        batch = pa.record_batch([self._names], ['key'])
        with pa.OSFile(str(folder / 'keys.arrow'), 'wb') as file, pa.ipc.new_file(file, batch.schema) as writer:
            writer.write_batch(batch)
        np.save(folder / 'key_order.npy', self._order)

    @classmethod
    def load(cls, folder: Path) -> KeyIndex:
        """The index that was saved in a folder."""
        index = cls.__new__(cls)
        index._map(folder)
        return index

    def _map(self, folder: Path) -> None:
        self._folder = folder
        with pa.memory_map(str(folder / 'keys.arrow')) as file:
            self._names = pa.ipc.open_file(file).get_batch(0).column(0)
        self._order = mapped_array(folder / 'key_order.npy')

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._folder is None else {'_folder': self._folder}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._folder is not None:
            self._map(self._folder)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, place: int) -> str:
        return self._names[place].as_py()

    def __iter__(self) -> Iterator[str]:
        for chunk_start in range(0, len(self), 65536):
            yield from self._names[chunk_start : chunk_start + 65536].to_pylist()

    def find(self, key: str) -> int | None:
        """The place of ``key``, or None."""
        slot = self._right_of(key) - 1
        place = int(self._order[slot]) if slot >= 0 else -1
        return place if place >= 0 and self[place] == key else None

    def places(self, keys: KeyIndex) -> np.ndarray:
        """The places of many keys at once, -1 where a key is unknown: (len(keys),) int64."""
        ordered = self._names.take(pa.array(self._order))
        # Arrow answers with the first of equal values: search from the end to prefer the last.
        found = pc.index_in(keys._names, value_set=ordered[::-1]).to_numpy(zero_copy_only=False)
        slots = len(self) - 1 - np.nan_to_num(found, nan=len(self)).astype(np.int64)
        return np.where(slots >= 0, self._order[slots] if len(self) else -1, -1)

    def nearest(self, key: str, count: int = 2) -> list[str]:
        """The keys that sort next to ``key``: those that share its beginning. For "did you mean"."""
        slot = self._right_of(key)
        return [self[int(place)] for place in self._order[max(0, slot - count // 2) : slot + (count + 1) // 2]]

    def duplicates(self) -> list[str]:
        """The keys that occur more than once, sorted."""
        counts = pc.value_counts(self._names)
        repeated = counts.filter(pc.greater(counts.field('counts'), 1)).field('values').to_pylist()
        return sorted(repeated)

    def _right_of(self, key: str) -> int:
        low, high = 0, len(self)
        wanted = key.encode()  # Arrow sorts by bytes
        while low < high:
            middle = (low + high) // 2
            if self._names[int(self._order[middle])].as_buffer().to_pybytes() <= wanted:
                low = middle + 1
            else:
                high = middle
        return low

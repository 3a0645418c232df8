"""Random access to the samples of tar files in the layout of webdataset: files of one sample share a name."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from mmgpt.data.cache import cached, is_small
from mmgpt.data.shards import find_shards
from mmgpt.data.tar_members import tar_members

_LOG = logging.getLogger('mmgpt.data')
_THREADS = 8  # tars that are indexed at the same time: the headers of each are read one after the other


class TarSamples:
    """The samples of tars, by number. Where each file lies is found once and mapped into memory.

    A sample is what has a file for every field; a name is a path up to the first dot of its last part. Nothing is
    unpacked and no file stays open, so it can be pickled and used in any process.

    Args:
        shards: tars, folders of them, or patterns; see :func:`~mmgpt.data.shards.find_shards`.
        fields: name -> the endings, without a dot, that its file may have.

    Raises:
        FileNotFoundError: there is no such file, or no tar in a folder.
        ValueError: a file is no tar, or is damaged; the message names it.

    Example:
        >>> TarSamples('laion', {'image': ['jpg', 'png'], 'text': ['txt']}).read(0, 'text')  # doctest: +SKIP
        b'a red house'
    """

    def __init__(self, shards: str | Path | Sequence[str | Path], fields: Mapping[str, Sequence[str]]) -> None:
        self.files = find_shards(shards)
        self.fields = {name: tuple(endings) for name, endings in fields.items()}
        self._kept: Path | None = None
        if is_small(self.files):
            self._starts, self._spans, self._names = self._index()
        else:
            self._kept = cached('samples', self.files, self._save, self.fields)
            self._map()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def read(self, place: int, field: str) -> bytes:
        """A file of a sample.

        Raises:
            IndexError: there is no such sample.
            ValueError: the tar is shorter than it was when it was indexed.
        """
        file = self.files[self._shard(place)]
        offset, size = self._spans[place, list(self.fields).index(field)].tolist()
        with file.open('rb', buffering=0) as opened:
            opened.seek(offset)
            data = opened.read(size)
        if len(data) < size:
            raise ValueError(f'{self.where(place)}: the file {field!r} ends after {len(data)} of {size} bytes')
        return data

    def id(self, place: int) -> str:
        """The name of a sample, behind that of its tar."""
        return f'{self.files[self._shard(place)].stem}/{self._names[place].decode()}'

    def find(self, id: str) -> int:
        """The place of a sample by its id; looks through its tar.

        Raises:
            KeyError: there is no such sample.
        """
        stem, _, name = id.partition('/')
        for number, file in enumerate(self.files):
            if file.stem == stem:
                start, end = self._starts[number : number + 2].tolist()
                found = np.flatnonzero(self._names[start:end] == name.encode())
                if len(found):
                    return start + int(found[-1])
        raise KeyError(f'{self.files[0].parent}: there is no sample {id!r}; ids are such as {self.id(0)!r}')

    def where(self, place: int) -> str:
        """The tar and the name of a sample, for messages."""
        return f'{self.files[self._shard(place)]}: {self._names[place].decode()!r}'

    def __getstate__(self) -> dict[str, Any]:
        mapped = ('_starts', '_spans', '_names') if self._kept else ()
        return {name: value for name, value in self.__dict__.items() if name not in mapped}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._kept:
            self._map()

    def _shard(self, place: int) -> int:
        if not 0 <= place < len(self):
            raise IndexError(f'{self.files[0].parent} has {len(self)} samples, there is no index {place}')
        return int(np.searchsorted(self._starts, place, side='right')) - 1

    def _map(self) -> None:
        self._starts, self._spans, self._names = (
            np.load(self._kept / f'{name}.npy', mmap_mode='r') for name in ('starts', 'spans', 'names')
        )

    def _save(self, folder: Path) -> None:
        for name, array in zip(('starts', 'spans', 'names'), self._index(), strict=True):
            np.save(folder / f'{name}.npy', array)

    def _index(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of each tar the first sample; of each sample (fields, 2) offset and size; of each sample its name."""
        with ThreadPoolExecutor(_THREADS) as pool:
            tars = list(pool.map(self._scan, self.files))
        starts = np.concatenate([[0], np.cumsum([len(names) for names, _ in tars])])
        if not starts[-1]:
            wanted = ', '.join(f'{name} (.{" .".join(endings)})' for name, endings in self.fields.items())
            raise ValueError(f'{self.files[0]}: none of {len(tars)} tars has a sample with {wanted}')
        return starts, np.concatenate([spans for _, spans in tars]), np.concatenate([names for names, _ in tars])

    def _scan(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        field_of = {ending: place for place, endings in enumerate(self.fields.values()) for ending in endings}
        samples: dict[str, dict[int, tuple[int, int]]] = {}
        for name, offset, size in tar_members(path):
            folder, _, base = name.rpartition('/')
            key, _, ending = base.partition('.')
            files = samples.setdefault(f'{folder}/{key}' if folder else key, {})
            if (field := field_of.get(ending.lower())) is not None:
                files[field] = (offset, size)
        whole = {key: files for key, files in samples.items() if len(files) == len(self.fields)}
        if len(whole) < len(samples):
            _LOG.warning('%s: %d of %d samples lack a file', path, len(samples) - len(whole), len(samples))
        spans = [[files[field] for field in range(len(self.fields))] for files in whole.values()]
        names = np.array([key.encode() for key in whole], np.bytes_)
        return names, np.array(spans, np.int64).reshape(-1, len(self.fields), 2)

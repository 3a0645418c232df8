"""What a frozen vision encoder makes of pictures, kept on disk and found by what a picture shows."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import mmap
import os
import re
import struct
import zlib
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.image_stores.base import digest_in, digest_of
from mmgpt.data.prompter import Prompter

_UNITS = {'': 1, 'B': 1, 'KB': 10**3, 'MB': 10**6, 'GB': 10**9, 'TB': 10**12}
_UNITS |= {'KIB': 2**10, 'MIB': 2**20, 'GIB': 2**30, 'TIB': 2**40}
_HEAD = struct.Struct('<8sQQQ')  # of a file: form, bytes of a record, how many it can hold, how many it holds
_SLOT = struct.Struct('<16sII')  # key, number of its record + 1 (0 = free), checksum of key and record
_FORM = b'mmgptFC1'
_PAGE = 4096
_FIRST = 64 << 20  # bytes of a cache's first file


class CachedFrame(NamedTuple):
    """A frame of which a cache was asked: its features where it has them, else its pixels."""

    digest: bytes  # by which the cache knows it
    features: Tensor | None  # (P, D)
    pixels: Tensor | None  # (3, H, W) uint8


class FeatureCache:
    """Features (P, D) by keys of 16 bytes. It only grows, up to a size, and then stays as it is.

    The records lie in files of doubling size, each a hash table before records of one length, mapped into memory; so
    memory stays flat, and several processes of one machine read and write. A record is written before its slot names
    it, so one of a process that was killed is never seen; a checksum tells what a disk lost.

    Args:
        folder: of all caches that share ``max_size``; each is a folder in it. On a local disk.
        identity: what the features depend on beside the picture, as JSON: encoder, transform, precision.
        shape: (P, D) of a record.
        dtype: of a record.
        max_size: of ``folder``, in bytes or as ``'20GiB'``.

    Example::

        cache = FeatureCache('features', {'encoder': 'abc'}, shape=(256, 1024), dtype=torch.bfloat16)
        cache.put([key], features)      # (1, 256, 1024)
        cache.get(key)                  # (256, 1024), or None
    """

    def __init__(
        self,
        folder: str | Path,
        identity: dict[str, Any],
        shape: tuple[int, int],
        dtype: torch.dtype,
        max_size: int | str = '20GiB',
    ) -> None:
        self.shape, self.dtype, self.max_size = tuple(shape), dtype, parse_size(max_size)
        text = json.dumps({**identity, 'shape': self.shape, 'dtype': str(dtype)}, sort_keys=True, indent=1)
        self.root = Path(folder).expanduser()
        self.folder = self.root / hashlib.sha256(text.encode()).hexdigest()[:16]
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / 'identity.json').write_text(text + '\n')
        self.record_bytes = math.prod(self.shape) * dtype.itemsize
        self.full: str | None = None  # why nothing more is kept
        self._files: list[_File] = []

    def __len__(self) -> int:
        self._look_for_files()
        return sum(file.count for file in self._files)

    def get(self, key: bytes) -> Tensor | None:
        """The features of a key as a copy, None where there are none, or none that are whole."""
        found = self._find(key)
        if found is None:
            return None
        file, slot = found
        data = file.record(slot.number)
        if _checksum(key, data) != slot.checksum:
            return None
        return torch.frombuffer(data, dtype=self.dtype).view(self.shape)

    def put(self, keys: Sequence[bytes], features: Tensor) -> None:
        """Keeps what is not kept yet; nothing more once the cache is full, and ``full`` then says why.

        Args:
            keys: of N frames.
            features: (N, P, D) of the cache's dtype, on any device.

        Raises:
            ValueError: they are of another shape or dtype.
        """
        if features.shape != (len(keys), *self.shape) or features.dtype != self.dtype:
            expected = f'{(len(keys), *self.shape)} {self.dtype}'
            raise ValueError(f'features must be {expected}, got {tuple(features.shape)} {features.dtype}')
        if self.full:
            return
        records = features.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
        try:
            with FileLock(self.root / '.lock'):
                for key, record in zip(keys, records, strict=True):
                    self._put(key, record.tobytes())
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            self.full = f'there is no space left on the disk of {self.root}'

    def _put(self, key: bytes, record: bytes) -> None:
        if found := self._find(key):
            file, slot = found
            if _checksum(key, file.record(slot.number)) != slot.checksum:  # a disk lost it
                file.replace(slot, key, record)
            return
        if not self._files or self._files[-1].count == self._files[-1].capacity:
            self._look_for_files()
        if not self._files or self._files[-1].count == self._files[-1].capacity:
            self._add_file()
        if not self.full:
            self._files[-1].append(key, record)

    def _find(self, key: bytes) -> tuple[_File, _Slot] | None:
        for file in self._files:
            if slot := file.find(key):
                return file, slot
        known = len(self._files)
        self._look_for_files()  # that other processes have added
        return next(((file, slot) for file in self._files[known:] if (slot := file.find(key))), None)

    def _look_for_files(self) -> None:
        while (path := self._path(len(self._files))).exists():
            self._files.append(_File(path, self.record_bytes))

    def _add_file(self) -> None:
        """Begins a file, as large as all before it together, where ``max_size`` leaves room for it."""
        used = {path: path.stat().st_size for path in self.root.glob('*/*.features')}
        own = sum(size for path, size in used.items() if path.parent == self.folder)
        size = min(max(own, _FIRST), self.max_size - sum(used.values()))
        if not _File.create(self._path(len(self._files)), self.record_bytes, size):
            others = sum(used.values()) - own
            of_others = f', {others:,} bytes of it by other encoders or settings (folders beside {self.folder})'
            self.full = f'max_size of {self.root}, {self.max_size:,} bytes, is used up' + of_others * bool(others)
        self._look_for_files()

    def _path(self, number: int) -> Path:
        return self.folder / f'{number:03d}.features'

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_files': []}


class _Slot(NamedTuple):
    place: int  # in the file, bytes
    number: int  # of the record
    checksum: int


class _File:
    """A hash table with two slots for each record it can hold, and the records."""

    def __init__(self, path: Path, record_bytes: int) -> None:
        self.path = path
        try:
            with path.open('rb') as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            form, length, self.capacity, _ = _HEAD.unpack_from(self._map)
        except (ValueError, struct.error):  # of an empty file, and one cut within its head
            form = length = None
        if (form, length) != (_FORM, record_bytes) or len(self._map) < _size(self.capacity, record_bytes):
            raise ValueError(f'{path} is no file of this feature cache: remove the folder {path.parent}')
        self.record_bytes = record_bytes
        self._records = _records_at(self.capacity)
        self._write: BinaryIO | None = None  # what it is written through, once it is

    @classmethod
    def create(cls, path: Path, record_bytes: int, size: int) -> bool:
        """Whether a file of at most ``size`` bytes was made: one with room for at least one record."""
        capacity = (size - 2 * _PAGE) // (record_bytes + 2 * _SLOT.size)
        if capacity < 1:
            return False
        part = path.with_suffix('.part')
        with part.open('wb') as file:
            file.write(_HEAD.pack(_FORM, record_bytes, capacity, 0))
            file.truncate(_size(capacity, record_bytes))  # takes space on the disk only as it fills
        part.rename(path)
        return True

    @property
    def count(self) -> int:
        return _HEAD.unpack_from(self._map)[3]

    def find(self, key: bytes) -> _Slot | None:
        for place in self._places(key):
            found, number, checksum = _SLOT.unpack_from(self._map, place)
            if not number:
                return None
            if found == key:
                return _Slot(place, number - 1, checksum)
        return None

    def record(self, number: int) -> bytearray:
        data = bytearray(self.record_bytes)
        start = self._records + number * self.record_bytes
        data[:] = memoryview(self._map)[start : start + self.record_bytes]
        return data

    def append(self, key: bytes, record: bytes) -> None:
        """Writes a record of a key that has none; the caller holds the lock."""
        number = self.count
        place = next(place for place in self._places(key) if not _SLOT.unpack_from(self._map, place)[1])
        self._pwrite(record, self._records + number * self.record_bytes)
        self._pwrite(_HEAD.pack(_FORM, self.record_bytes, self.capacity, number + 1), 0)
        slot = _SLOT.pack(key, number + 1, _checksum(key, record))
        self._pwrite(slot[:16] + bytes(4) + slot[20:], place)
        self._pwrite(slot[16:20], place + 16)  # from now on it is seen

    def replace(self, slot: _Slot, key: bytes, record: bytes) -> None:
        """Writes a record anew; the caller holds the lock."""
        self._pwrite(record, self._records + slot.number * self.record_bytes)
        self._pwrite(struct.pack('<I', _checksum(key, record)), slot.place + 20)

    def _places(self, key: bytes):
        """Where the slot of a key may be: from its own place on, round the table."""
        slots = 2 * self.capacity
        own = int.from_bytes(key[:8], 'little')
        return (_HEAD.size + (own + step) % slots * _SLOT.size for step in range(slots))

    def _pwrite(self, data: bytes, place: int) -> None:
        if self._write is None:
            self._write = self.path.open('r+b', buffering=0)
        written = os.pwrite(self._write.fileno(), data, place)
        if written < len(data):
            raise OSError(errno.ENOSPC, f'{self.path}: only {written} of {len(data)} bytes could be written')


def look_up(cache: FeatureCache, prompter: Prompter, picture: Hashable, images: ImageStore | None) -> CachedFrame:
    """A frame as the cache has it; its picture is decoded only where it has none, or where only that tells its key.

    Args:
        cache: whose identity holds the prompter's image transform.
        prompter: makes frames.
        picture: a picture, or the key of one in ``images``.
        images: where keys are looked up.
    """
    key = pixels = None
    if images is not None and not isinstance(picture, Image.Image):
        key = digest_in(images, picture)
    if key is None:
        pixels = prompter.frame(picture, images)
        key = digest_of(b'frame', pixels.numpy().data)
    features = cache.get(key)
    if features is not None:
        return CachedFrame(key, features, None)
    return CachedFrame(key, None, prompter.frame(picture, images) if pixels is None else pixels)


def parse_size(size: int | str) -> int:
    """Bytes of a size such as ``'20GiB'``, ``'500 MB'`` or a number of bytes.

    Raises:
        ValueError: it is none.

    Example:
        >>> parse_size('1.5GiB'), parse_size('2 MB'), parse_size(7)
        (1610612736, 2000000, 7)
    """
    found = re.fullmatch(r'\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*', str(size))
    unit = None if found is None else _UNITS.get(found[2].upper())
    if isinstance(size, bool) or unit is None:
        raise ValueError(
            f"a size must be a number of bytes or one with a unit, such as '20GiB' or '500MB', got {size!r}"
        )
    return int(float(found[1]) * unit)


def _checksum(key: bytes, record: bytes | bytearray) -> int:
    return zlib.crc32(record, zlib.crc32(key))


def _records_at(capacity: int) -> int:
    """Where the records of a file begin: at a page."""
    return -(-(_HEAD.size + 2 * capacity * _SLOT.size) // _PAGE) * _PAGE


def _size(capacity: int, record_bytes: int) -> int:
    return _records_at(capacity) + capacity * record_bytes

"""A folder of files that are made when they are needed; what was not used for long leaves where it grows too big."""

from __future__ import annotations

import contextlib
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from filelock import FileLock

_LOCKS = 256  # lock files of a folder: two files rarely share one
_ABANDONED = 3600  # seconds after which a file that was not finished is rubbish

T = TypeVar('T')


class BoundedCache:
    """Files of a folder by name, shared by processes. Each is made by one of them while the others wait.

    A file that leaves stays readable for whoever has it mapped.

    Args:
        folder: made where there is none.
        limit: bytes of all files; the file that is being used may go beyond.
    """

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder, self.limit = folder, limit

    def get(self, name: str, make: Callable[[Path], None], read: Callable[[Path], T]) -> T:
        """What ``read`` makes of a file.

        Args:
            name: of the file.
            make: writes the file to the path that it is given.
            read: opens the file. What it cannot open (OSError, ValueError) is made anew.
        """
        path = self.folder / name
        if (found := self._read(path, read)) is not None:
            return found
        self.folder.mkdir(parents=True, exist_ok=True)
        with FileLock(self.folder / f'{zlib.crc32(name.encode()) % _LOCKS}.lock'):
            if (found := self._read(path, read)) is not None:  # made while this process waited
                return found
            partial = self.folder / f'{name}.part'
            try:
                make(partial)
                with partial.open('rb+') as file:
                    os.fsync(file.fileno())
                found = read(partial)  # before others can take it away
                partial.replace(path)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        self._shrink(path)
        return found

    @staticmethod
    def _read(path: Path, read: Callable[[Path], T]) -> T | None:
        try:
            os.utime(path)  # it was used now
            return read(path)
        except (OSError, ValueError):
            return None

    def _shrink(self, kept: Path) -> None:
        with FileLock(self.folder / 'shrink.lock'):
            files = []
            for entry in os.scandir(self.folder):
                with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
                    found, age = entry.stat(), time.time() - entry.stat().st_mtime
                    if not entry.name.endswith(('.lock', '.part')):
                        files.append((found.st_mtime_ns, found.st_size, entry.path))
                    elif entry.name.endswith('.part') and age > _ABANDONED:
                        os.unlink(entry.path)
            total = sum(size for _, size, _ in files)
            for _, size, path in sorted(files):
                if total <= self.limit:
                    break
                if path != str(kept):
                    with contextlib.suppress(OSError):
                        os.unlink(path)
                        total -= size

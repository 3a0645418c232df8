"""Where the files of a tar lie."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

LONGEST_NAME = 4096  # bytes, as long as a path may be

_WITHOUT_DATA = (tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE)


class Member(NamedTuple):
    """A file in a tar."""

    name: str
    offset: int
    size: int


def tar_members(path: Path) -> Iterator[Member]:
    """The files in an uncompressed tar, in its order; links, folders and sparse files are left out.

    Only headers are read, and none is trusted: what lies outside of the file is refused before it is asked for.

    Raises:
        ValueError: it is compressed, cut off or damaged; the message names the file.
    """
    length = path.stat().st_size
    try:
        with tarfile.open(path, 'r:', tarinfo=_CheckedInfo) as tar:
            if length % tarfile.BLOCKSIZE:  # tarfile takes half a header for the end
                raise tarfile.ReadError('it ends in the middle of a block')
            while (member := tar.next()) is not None:
                tar.members.clear()  # which it would keep
                if member.isreg() and not member.issparse():
                    yield Member(_checked_name(member.name), member.offset_data, member.size)
    except (tarfile.TarError, EOFError, ValueError, IndexError, RecursionError) as error:
        raise ValueError(f'{path}: is no whole, uncompressed tar: {error}; fetch it again, or leave it out') from error


class _CheckedInfo(tarfile.TarInfo):
    """A header whose size is checked before anything is read by it: Python would reserve so much, or go back by it."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        length = os.fstat(tar.fileobj.fileno()).st_size
        if self.type not in _WITHOUT_DATA:
            self._check(tar.fileobj.tell(), length)
        member = super()._proc_member(tar)
        if member.isreg() and not member.issparse():  # an extended header may have changed its size
            member._check(member.offset_data, length)
        return member

    def _check(self, start: int, length: int) -> None:
        if not 0 <= self.size <= length - start:
            left = length - start
            raise tarfile.ReadError(
                f'it is cut off within {self.name[:80]!r}, which should have {self.size} bytes, not {left}'
            )


def _checked_name(name: str) -> str:
    encoded = name.encode()  # fails where it is no UTF-8
    if len(encoded) > LONGEST_NAME or '\0' in name:
        raise tarfile.ReadError(f'a file of it has a name of {len(encoded)} bytes: {name[:80]!r}')
    return name

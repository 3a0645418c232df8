"""Which tar files an address of shards stands for."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path


def find_shards(shards: str | Path | Sequence[str | Path]) -> list[Path]:
    """The tars that are named, in the order of their names.

    Args:
        shards: a folder (all its ``*.tar``), a tar, a pattern (``laion/*.tar``, or ``laion/{00000..00123}.tar`` as
            webdataset writes it: all of these numbers), or several of them.

    Raises:
        FileNotFoundError: one of them is not there, a folder has no tar, or a pattern meets none.
        ValueError: none is named.

    Example:
        >>> [path.name for path in find_shards('laion/{00000..00123}.tar')]  # doctest: +SKIP
        ['00000.tar', '00001.tar', ...]
    """
    named = [shards] if isinstance(shards, str | Path) else shards
    files = []
    for shard in map(Path, chain.from_iterable(_numbered(str(shard)) for shard in named)):
        if shard.is_dir():
            found = sorted(shard.glob('*.tar'))
        elif glob.has_magic(str(shard)) and not shard.exists():
            found = [Path(name) for name in sorted(glob.glob(str(shard)))]
        else:
            found = [shard]
        if not found or not found[0].is_file():
            raise FileNotFoundError(f'{shard}: there is no such tar or folder with *.tar files')
        files += found
    if not files:
        raise ValueError('shards must name at least one tar or folder')
    return files


def _numbered(shards: str) -> Iterator[str]:
    numbers = re.search(r'\{(\d+)\.\.(\d+)\}', shards)
    if numbers is None:
        yield shards
        return
    first, last = numbers.groups()
    for number in range(int(first), int(last) + 1):
        yield from _numbered(f'{shards[: numbers.start()]}{number:0{len(first)}d}{shards[numbers.end() :]}')

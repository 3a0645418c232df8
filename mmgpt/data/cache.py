"""What is computed once from big files and mapped into memory ever after: indexes, neighbours, rewritten pictures."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

SMALL = 32 << 20  # bytes: smaller files are indexed in memory each time, which takes less than a second
_FORM = 1  # of what is stored; what has another one is made anew
_LOG = logging.getLogger('mmgpt.data')


def cached(what: str, files: Sequence[Path], make: Callable[[Path], None], parameters: Any = None) -> Path:
    """The folder of what was made from files; it is made now where there is none for the files as they are.

    It lies in ``.mmgpt`` beside the first file, or, where that cannot be written, below ``~/.cache/mmgpt``; below
    ``$MMGPT_CACHE`` where that is set. Its name holds a fingerprint of the files (names, sizes, times of change) and of
    the parameters; what was made of earlier contents of the same files is removed. Of several processes that need it
    at the same time one makes it and the others wait.

    Args:
        what: a word for names and messages, such as 'index'.
        files: what it is made from.
        make: fills the empty folder that it is given.
        parameters: what else it depends on, as JSON.

    Raises:
        OSError: it can be written nowhere.
    """
    stem = f'{files[0].name}.{what}-{digest([_FORM, parameters, [file.name for file in files]])}'
    name = f'{stem}-{digest([(file.stat().st_size, file.stat().st_mtime_ns) for file in files])}'
    homes = _homes(files[0])
    for home in homes:
        if (home / name).is_dir():
            return home / name
    home = next((home for home in homes if _writable(home)), homes[-1])
    home.mkdir(parents=True, exist_ok=True)
    folder, partial = home / name, home / f'{stem}.part'
    with FileLock(home / f'{stem}.lock'):
        if folder.is_dir():  # made while this process waited
            return folder
        _LOG.warning('%s: its %s is made once and kept in %s', files[0], what, home)
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        try:
            make(partial)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        for old in home.glob(f'{stem}-*'):
            shutil.rmtree(old, ignore_errors=True)
        partial.rename(folder)
        _LOG.warning('%s: its %s takes %.1f MB', files[0], what, sum(f.stat().st_size for f in folder.iterdir()) / 1e6)
    return folder


def user_cache() -> Path:
    """The folder of what is kept for data that lie elsewhere: ``~/.cache/mmgpt``, or ``$MMGPT_CACHE``."""
    return Path(os.environ.get('MMGPT_CACHE') or '~/.cache/mmgpt').expanduser()


def is_small(files: Sequence[Path]) -> bool:
    """Whether an index of the files is not worth keeping."""
    return sum(file.stat().st_size for file in files) < SMALL


def mapped_array(path: Path) -> np.ndarray:
    """An array of a ``.npy`` file, mapped into memory; plain, since ``np.memmap`` makes single elements slow."""
    return np.load(path, mmap_mode='r', allow_pickle=False).view(np.ndarray)


def digest(value: Any) -> str:
    """Twelve hexadecimal digits that tell values apart.

    Example:
        >>> digest(['a', 1])
        '2657442bb4a4'
    """
    return hashlib.sha256(json.dumps(value, default=str).encode()).hexdigest()[:12]


def _homes(file: Path) -> list[Path]:
    """Where a file's folders may lie, the preferred one first."""
    beside, apart = file.parent / '.mmgpt', digest(str(file.parent.resolve()))
    if os.environ.get('MMGPT_CACHE'):
        return [user_cache() / apart]
    return [beside, user_cache() / apart]


def _writable(home: Path) -> bool:
    return os.access(home if home.is_dir() else home.parent, os.W_OK)

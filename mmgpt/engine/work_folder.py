"""One run at a time in a work folder: two would remove each other's checkpoints."""

from __future__ import annotations

import errno
import os
import socket
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None

LOCK = '.run.lock'
PATIENCE = 5.0  # seconds for a run that is just ending


@contextmanager
def alone_in(work_dir: str | Path) -> Iterator[None]:
    """A context in which no other process trains in ``work_dir``; it is free again when this process ends, however it
    does. Where the file system knows no locks there is a warning and nothing more.

    Raises:
        ValueError: another run is there.
    """
    path = Path(work_dir) / LOCK
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        file = path.open('a+', encoding='utf-8')
    except OSError as error:
        warnings.warn(f'{path} cannot be written ({error}): see to it that no other run trains there', stacklevel=3)
        yield
        return
    with file:
        if _lock(file):
            file.truncate(0)
            file.write(f'process {os.getpid()} on {socket.gethostname()}')
            file.flush()
        yield


def _lock(file) -> bool:
    """Lock a file for this process, not for those that it forks; give whether the file system knows locks."""
    begun = time.monotonic()
    while fcntl is not None:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                warnings.warn(f'{file.name} cannot be locked ({error}): start no other run there', stacklevel=4)
                return False
        if time.monotonic() - begun > PATIENCE:
            file.seek(0)
            folder, who = Path(file.name).parent, file.read() or 'it does not say who'
            raise ValueError(f'another run trains in {folder} ({who}): wait for it, end it, or take another --work-dir')
        time.sleep(0.1)
    return False

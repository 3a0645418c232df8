"""Crashes at a chosen operation of the file system, and what a power cut would leave of a folder."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name('crash.c')
CHANGES = ('create', 'write', 'truncate', 'fsync', 'rename', 'link', 'unlink', 'mkdir')


class Operation(NamedTuple):
    """One that changed something."""

    kind: str  # of CHANGES
    path: str
    other: str = ''  # of a rename where to, of a link where from


def preload(library: Path) -> None:
    """Starts this program anew with the watching library in it, and with one thread a process; returns in the new one.

    Raises:
        FileNotFoundError: there is no C compiler.
    """
    if str(library) in os.environ.get('LD_PRELOAD', ''):
        return
    compiler = shutil.which('cc') or shutil.which('gcc')
    if compiler is None:
        raise FileNotFoundError('a C compiler is needed: apt-get install gcc libc6-dev')
    subprocess.run([compiler, '-shared', '-fPIC', '-O1', '-o', library, SOURCE, '-ldl'], check=True)
    environment = os.environ | {'LD_PRELOAD': str(library), 'OMP_NUM_THREADS': '1', 'MKL_NUM_THREADS': '1'}
    os.execve(sys.executable, [sys.executable, *sys.argv], environment)


def arm(folder: Path, at: int, log: Path) -> None:
    """From now on count what this process changes below a folder, and die at number ``at``; 0 counts only."""
    ctypes.CDLL(None).crash_arm(str(folder).encode(), ctypes.c_long(at), str(log).encode())


def operations(log: Path) -> list[Operation]:
    """What was done, in this order."""
    return [Operation(*line.split('\t')) for line in log.read_text().splitlines()] if log.exists() else []


def counts(done: list[Operation]) -> dict[str, int]:
    """How many of each kind."""
    found = Counter(operation.kind for operation in done)
    return {kind: found[kind] for kind in CHANGES if found[kind]}


def cut_power(done: list[Operation]) -> list[str]:
    """Loses what an operating system need not have written when its machine stops: the worst case.

    Files of new folders that were not synced since they were written are cut to half, and a rename whose folder was not
    synced afterwards is undone.

    Returns:
        what was lost.
    """
    folders: dict[str, None] = {}  # made anew, where they are now
    synced: dict[str, None] = {}
    renames: list[tuple[str, str]] = []

    def moved(paths: dict[str, None], here: str, there: str) -> dict[str, None]:
        return {there + p[len(here) :] if p == here or p.startswith(here + '/') else p: None for p in paths}

    for kind, path, other in done:
        if kind == 'mkdir' and path.endswith('.partial'):
            folders[path] = None
        elif kind == 'fsync':
            synced[path] = None
            renames = [(a, b) for a, b in renames if path not in (str(Path(a).parent), str(Path(b).parent))]
        elif kind in ('create', 'write', 'truncate'):
            synced.pop(path, None)
        elif kind == 'rename':
            folders, synced = moved(folders, path, other), moved(synced, path, other)
            renames.append((path, other))
    lost = []
    for path in (file for folder in folders for file in Path(folder).rglob('*') if file.is_file()):
        if str(path) not in synced:
            os.truncate(path, path.stat().st_size // 2)
            lost.append(f'data of {path.name}')
    for here, there in reversed(renames):
        if os.path.exists(there) and not os.path.exists(here):
            os.rename(there, here)
            lost.append(f'rename to {Path(there).name}')
    return lost

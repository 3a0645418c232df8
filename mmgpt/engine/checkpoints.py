"""Checkpoint folders on disk: written beside, synced and renamed into place, with a checksum of every file.

``checkpoints/iter_000400/`` is either there and whole or not there: a run killed at any moment leaves at most a folder
whose name starts with a dot, which the next save removes. ``training/checksums.json`` is written last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CHECKSUMS = Path('training') / 'checksums.json'
WRITING_FAILED = ('os error', 'No space left', 'PytorchStreamWriter', 'inline_container')
_NAME = re.compile(r'iter_(\d+)')


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message says why and what to do."""


class SaveError(RuntimeError):
    """Something that could not be written, such as to a full disk; nothing of it stays behind."""


def checkpoint_path(root: Path, iteration: int) -> Path:
    """The folder of the checkpoint after ``iteration`` iterations, e.g. ``root/iter_000400``."""
    return Path(root) / f'iter_{iteration:06d}'


def iteration_of(folder: Path) -> int:
    """The iteration in a checkpoint's name.

    Raises:
        ValueError: for a name that is none of a checkpoint.
    """
    match = _NAME.fullmatch(Path(folder).name)
    if not match:
        raise ValueError(f'expected a checkpoint folder named like iter_000400, got {folder}')
    return int(match[1])


def list_checkpoints(root: Path) -> list[Path]:
    """The checkpoints of a run, oldest first; folders that were never finished are left out."""
    root = Path(root)
    folders = root.iterdir() if root.is_dir() else ()
    return sorted((p for p in folders if _NAME.fullmatch(p.name) and (p / CHECKSUMS).is_file()), key=iteration_of)


def latest_checkpoint(root: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are all as they were written.

    Returns:
        the folder, or None where there is none; and what is wrong with the newer ones that were passed over.
    """
    faults: list[str] = []
    for folder in reversed(list_checkpoints(root)):
        found = verify_checkpoint(folder)
        if not found:
            return folder, faults
        faults += found
    return None, faults


def verify_checkpoint(folder: Path) -> list[str]:
    """Compare every file with its checksum.

    Returns:
        one line per missing, cut or changed file; empty when the checkpoint is whole.
    """
    folder = Path(folder)
    try:
        expected = json.loads((folder / CHECKSUMS).read_text())
    except (OSError, ValueError) as error:
        return [f'{folder / CHECKSUMS}: unreadable ({error})']
    faults = []
    for name, entry in expected.items():
        path = folder / name
        if not path.is_file():
            faults.append(f'{path}: missing')
        elif path.stat().st_size != entry['bytes']:
            faults.append(f'{path}: {path.stat().st_size} bytes, expected {entry["bytes"]}')
        elif _sha256(path) != entry['sha256']:
            faults.append(f'{path}: its content changed since it was written')
    return faults


@contextmanager
def written_whole(target: Path, share: Path | None = None) -> Iterator[Path]:
    """A folder to write into, which becomes ``target`` at the end, or vanishes when something fails.

    One with ``training/`` in it, a checkpoint, gets checksums.

    Args:
        target: the folder to make; an older one of this name is replaced.
        share: a checkpoint with which files may be shared by hard links: their checksums are not computed again.

    Yields:
        the folder to write into; it lies beside ``target``.

    Raises:
        SaveError: the disk is full, or fails.
    """
    target = Path(target)
    partial = target.with_name(f'.{target.name}.partial')
    try:
        _remove(partial)
        partial.mkdir(parents=True)
        yield partial
        _seal(partial, share)
    except BaseException as error:
        free = _free(target)
        with contextlib.suppress(OSError):  # the next save or the next pruning removes it then
            _remove(partial)
        if not _of_the_disk(error):
            raise
        raise SaveError(f'{target} could not be written, {free / 2**20:,.0f} MiB were free there: {error}') from error
    replaced = target.with_name(f'.{target.name}.replaced')
    _remove(replaced)
    if target.exists() or target.is_symlink():
        target.rename(replaced)
    partial.rename(target)
    _sync(target.parent)
    _remove(replaced)


def prune_checkpoints(root: Path, keep: int, written: Path | None = None) -> None:
    """Remove all but the newest ``keep`` checkpoints and the one just ``written``, and what interrupted saves left."""
    for folder in list_checkpoints(root)[:-keep]:
        if folder == written:
            continue
        hidden = folder.with_name(f'.{folder.name}.removed')
        folder.rename(hidden)  # at once: never half a checkpoint under its name
        _remove(hidden)
    for left in Path(root).glob('.iter_*'):
        _remove(left)


def link_or_copy(source: str | Path, target: str | Path) -> None:
    """Share a file by a hard link, by a copy where the disk knows none."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _seal(folder: Path, share: Path | None) -> None:
    """Write the checksums and bring every file and folder to the disk."""
    known = _shared_entries(share)
    entries = {}
    for path in sorted(p for p in folder.rglob('*') if p.is_file()):
        status = path.stat()
        shared = known.get((status.st_dev, status.st_ino))
        entries[path.relative_to(folder).as_posix()] = shared or {'bytes': status.st_size, 'sha256': _sha256(path)}
        if shared is None:
            _sync(path)
    if (folder / CHECKSUMS).parent.is_dir():
        (folder / CHECKSUMS).write_text(json.dumps(entries, indent=1))
        _sync(folder / CHECKSUMS)
    for path in [*(p for p in folder.rglob('*') if p.is_dir()), folder]:
        _sync(path)


def _shared_entries(share: Path | None) -> dict[tuple[int, int], dict]:
    if share is None or not (share / CHECKSUMS).is_file():
        return {}
    entries = json.loads((share / CHECKSUMS).read_text())
    files = {share / name: entry for name, entry in entries.items() if (share / name).is_file()}
    return {(path.stat().st_dev, path.stat().st_ino): entry for path, entry in files.items()}


def _sha256(path: Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)


def _of_the_disk(error: BaseException) -> bool:
    """Whether writing failed; safetensors, tokenizers and torch raise errors of their own for it."""
    return isinstance(error, OSError) or any(text in str(error) for text in WRITING_FAILED)


def _free(path: Path) -> int:
    there = next(folder for folder in path.absolute().parents if folder.exists())
    return shutil.disk_usage(there).free

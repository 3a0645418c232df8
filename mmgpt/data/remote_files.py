"""Files on other machines, read in parts: which there are, their versions, and bytes in spite of a bad network."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from huggingface_hub import constants
from huggingface_hub.errors import OfflineModeIsEnabled

from mmgpt.data.cache import digest, user_cache

PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)  # seconds before each further try
AT_ONCE = 16  # files that are asked about at the same time
LOCAL = ('file', 'local', 'memory')  # addresses of these kinds need no network
# What tells the versions of a file apart, the surest first: file systems name it differently.
VERSIONS = ('blob_id', 'xet_hash', 'md5Hash', 'Content-MD5', 'ETag', 'etag', 'Last-Modified', 'LastModified')
VERSIONS += ('last_modified', 'updated', 'mtime', 'created')

_REMOTE = re.compile(r'[a-z][a-z0-9+.-]*://')
_OTHER_FORMS = ('.json', '.jsonl', '.ndjson', '.csv', '.arrow', '.tar', '.zip', '.gz', '.zst')
_SPLIT = re.compile(r'(train|validation|valid|val|dev|test)(?![a-z])')
_FINAL = (FileNotFoundError, PermissionError, ImportError, ValueError, TypeError, NotImplementedError)
_FINAL += (OfflineModeIsEnabled,)
_LOG = logging.getLogger('mmgpt.data')

T = TypeVar('T')


def is_remote(path: str | Path) -> bool:
    """Whether a path is an address such as ``hf://datasets/owner/name/train-*.parquet``.

    Example:
        >>> is_remote('https://host/a.parquet'), is_remote('data/a.parquet')
        (True, False)
    """
    return isinstance(path, str) and _REMOTE.match(path) is not None


class Url(str):
    """An address, with the parts of a path that messages are made of."""

    @property
    def name(self) -> str:
        """What stands after the last slash."""
        return self.split('?')[0].rstrip('/').rpartition('/')[2]


@dataclass(frozen=True)
class RemoteFile:
    """One version of a file on another machine.

    Args:
        url: its address.
        size: in bytes.
        version: whatever its server tells versions apart by, None where it says nothing.
    """

    url: str
    size: int
    version: str | None

    def read(self, start: int, end: int, part: str) -> bytes:
        """The bytes from ``start`` to before ``end``; tried again, with pauses, where the network fails.

        Args:
            part: what they are, for messages.

        Raises:
            OSError: they cannot be had; FileNotFoundError, PermissionError where a further try is of no use.
            ValueError: its server gives no parts of files.
        """
        data = _persistently(lambda: self._read(start, end), f'{self.url}, {part}', self.url)
        if len(data) != end - start:
            raise ValueError(
                f'{self.url}, {part}: expected {end - start} bytes from {start}, got {len(data)}: the server gives no '
                'parts of files, so they cannot be streamed; download them first'
            )
        return data

    def check(self) -> None:
        """Asks whether this is still the version that the server has.

        Raises:
            OSError: it cannot be asked.
            ValueError: it has another one.
        """
        now = _persistently(self._now, self.url, self.url)
        if now != self:
            raise ValueError(
                f'{self.url}: has changed on its server since it was opened (size and version were {self.size} and '
                f'{self.version}, and are {now.size} and {now.version}): start a new run'
            )

    def _now(self) -> RemoteFile:
        system, path = _connect(self.url)
        system.invalidate_cache(path)
        return _described(system, path)

    def _read(self, start: int, end: int) -> bytes:
        system, path = _connect(self.url)
        if system.async_impl:
            return system.cat_file(path, start, end)  # one request
        with system.open(path, 'rb', cache_type='none') as file:  # not a byte more than asked for
            file.seek(start)
            return file.read(end - start)


def find_files(address: str) -> list[RemoteFile]:
    """The Parquet files at an address, by name.

    What was found is remembered, and stands for the address in the offline mode of the Hugging Face hub
    (``HF_HUB_OFFLINE=1``).

    Args:
        address: of a file, of a folder (its own files, not those of folders in it), or a pattern with ``*``.

    Raises:
        ValueError: there are none, they have another form, or are of several splits.
        FileNotFoundError: there is nothing at the address.
        OSError: the server cannot be reached.
        ImportError: the file system needs a package.
    """
    notes = user_cache() / 'remote' / f'{digest(address)}.json'
    if _is_offline(address):
        if not notes.is_file():
            raise OSError(f'{address}: is not known on this machine, and HF_HUB_OFFLINE forbids to ask')
        return [RemoteFile(**entry) for entry in json.loads(notes.read_text(encoding='utf-8'))]
    files = _persistently(lambda: _listed(address), address, address)
    notes.parent.mkdir(parents=True, exist_ok=True)
    partial = notes.with_suffix(f'.{os.getpid()}.part')
    partial.write_text(json.dumps([asdict(file) for file in files]), encoding='utf-8')
    partial.replace(notes)
    return files


def _listed(address: str) -> list[RemoteFile]:
    system, path = _connect(address)
    name = Url(address).name
    if name.endswith(_OTHER_FORMS):
        raise ValueError(f'{address}: only Parquet is streamed. {_how_to_convert(address)}')
    if '*' in address:
        names = [name for name in system.glob(path) if Url(name).name.endswith('.parquet')]
    elif name.endswith('.parquet'):
        names = [path]
    else:
        names = [entry['name'] for entry in system.ls(path, detail=True)]
        names = [name for name in names if Url(name).name.endswith('.parquet')]
        check_one_split(address, [Url(name).name for name in names])
    if not names:
        raise ValueError(
            f'{address}: has no .parquet files of its own; name the folder that has them. {_how_to_convert(address)}'
        )
    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(lambda name: _described(system, name), sorted(names)))


def check_one_split(folder: str | Path, names: Sequence[str]) -> None:
    """Refuses a folder whose Parquet files, by their names, are of several splits.

    Raises:
        ValueError: they are.

    Example:
        >>> check_one_split('data', ['train-00000-of-00001.parquet', 'test-00000-of-00001.parquet'])
        Traceback (most recent call last):
        ...
        ValueError: data: has files of test and train: name those to train on, such as data/train-*.parquet
    """
    splits = {match[1] for match in map(_SPLIT.match, names) if match}
    if len(splits) > 1:
        raise ValueError(
            f'{folder}: has files of {" and ".join(sorted(splits))}: name those to train on, such as '
            f'{str(folder).rstrip("/")}/train-*.parquet'
        )


def _described(system: Any, path: str) -> RemoteFile:
    info = system.info(path)
    url = system.unstrip_protocol(path)
    if info.get('size') is None or info.get('partial') is False:
        raise ValueError(f'{url}: its server gives no parts of files, so it cannot be streamed; download it first')
    version = next((str(info[field]) for field in VERSIONS if info.get(field)), None)
    return RemoteFile(url, int(info['size']), version)


def _connect(address: str) -> tuple[Any, str]:
    """The file system of an address, in this process, and its path there."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        kind = address.partition('://')[0]
        package = 'pip install "mmgpt[streaming]"' if kind in ('http', 'https') else f'the package for {kind}://'
        raise ImportError(f'{address}: to read it, install {package}: {error}') from error


def _persistently(action: Callable[[], T], what: str, address: str) -> T:
    """Does what may fail for a while."""
    if _is_offline(address):
        raise OSError(f'{what}: is not on this machine, and HF_HUB_OFFLINE forbids to fetch it')
    pauses = iter(PAUSES)
    while True:
        try:
            return action()
        except Exception as error:
            pause = next(pauses, None)
            status, origin = _origin(error)
            final = isinstance(origin, _FINAL) if status is None else 400 <= status < 500 and status not in (408, 429)
            if status in (401, 403) or isinstance(origin, PermissionError):
                raise PermissionError(
                    f'{what}: access is refused: log in (hf auth login), or give the credentials that its file system '
                    f'takes ({origin})'
                ) from error
            if status in (404, 410) or (final and isinstance(origin, FileNotFoundError)):
                raise FileNotFoundError(f'{what}: is not there') from error
            if final and isinstance(error, ValueError | ImportError):
                raise
            if final or pause is None:
                tries = '' if final else f' in {len(PAUSES) + 1} tries'
                raise OSError(
                    f'{what}: could not be fetched{tries}: {type(origin).__name__}: {origin}. Look after the network '
                    'and the address and start again: what was fetched is kept'
                ) from error
            _LOG.info('%s: %r; tried again in %g s', what, origin, pause)
            time.sleep(pause)


def _origin(error: BaseException) -> tuple[int | None, BaseException]:
    """The HTTP status that an error comes from, if any, and the error that it began with."""
    while True:
        status = getattr(error, 'status', None) or getattr(getattr(error, 'response', None), 'status_code', None)
        if isinstance(status, int) or error.__cause__ is None:
            return (status if isinstance(status, int) else None), error
        error = error.__cause__


def _is_offline(address: str) -> bool:
    return constants.is_offline_mode() and address.partition('://')[0] not in LOCAL


def _how_to_convert(address: str) -> str:
    if address.startswith('hf://datasets/'):
        name = '/'.join(address.removeprefix('hf://datasets/').split('/')[:2]).partition('@')[0]
        return f'The hub has a Parquet copy of most sets: hf://datasets/{name}@~parquet/default/train'
    return 'tools/dataset_converters/to_datasets.py writes Parquet of whatever mmgpt reads'

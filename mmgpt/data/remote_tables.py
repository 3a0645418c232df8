"""Random access to the rows of Parquet files that lie on other machines, by fetching the row groups that are needed."""

from __future__ import annotations

import io
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mmgpt.data.bounded_cache import BoundedCache
from mmgpt.data.cache import digest, user_cache
from mmgpt.data.parquet_batches import read_batches, readable
from mmgpt.data.remote_files import AT_ONCE, RemoteFile, Url, find_files
from mmgpt.data.table_records import TableRecords

LIMIT = 'MMGPT_STREAM_GB'  # the variable that bounds what is kept of streamed sets, in GB
DEFAULT_GB = 20.0
USED_AT_ONCE = 8  # row groups that should find room

_TAIL = 1 << 16  # bytes: most footers fit into the end of a file that is read first
_ENDS = 8  # bytes: length of the footer and the mark of the format
_LOG = logging.getLogger('mmgpt.data')


class RemoteTable(TableRecords):
    """The rows of remote Parquet files as :class:`~mmgpt.data.table_records.TableRecords` gives those of local ones.

    Opening reads footers, and remembers them. A row group is fetched when one of its rows is asked for, with one
    request (a few where it has more than 32 MiB), decoded, and kept as an Arrow file that is mapped from then on; all
    processes of a machine share it. What was not used for the longest time leaves where all of them take more than
    ``$MMGPT_STREAM_GB`` (default 20). They lie in ``~/.cache/mmgpt/remote``, below ``$MMGPT_CACHE`` where that is set.

    Args:
        address: of a file, folder or pattern, as of :func:`~mmgpt.data.remote_files.find_files`: ``hf://``,
            ``https://``, and whatever file systems ``fsspec`` knows, such as ``s3://`` with the package s3fs.

    Raises:
        OSError, ValueError, ImportError: see there; or a file is no Parquet.
    """

    def __init__(self, address: str) -> None:
        self.path = Url(address)
        cache = BoundedCache(user_cache() / 'remote' / 'groups', _limit())
        with ThreadPoolExecutor(AT_ONCE) as pool:
            shards = list(pool.map(lambda file: _Shard(file, cache), find_files(address)))
        self._index(shards)
        largest = max((shard.largest for shard in shards), default=0)
        _LOG.info(
            '%s: %d rows in %d files; row groups of at most %.1f MB are kept in %s, up to %.1f GB of all sets (%s)',
            self.path, len(self), len(shards), largest / 1e6, cache.folder, cache.limit / 1e9, LIMIT,
        )  # fmt: skip
        if USED_AT_ONCE * largest > cache.limit:
            _LOG.warning(
                '%s: a row group has up to %.2f GB, and only %.2f GB may be kept: some will be fetched again and '
                'again. Set %s to more, or write the files with smaller row groups',
                self.path, largest / 1e9, cache.limit / 1e9, LIMIT,
            )  # fmt: skip

    @property
    def on_disk(self) -> list[Path]:
        """See :attr:`TableRecords.on_disk`: the footers, which differ where the files do."""
        return [shard.footer for shard in self.files]

    @staticmethod
    def _opened(file: _Shard) -> _Shard:
        return file

    def _group(self, number: int, group: int, blobs: bool) -> pa.Table:
        file = self._file(number)  # forgets what another process had opened
        kept = self._last.get(True)
        if kept is None or kept[:2] != (number, group):
            kept = self._last[True] = (number, group, file.read(group))
        return kept[2]


class _Shard:
    """One remote file, as the table reads it: names, sizes of the row groups, the row groups."""

    def __init__(self, file: RemoteFile, cache: BoundedCache) -> None:
        self.file, self.cache = file, cache
        metadata = self._metadata()
        with readable(f'{self}: cannot be read as Parquet'):
            self.names = metadata.schema.to_arrow_schema().names
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        self.sizes = [group.num_rows for group in groups]
        self.largest = max((group.total_byte_size for group in groups), default=0)  # bytes of a row group, uncompressed

    def __str__(self) -> str:
        return self.file.url

    def read(self, group: int) -> pa.Table:
        """A row group, mapped: nothing of it is copied into memory."""
        name = f'{self.footer.stem}-{group}.arrow'
        return self.cache.get(name, lambda path: self._fetch(group, path), _mapped)

    def _fetch(self, group: int, path: Path) -> None:
        part = f'row group {group}'
        self.file.check()
        if self.file.version is None and self._tail() != self.footer.read_bytes():
            raise ValueError(
                f'{self}: has changed on its server since it was opened (its footer is another one): start a new run'
            )
        fetched = _Fetched(self.file, part)
        try:
            with readable(f'{self}, {part}: cannot be read as Parquet'):
                parquet = pq.ParquetFile(pa.PythonFile(fetched, 'r'), metadata=self._metadata(), pre_buffer=True)
                table = pa.Table.from_batches(read_batches(parquet, self.file.size, group), parquet.schema_arrow)
        except ValueError:
            if fetched.failure:
                raise fetched.failure from None
            raise
        with pa.ipc.new_file(str(path), table.schema) as writer:
            writer.write_table(table.combine_chunks())  # few batches: it is opened often

    def _metadata(self) -> pq.FileMetaData:
        """The footer, from disk where it was fetched before."""
        folder, name = user_cache() / 'remote' / 'footers', digest(self.file.url)
        tail = b''
        if self.file.version is None:  # its own end has to tell whether the file is another one
            tail = self._tail()
        state = digest([self.file.size, self.file.version or tail.hex()])
        self.footer = folder / f'{name}-{state}.footer'
        if not self.footer.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            partial = self.footer.with_suffix(f'.{os.getpid()}.part')
            partial.write_bytes(tail or self._tail())
            for old in folder.glob(f'{name}-*.footer'):
                old.unlink(missing_ok=True)
            partial.replace(self.footer)
        with readable(f'{self}: cannot be read as Parquet'):
            return pq.read_metadata(pa.BufferReader(self.footer.read_bytes()))

    def _tail(self) -> bytes:
        """The end of the file, which holds the whole footer."""
        size = self.file.size
        tail = self.file.read(max(0, size - _TAIL), size, 'footer')
        if tail[-4:] != b'PAR1':
            raise ValueError(f'{self}: should end as a Parquet file does, with PAR1, and ends with {tail[-4:]!r}')
        length = int.from_bytes(tail[-_ENDS:-4], 'little') + _ENDS
        if length > size:
            raise ValueError(f'{self}: should have a footer of {length} bytes, and has {size} in all')
        return tail[-length:] if length <= len(tail) else self.file.read(size - length, size, 'footer')


class _Fetched(io.RawIOBase):
    """A remote file of which is fetched what is read.

    pyarrow reads what lies side by side in one piece. Where a row group lies is left to it: asked for the places of
    column chunks in a damaged footer, it ends the process.
    """

    def __init__(self, file: RemoteFile, part: str) -> None:
        self.file, self.part, self.position = file, part, 0
        self.failure: Exception | None = None  # of the network; pyarrow's own error hides its kind

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self.position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self.position = offset + (0, self.position, self.file.size)[whence]
        return self.position

    def read(self, size: int = -1) -> bytes:
        start, end = self.position, self.file.size
        if size >= 0:
            end = min(start + size, end)
        if start >= end:
            return b''
        try:
            data = self.file.read(start, end, self.part)
        except Exception as error:
            self.failure = error
            raise
        self.position = end
        return data


def _mapped(path: Path) -> pa.Table:
    return pa.ipc.open_file(pa.memory_map(str(path))).read_all()


def _limit() -> int:
    """Bytes that may be kept of streamed sets."""
    given = os.environ.get(LIMIT) or str(DEFAULT_GB)
    try:
        gigabytes = float(given)
    except ValueError:
        gigabytes = -1.0
    if not gigabytes > 0:
        raise ValueError(f'{LIMIT} should be a number of GB above 0, such as 20, got {given!r}')
    return int(gigabytes * 1e9)

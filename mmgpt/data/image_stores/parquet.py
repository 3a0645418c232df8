"""Pictures as base64 in Parquet files."""

from __future__ import annotations

import base64
import io
import json
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmgpt.data.cache import cached, is_small
from mmgpt.data.image_stores.base import BadBase64, ImageStore, decode_base64
from mmgpt.data.key_index import KeyIndex
from mmgpt.registry import IMAGE_STORES


@IMAGE_STORES.register_module()
class ParquetImages(ImageStore):
    """MIMIC-IT's image file: a column ``base64``, and the image ids as the data frame's index or a column beside it.

    The place of every picture in the files is found once, and a picture is then read straight out of the mapped file,
    whatever the size of the row groups. That needs pages that are neither compressed nor in a dictionary, as
    :func:`write_parquet_images` writes them; of other files the pictures are rewritten once beside the index. What is
    made of big files is kept (:func:`mmgpt.data.cache.cached`), that of small ones is held in memory.

    Args:
        path: a Parquet file, or a folder of them (read in the order of their names).
        max_pixels: pictures with more pixels are refused.

    Raises:
        FileNotFoundError: there is no such file, or no ``*.parquet`` in the folder.
        ValueError: a file is no Parquet file or has other columns; the message names it.
    """

    def __init__(self, path: str | Path, max_pixels: int = 64_000_000) -> None:
        path = Path(path)
        self.files = sorted(path.glob('*.parquet')) if path.is_dir() else [path]
        if not self.files or not self.files[0].is_file():
            raise FileNotFoundError(f'{path}: there is no such Parquet file or folder with *.parquet files')
        self._folder: Path | None = None  # of what is kept
        self._cells: dict[int, bytes] = {}  # the rewritten pictures of small files
        if is_small(self.files):
            rewritten: dict[int, io.BytesIO] = {}
            index, self._spans = _locate(self.files, lambda number: rewritten.setdefault(number, io.BytesIO()))
            self._cells = {number: cells.getvalue() for number, cells in rewritten.items()}
        else:
            self._folder = cached('pictures', self.files, self._save)
            index, self._spans = KeyIndex.load(self._folder), self._load_spans()
        super().__init__(path, index, max_pixels)
        self._maps: dict[int, mmap.mmap] = {}

    def read(self, key: str) -> bytes:
        """See :meth:`ImageStore.read`."""
        number, start, length = map(int, self._spans[self.place(key)])
        where = f'{self.files[number]}: image {key!r}'
        if length < 0:
            raise BadBase64(f'{where} is empty')
        return decode_base64(self._text(number)[start : start + length], where)

    def _text(self, number: int) -> bytes | mmap.mmap:
        """What the places of a file's pictures are places in."""
        if number in self._cells:
            return self._cells[number]
        if number not in self._maps:
            path = None if self._folder is None else self._folder / _cells_name(number)
            with (self.files[number] if path is None or not path.is_file() else path).open('rb') as file:
                self._maps[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[number]

    def _save(self, folder: Path) -> None:
        opened: list[BinaryIO] = []

        def cells(number: int) -> BinaryIO:
            opened.append((folder / _cells_name(number)).open('wb'))
            return opened[-1]

        try:
            index, spans = _locate(self.files, cells)
        finally:
            for file in opened:
                file.close()
        index.save(folder)
        np.save(folder / 'spans.npy', spans)

    def _load_spans(self) -> np.ndarray:
        return np.load(self._folder / 'spans.npy', mmap_mode='r')

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_maps': {}, '_spans': self._spans if self._folder is None else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._folder is not None:
            self._spans = self._load_spans()


def _cells_name(number: int) -> str:
    return f'cells-{number:05d}.bin'


def _locate(files: Sequence[Path], rewritten: Callable[[int], BinaryIO]) -> tuple[KeyIndex, np.ndarray]:
    """The ids of the pictures of files, and where each lies.

    Args:
        files: Parquet files.
        rewritten: opens a file for the pictures of the file of a number, where they cannot be read in their place.

    Returns:
        The ids, and (N, 3) int64: number of the file, start and length of the base64 text; length -1 = there is none.
    """
    keys, places = [], [np.zeros((0, 3), np.int64)]
    for number, file in enumerate(files):
        with _readable(file):
            parquet = pq.ParquetFile(file, memory_map=True)
            column = _key_column(parquet, file)
            found = [
                batch.column(0).cast(pa.large_string())
                for batch in parquet.iter_batches(columns=[column], use_threads=False)
            ]
            if any(chunk.null_count for chunk in found):
                raise ValueError(f'{file}: an image id is missing in the column {column!r}')
            keys += found
            spans = _spans_in_place(parquet, file)
            if spans is None:
                spans = _rewrite(parquet, rewritten(number))
        places.append(np.insert(np.array(spans, np.int64).reshape(-1, 2), 0, number, axis=1))
    return KeyIndex(pa.concat_arrays(keys) if keys else []), np.concatenate(places)


def _spans_in_place(parquet: pq.ParquetFile, file: Path) -> list[tuple[int, int]] | None:
    """Where the texts lie in the file itself; None where they do not lie there as they are.

    Plain pages hold each text behind its length (4 bytes, little-endian). Every place is checked against what Arrow
    reads.
    """
    spans: list[tuple[int, int]] = []
    with file.open('rb') as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for group in range(parquet.num_row_groups):
            chunk = _chunk(parquet, group)
            if chunk.compression != 'UNCOMPRESSED' or chunk.has_dictionary_page:
                return None
            position, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
            for text in _texts(parquet, [group]):
                if text is None:
                    spans.append((0, -1))
                    continue
                wanted = struct.pack('<I', len(text)) + text
                if data[position : position + len(wanted)] != wanted:  # another page begins here
                    position = data.find(wanted, position, end)
                    if position < 0:
                        return None
                spans.append((position + 4, len(text)))
                position += len(wanted)
    return spans


def _rewrite(parquet: pq.ParquetFile, target: BinaryIO) -> list[tuple[int, int]]:
    """Writes the texts one behind the other; gives start and length of each."""
    spans, position = [], 0
    for text in _texts(parquet, range(parquet.num_row_groups)):
        if text is None:
            spans.append((0, -1))
            continue
        target.write(text)
        spans.append((position, len(text)))
        position += len(text)
    return spans


def _texts(parquet: pq.ParquetFile, groups: Iterable[int]) -> Iterator[bytes | None]:
    """The column ``base64``, a few rows at a time."""
    for batch in parquet.iter_batches(64, list(groups), ['base64'], use_threads=False):
        yield from batch.column(0).cast(pa.large_string()).cast(pa.large_binary()).to_pylist()


def _chunk(parquet: pq.ParquetFile, group: int) -> pq.ColumnChunkMetaData:
    """What the file says of a row group's column ``base64``."""
    chunks = parquet.metadata.row_group(group)
    columns = (chunks.column(i) for i in range(chunks.num_columns))
    return next(column for column in columns if column.path_in_schema == 'base64')


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Adds to what Arrow says of a damaged file which one it is."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise ValueError(f'{file}: cannot be read as a Parquet file: {error}') from error


def _key_column(parquet: pq.ParquetFile, file: Path) -> str:
    """The name of the column that holds the image ids: the data frame's index, or the one column beside base64."""
    names = parquet.schema_arrow.names
    described = json.loads((parquet.schema_arrow.metadata or {}).get(b'pandas', b'{}'))
    index = [name for name in described.get('index_columns', []) if name in names]
    others = index or [name for name in names if name != 'base64']
    if 'base64' not in names or len(others) != 1:
        raise ValueError(f'{file}: expected the columns "base64" and one of image ids, got {names}')
    return others[0]


def write_parquet_images(path: str | Path, images: Iterable[tuple[str, bytes]], rows_per_group: int = 1024) -> int:
    """Writes MIMIC-IT's ``XX.parquet``; pandas reads it as a frame indexed by image id with the column ``base64``.

    The file is written beside its place and renamed, so that a broken run leaves no half file.

    Args:
        path: the file to write.
        images: pairs of image id and encoded picture (PNG, JPEG).
        rows_per_group: pictures that are held in memory until they are written.

    Returns:
        The number of pictures written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    text = {'pandas_type': 'unicode', 'numpy_type': 'object', 'metadata': None}
    columns = [{'name': name, 'field_name': name, **text} for name in ('base64', 'image_id')]
    described = {'index_columns': ['image_id'], 'column_indexes': [], 'columns': columns, 'pandas_version': '2.0.0'}
    schema = pa.schema([('base64', pa.string()), ('image_id', pa.string())], metadata={'pandas': json.dumps(described)})
    partial = path.with_name(f'.{path.name}.{os.getpid()}.part')
    written, rows = 0, []
    with pq.ParquetWriter(partial, schema, compression='none', use_dictionary=False) as writer:
        for key, data in images:
            rows.append({'base64': base64.b64encode(data).decode(), 'image_id': key})
            if len(rows) == rows_per_group:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                written, rows = written + len(rows), []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
            written += len(rows)
    partial.replace(path)
    return written

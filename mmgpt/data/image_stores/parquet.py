"""Pictures as base64 in Parquet files."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmgpt.data.image_stores.base import BadBase64, ImageStore, decode_base64
from mmgpt.data.key_index import KeyIndex
from mmgpt.registry import IMAGE_STORES


@IMAGE_STORES.register_module()
class ParquetImages(ImageStore):
    """MIMIC-IT's image file: a column ``base64``, and the image ids as the data frame's index or a column beside it.

    Only the ids are read when it is opened. A picture is read with its row group, and the last row group is kept, so
    the frames of a video, which lie side by side, cost one read. Files with small row groups are fast
    (:func:`write_parquet_images` writes 16 rows); one with thousands per group decodes them all for each picture.

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
        keys, groups, starts = [], [], [0]
        for number, file in enumerate(self.files):
            with _readable(file):
                parquet = pq.ParquetFile(file, memory_map=True)
                column = _key_column(parquet, file)
                for group in range(parquet.num_row_groups):
                    table = parquet.read_row_group(group, [column], use_threads=False)
                    keys += table.column(0).cast(pa.large_string()).chunks
                    groups.append((number, group))
                    starts.append(starts[-1] + table.num_rows)
            if any(chunk.null_count for chunk in keys):
                raise ValueError(f'{file}: an image id is missing in the column {column!r}')
        super().__init__(path, KeyIndex(pa.concat_arrays(keys) if keys else []), max_pixels)
        self._groups = np.array(groups, np.int64).reshape(-1, 2)
        self._starts = np.array(starts, np.int64)  # the place of the first row of each row group
        self._reset()

    def read(self, key: str) -> bytes:
        """See :meth:`ImageStore.read`."""
        place = self.place(key)
        group = int(np.searchsorted(self._starts, place, side='right')) - 1
        text = self._row_group(group)[place - int(self._starts[group])]
        where = f'{self.files[self._groups[group][0]]}: image {key!r}'
        if not text.is_valid:
            raise BadBase64(f'{where} is empty')
        return decode_base64(text.as_buffer(), where)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ('_open', '_last', '_process')}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _reset(self) -> None:
        self._process = os.getpid()
        self._open: dict[int, pq.ParquetFile] = {}
        self._last: tuple[int, pa.ChunkedArray] | None = None

    def _row_group(self, group: int) -> pa.ChunkedArray:
        if self._process != os.getpid():  # a forked worker opens the files for itself
            self._reset()
        if self._last is None or self._last[0] != group:
            number, inside = map(int, self._groups[group])
            with _readable(self.files[number]):
                if number not in self._open:
                    self._open[number] = pq.ParquetFile(self.files[number], memory_map=True)
                table = self._open[number].read_row_group(inside, ['base64'], use_threads=False)
            self._last = (group, table.column(0))
        return self._last[1]


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


def write_parquet_images(path: str | Path, images: Iterable[tuple[str, bytes]], rows_per_group: int = 16) -> int:
    """Writes MIMIC-IT's ``XX.parquet``; pandas reads it as a frame indexed by image id with the column ``base64``.

    The file is written beside its place and renamed, so that a broken run leaves no half file.

    Args:
        path: the file to write.
        images: pairs of image id and encoded picture (PNG, JPEG).
        rows_per_group: pictures that are read together; small groups make random access fast.

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

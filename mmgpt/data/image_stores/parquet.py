"""Pictures as base64 in Parquet files."""

from __future__ import annotations

import base64
import json
import mmap
import os
import struct
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, islice
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmgpt.data.image_stores.base import BadBase64, decode_base64
from mmgpt.data.image_stores.mapped import Located, MappedImages
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.parquet_batches import read_batches, readable
from mmgpt.registry import IMAGE_STORES

GROUP_BYTES = 64_000_000  # of base64 text, held in memory until it is written


@IMAGE_STORES.register_module()
class ParquetImages(MappedImages):
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

    ending, kind = '.parquet', 'Parquet'

    def locate(self, rewritten: Callable[[int], BinaryIO]) -> Located:
        """See :meth:`MappedImages.locate`."""
        keys, places = [], [np.zeros((0, 3), np.int64)]
        for number, file in enumerate(self.files):
            with readable(f'{file}: cannot be read as a Parquet file'):
                parquet = pq.ParquetFile(file, memory_map=True)
                column = _key_column(parquet, file)
                found = [
                    batch.column(0).cast(pa.large_string())
                    for group in range(parquet.num_row_groups)
                    for batch in read_batches(parquet, file.stat().st_size, group, [column])
                ]
                if any(chunk.null_count for chunk in found):
                    raise ValueError(f'{file}: an image id is missing in the column {column!r}')
                keys += found
                spans = _spans_in_place(parquet, file)
                if spans is None:
                    spans = _rewrite(parquet, file, rewritten(number))
            places.append(np.insert(np.array(spans, np.int64).reshape(-1, 2), 0, number, axis=1))
        return Located(KeyIndex(pa.concat_arrays(keys) if keys else []), np.concatenate(places))

    def read(self, key: str) -> bytes:
        """See :meth:`ImageStore.read`."""
        file, text = self.cell(key)
        where = f'{file}: image {key!r}'
        if text is None:
            raise BadBase64(f'{where} is empty')
        return decode_base64(text, where)


def _spans_in_place(parquet: pq.ParquetFile, file: Path) -> list[tuple[int, int]] | None:
    """Where the texts lie in the file itself; None where they do not lie there as they are.

    Plain pages hold each text behind its length (4 bytes, little-endian). Every place is checked against what Arrow
    reads.
    """
    spans: list[tuple[int, int]] = []
    leaf = [parquet.schema.column(i).path for i in range(len(parquet.schema))].index('base64')
    with file.open('rb') as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for group in range(parquet.num_row_groups):
            texts = _texts(parquet, file, [group])
            first = list(islice(texts, 1))  # before pyarrow is asked for the chunk: a damaged one ends the process
            chunk = parquet.metadata.row_group(group).column(leaf)
            if chunk.compression != 'UNCOMPRESSED' or chunk.has_dictionary_page:
                return None
            position, end = chunk.data_page_offset, chunk.data_page_offset + chunk.total_compressed_size
            for text in chain(first, texts):
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


def _rewrite(parquet: pq.ParquetFile, file: Path, target: BinaryIO) -> list[tuple[int, int]]:
    """Writes the texts one behind the other; gives start and length of each."""
    spans, position = [], 0
    for text in _texts(parquet, file, range(parquet.num_row_groups)):
        if text is None:
            spans.append((0, -1))
            continue
        target.write(text)
        spans.append((position, len(text)))
        position += len(text)
    return spans


def _texts(parquet: pq.ParquetFile, file: Path, groups: Iterable[int]) -> Iterator[bytes | None]:
    """The column ``base64``, a few rows at a time."""
    for group in groups:
        for batch in read_batches(parquet, file.stat().st_size, group, ['base64']):
            yield from batch.column(0).cast(pa.large_string()).cast(pa.large_binary()).to_pylist()


def _key_column(parquet: pq.ParquetFile, file: Path) -> str:
    """The name of the column that holds the image ids: the data frame's index, or the one column beside base64."""
    names = [field.name for field in parquet.schema_arrow if not pa.types.is_nested(field.type)]
    try:
        described = json.loads((parquet.schema_arrow.metadata or {}).get(b'pandas', b'{}'))
        index = [name for name in described.get('index_columns', []) if name in names]
    except (ValueError, TypeError, AttributeError, RecursionError):  # it is no more than a hint
        index = []
    others = index or [name for name in names if name != 'base64']
    if 'base64' not in names or len(others) != 1:
        got = parquet.schema_arrow.names
        raise ValueError(f'{file}: expected the columns "base64" and one of image ids, got {got}')
    return others[0]


def write_parquet_images(path: str | Path, images: Iterable[tuple[str, bytes]], rows_per_group: int = 1024) -> int:
    """Writes MIMIC-IT's ``XX.parquet``; pandas reads it as a frame indexed by image id with the column ``base64``.

    The file is written beside its place and renamed, so that a broken run leaves no half file.

    Args:
        path: the file to write.
        images: pairs of image id and encoded picture (PNG, JPEG).
        rows_per_group: pictures that are held in memory until they are written, fewer where they have 64 MB.

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
    written = held = 0
    rows: list[dict[str, str]] = []
    try:
        with pq.ParquetWriter(partial, schema, compression='none', use_dictionary=False) as writer:
            for key, data in images:
                rows.append({'base64': base64.b64encode(data).decode(), 'image_id': key})
                held += len(rows[-1]['base64'])
                if len(rows) == rows_per_group or held >= GROUP_BYTES:
                    writer.write_table(pa.Table.from_pylist(rows, schema))
                    written, rows, held = written + len(rows), [], 0
            if rows:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                written += len(rows)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return written

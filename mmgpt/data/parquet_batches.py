"""Rows out of Parquet files, a few at a time, whatever the files say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq

ROWS = 64  # that are read at a time
MOST_SHRUNK = 200  # a file of data is not that many times smaller than they are
UNSUSPECTED = 8 << 20  # bytes: rows read at a time that are no larger are read anyway
UNSUSPECTED_GROUP = 512 << 20  # of a row group: long texts that every row repeats take next to no room in a file


def read_batches(
    parquet: pq.ParquetFile, size: int, group: int, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a row group, checked to be what their types say.

    What the footer says of column chunks is not asked for: where it is damaged, pyarrow ends the process.

    Args:
        parquet: the file.
        size: of the file in bytes.
        group: the number of the row group.
        columns: paths of leaves, such as ``images.list.element.path``; None = all.

    Raises:
        pyarrow.ArrowInvalid: it is damaged, or a few bytes would become so many that no data can be in them.
    """
    described = parquet.metadata.row_group(group)
    total, expected = described.total_byte_size, described.num_rows
    _check(total, size, UNSUSPECTED_GROUP)
    _check(total * min(ROWS, expected) // max(expected, 1), size)
    read = rows = 0
    for batch in parquet.iter_batches(ROWS, [group], None if columns is None else list(columns), use_threads=False):
        read += batch.nbytes
        rows += batch.num_rows
        _check(batch.nbytes, size)
        _check(read, size, UNSUSPECTED_GROUP)
        batch.validate(full=True)
        yield batch
    if rows != expected:
        raise pa.ArrowInvalid(f'row group {group} should have {expected} rows, and has {rows}')


@contextmanager
def readable(otherwise: str) -> Iterator[None]:
    """Makes one kind of error of all that pyarrow raises where a file is damaged, one that says which file it is.

    Args:
        otherwise: names the file, and says what cannot be done with it.

    Raises:
        ValueError: that, and what pyarrow says.

    Example:
        >>> with readable('data.parquet: cannot be read as a table'):
        ...     raise pa.ArrowInvalid('no magic bytes')
        Traceback (most recent call last):
        ...
        ValueError: data.parquet: cannot be read as a table: no magic bytes
    """
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:  # the last of names
        raise ValueError(f'{otherwise}: {error}') from error


def _check(becomes: int, size: int, unsuspected: int = UNSUSPECTED) -> None:
    if becomes > unsuspected and becomes > MOST_SHRUNK * size:
        raise pa.ArrowInvalid(f'a file of {size} bytes would become {becomes} and more: these are no data')

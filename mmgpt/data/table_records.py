"""Random access to the rows of Parquet and Arrow files, as Hugging Face data sets come, without loading them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mmgpt.data.parquet_batches import read_batches, readable


class Blob(NamedTuple):
    """A picture in a cell: its encoded bytes, or the path of a file, or both."""

    data: bytes | None
    path: str | None


class TableRecords:
    """The rows of a table as dicts. A row is read with its row group, and the last row group is kept.

    Of pictures, which are bytes or in the form of the ``datasets`` library (``{"bytes", "path"}``), a row holds a dict
    without the bytes; :meth:`blob` reads one of them.

    Args:
        path: a ``.parquet`` or ``.arrow`` file, a pattern of them such as ``data/train-*.parquet``, a folder of either
            (in the order of their names), or a folder that ``datasets`` saved with ``save_to_disk``.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
        ValueError: a file cannot be read, or they have different columns; the message names it.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._index(table_files(self.path))

    def _index(self, files: list[Any]) -> None:
        """Asks all files for their columns and the sizes of their row groups."""
        self.files = files
        groups, starts, names = [], [0], None
        self._reset()
        for number, file in enumerate(files):
            opened = self._file(number)
            if names is not None and opened.names != names:
                raise ValueError(f'{file}: has the columns {opened.names}, the files before it have {names}')
            names = opened.names
            for group, rows in enumerate(opened.sizes):
                if rows < 0:
                    raise ValueError(f'{file}: is damaged, it says that its row group {group} has {rows} rows')
                groups.append((number, group))
                starts.append(starts[-1] + rows)
        self.columns: list[str] = names or []
        self._groups = np.array(groups, np.int64).reshape(-1, 2)
        self._starts = np.array(starts, np.int64)
        self._reset()

    @property
    def on_disk(self) -> list[Path]:
        """Files of this machine that differ where the table does."""
        return self.files

    @property
    def group_sizes(self) -> np.ndarray:
        """(n,) int64, the rows of each row group."""
        return np.diff(self._starts)

    def __len__(self) -> int:
        return int(self._starts[-1])

    def __getitem__(self, place: int) -> dict[str, Any]:
        """The row at a place, without the bytes of pictures."""
        number, group, row = self._find(place)
        table = self._group(number, group, blobs=False)
        return {name: _plain(table.column(name)[row]) for name in table.column_names}

    def blob(self, place: int, column: str, item: int = 0) -> Blob:
        """A picture of a row: the ``item``-th where the cell is a list.

        Raises:
            IndexError: the cell has no such picture.
        """
        number, group, row = self._find(place)
        cell = self._group(number, group, blobs=True).column(column)[row]
        if isinstance(cell, pa.ListScalar | pa.LargeListScalar):
            cells = cell.values
            if cells is None or not 0 <= item < len(cells):
                raise IndexError(f'{self.where(place)}: "{column}" has no picture {item}')
            cell = cells[item]
        value = cell.as_py()
        if isinstance(value, bytes):
            return Blob(value, None)
        if isinstance(value, dict):
            data, path = value.get('bytes'), value.get('path')
        else:
            data, path = None, value
        if not isinstance(data, bytes | None) or not isinstance(path, str | None):
            raise ValueError(f'{self.where(place)}: "{column}" should hold pictures, got {str(value)[:80]}')
        return Blob(data, path)

    def texts(self, column: str) -> pa.Array:
        """A column as text, one per row.

        Raises:
            ValueError: a cell is empty, or no text.
        """
        chunks: list[pa.Array] = []
        for number, group in self._groups.tolist():
            try:
                texts = self._group(number, group, blobs=False).column(column).cast(pa.large_string())
            except pa.ArrowException as error:
                raise ValueError(f'{self.files[number]}: "{column}" should be text: {error}') from error
            if texts.null_count:
                raise ValueError(f'{self.files[number]}: a cell of "{column}" is empty')
            chunks += texts.chunks
        return pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_string())

    def where(self, place: int) -> str:
        """Names the row at a place, for messages."""
        number = self._find(place)[0]
        first = int(np.flatnonzero(self._groups[:, 0] == number)[0])
        return f'{self.files[number]}, row {place - int(self._starts[first])}'

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ('_open', '_last', '_process')}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    def _find(self, place: int) -> tuple[int, int, int]:
        if not 0 <= place < len(self):
            raise IndexError(f'{self.path} has {len(self)} rows, there is no row {place}')
        slot = int(np.searchsorted(self._starts, place, side='right')) - 1
        number, group = map(int, self._groups[slot])
        return number, group, place - int(self._starts[slot])

    def _reset(self) -> None:
        self._process = os.getpid()
        self._open: dict[int, _Parquet | _Arrow] = {}
        self._last: dict[bool, tuple[int, int, pa.Table]] = {}

    def _file(self, number: int) -> _Parquet | _Arrow:
        if self._process != os.getpid():  # a forked worker opens the files for itself
            self._reset()
        if number not in self._open:
            file = self.files[number]
            with readable(f'{file}: cannot be read as a table'):
                self._open[number] = self._opened(file)
        return self._open[number]

    @staticmethod
    def _opened(file: Path) -> _Parquet | _Arrow:
        return _Arrow(file) if file.suffix == '.arrow' else _Parquet(file)

    def _group(self, number: int, group: int, blobs: bool) -> pa.Table:
        file = self._file(number)
        kept = self._last.get(blobs)
        if kept is None or kept[:2] != (number, group):
            with readable(f'{self.files[number]}: its row group {group} cannot be read'):
                kept = (number, group, file.read(group, blobs))
            self._last[blobs] = kept
        return kept[2]


def is_table(path: str | Path) -> bool:
    """Whether a path is one that :class:`TableRecords` takes."""
    path = Path(path)
    return path.suffix in ('.parquet', '.arrow') or path.is_dir()


def table_files(path: Path) -> list[Path]:
    """The files of a table, in their order."""
    if '*' in path.name and not path.exists():
        files = sorted(path.parent.glob(path.name))
    elif not path.is_dir():
        files = [path]
    elif (path / 'state.json').is_file():  # written by datasets
        try:
            state = json.loads((path / 'state.json').read_text(encoding='utf-8'))
            selection, files = state.get('_indices_files'), [path / entry['filename'] for entry in state['_data_files']]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(f'{path / "state.json"}: is not as the datasets library writes it: {error!r}') from error
        if selection:
            raise ValueError(f'{path}: was saved with a selection of rows: save it again after flatten_indices()')
    else:
        files = sorted(path.glob('*.parquet')) or sorted(path.glob('*.arrow'))
    if not files or not os.path.isfile(files[0]):
        raise FileNotFoundError(f'{path}: there is no such .parquet or .arrow file, nor a folder with any')
    return files


class _Parquet:
    def __init__(self, path: Path) -> None:
        self.file = pq.ParquetFile(path, memory_map=True)
        self.size = path.stat().st_size
        self.names = self.file.schema_arrow.names
        self.sizes = [self.file.metadata.row_group(i).num_rows for i in range(self.file.num_row_groups)]
        leaves = [self.file.schema.column(i).path for i in range(len(self.file.schema))]
        beside = {leaf.removesuffix('.path') for leaf in leaves if leaf.endswith('.path')}
        self.light = [
            leaf for leaf in leaves if not leaf.endswith('.bytes') or leaf.removesuffix('.bytes') not in beside
        ]

    def read(self, group: int, blobs: bool) -> pa.Table:
        batches = list(read_batches(self.file, self.size, group, None if blobs else self.light))
        return pa.Table.from_batches(batches) if batches else self.file.schema_arrow.empty_table()


def arrow_table(path: Path) -> pa.Table:
    """The mapped table of an Arrow file, a stream as ``datasets`` writes it, or one with a footer."""
    source = pa.memory_map(str(path))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()


class _Arrow:
    def __init__(self, path: Path) -> None:
        table = arrow_table(path)
        self.batches = table.to_batches()
        self.names = table.column_names
        self.sizes = [batch.num_rows for batch in self.batches]

    def read(self, group: int, blobs: bool) -> pa.Table:
        self.batches[group].validate(full=True)  # Arrow trusts what it maps
        return pa.Table.from_batches([self.batches[group]])  # mapped: nothing is copied


def _plain(cell: pa.Scalar) -> Any:
    """A cell as Python has it; a picture as a dict without its bytes."""
    kind = cell.type
    if not cell.is_valid:
        return None
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return {}
    if pa.types.is_struct(kind) and kind.get_field_index('bytes') >= 0:
        return {field.name: cell[field.name].as_py() for field in kind if field.name != 'bytes'}
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_plain(one) for one in cell.values]
    return cell.as_py()

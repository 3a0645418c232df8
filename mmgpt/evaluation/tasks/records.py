"""Benchmarks that are one file of records: JSON, JSON lines, TSV, Parquet or Arrow, with pictures beside or inside."""

from __future__ import annotations

import csv
import hashlib
import sys
from abc import abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mmgpt.data.json_lines import json_lines
from mmgpt.data.table_records import TableRecords, is_table
from mmgpt.evaluation.items import Item
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.evaluation.tasks.files import need, read_json
from mmgpt.hub.pictures import open_picture
from mmgpt.structures import Medium


class Cell(NamedTuple):
    """A picture in a table."""

    place: int
    column: str
    item: int


class RecordTask(EvaluationTask):
    """A benchmark of one file.

    Args:
        records: ``.json`` (a list, an object with the list ``data`` or ``questions``, records by id, or JSON lines as
            POPE's official files have), ``.jsonl``, ``.tsv``, a table (``.parquet``, ``.arrow``) or a folder of such,
            as Hugging Face data sets come.
        images: the folder of the pictures that records only name. Pictures may also be in the records, as base64 text
            or in the cells of a table.
    """

    kind = 'instruction'
    where = ''  # where to get the file

    def __init__(self, records: str, images: str | None = None) -> None:
        self._records, self._images = records, images

    @abstractmethod
    def item(self, record: Record) -> Item | list[Item]:
        """The item of a record, or several."""

    @cached_property
    def queries(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        items = (self.item(record) for record in self._read())
        return [item for few in items for item in (few if isinstance(few, list) else [few])]

    def open(self, frame: Hashable) -> Image.Image:
        """See :class:`EvaluationTask`."""
        if isinstance(frame, Cell):
            blob = self._table.blob(*frame)
            frame = blob.data if blob.data is not None else str(self._folder / blob.path)
        return open_picture(frame)

    def digest(self, frame: Hashable) -> str:
        """The same for two frames where they are the same file, text or cell."""
        blob = self._table.blob(*frame) if isinstance(frame, Cell) else None
        data = str(frame).encode() if blob is None else blob.data or str(blob.path).encode()
        return hashlib.sha256(data).hexdigest()

    @cached_property
    def _path(self) -> Path:
        return need(self._records, 'records', self.where)

    @cached_property
    def _folder(self) -> Path:
        return self._path.parent if self._images is None else need(self._images, 'images', self.where)

    @cached_property
    def _table(self) -> TableRecords:
        return TableRecords(self._path)

    def _read(self) -> Iterator[Record]:
        if self._path.is_dir() or is_table(self._path):
            table = self._table
            for place in range(len(table)):
                yield Record(self, place, table.where(place), table[place])
            return
        for place, (where, value) in enumerate(_read_file(self._path)):
            yield Record(self, place, where, value)


class Record:
    """A record and where it stands."""

    def __init__(self, task: RecordTask, place: int, where: str, value: Any) -> None:
        self._task, self.place, self.where = task, place, where
        if not isinstance(value, Mapping):
            raise ValueError(f'{where} should be an object, and is {str(value)[:80]!r}')
        self.value = value

    def __getitem__(self, names: str | tuple[str, ...]) -> Any:
        """The value under the first of the names that the record has.

        Raises:
            ValueError: it has none of them.
        """
        names = (names,) if isinstance(names, str) else names
        for name in names:
            if self.value.get(name) is not None:
                return self.value[name]
        raise ValueError(
            f'{self.where} lacks {" or ".join(map(repr, names))}; it has {", ".join(map(str, self.value))}'
        )

    def get(self, *names: str, default: Any = None) -> Any:
        """The value under the first of the names that is there, or the default."""
        return next((self.value[name] for name in names if self.value.get(name) not in (None, '')), default)

    def text(self, *names: str) -> str:
        """As ``record[names]``, which must be text.

        Raises:
            ValueError: it is none, or is empty.
        """
        value = self[names]
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f'{self.where}: {names[0]!r} must be text, got {value!r}')
        return value.strip()

    def one_of(self, choices: Mapping[Any, Any], *names: str) -> Any:
        """What ``choices`` says of the value.

        Raises:
            ValueError: nothing.
        """
        value = self[names]
        key = value.strip().lower() if isinstance(value, str) else value
        if not isinstance(key, Hashable) or key not in choices:
            known = ', '.join(map(repr, choices))
            raise ValueError(f'{self.where}: {names[0]!r} must be one of {known}; got {value!r}')
        return choices[key]

    def pictures(self, *names: str, together: bool = False) -> tuple[Medium, ...]:
        """The media of the first of the columns that has any: one for each picture, or one for all ``together``."""
        name = next((name for name in names if self.value.get(name) not in (None, '', [])), None)
        if name is None:
            return ()
        value = self.value[name]
        values = value if isinstance(value, list) else [value]
        frames = [self._frame(name, item, each) for item, each in enumerate(values)]
        return (Medium(tuple(frames)),) if together else tuple(Medium((frame,)) for frame in frames)

    def _frame(self, name: str, item: int, value: Any) -> Hashable:
        if isinstance(value, Mapping):  # as the datasets library has pictures in cells
            return Cell(self.place, name, item)
        if not isinstance(value, str):
            raise ValueError(
                f'{self.where}: {name!r} should be a file name, base64 text or a picture, got {value!r:.60}'
            )
        if len(value) > 255 or value.startswith('data:'):
            return value
        return str(self._task._folder / value)


def _read_file(path: Path) -> Iterator[tuple[str, Any]]:
    """The records of a file, each with the words that say where it stands."""
    readers = {'.jsonl': _lines, '.tsv': _cells, '.json': _json}
    if path.suffix not in readers:
        raise ValueError(f'{path}: records are read from .json, .jsonl, .tsv, .parquet and .arrow')
    return readers[path.suffix](path)


def _lines(path: Path) -> Iterator[tuple[str, Any]]:
    for number, record in enumerate(json_lines(path), 1):
        yield f'{path}, record {number}', record


def _cells(path: Path) -> Iterator[tuple[str, Any]]:
    csv.field_size_limit(min(sys.maxsize, 2**31 - 1))  # pictures are base64 text in cells
    with path.open(encoding='utf-8-sig', newline='') as file:
        reader = csv.DictReader(file, delimiter='\t')
        try:
            for record in reader:
                where = f'{path}, line {reader.line_num}'
                if None in record or None in record.values():
                    raise ValueError(f'{where} has not as many cells as the first line')
                yield where, record
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f'{path}, behind line {reader.line_num}, is no TSV in UTF-8: {error}') from None


def _json(path: Path) -> Iterator[tuple[str, Any]]:
    try:
        data = read_json(path)
    except ValueError as error:
        if 'Extra data' not in str(error):
            raise
        yield from _lines(path)
        return
    if isinstance(data, Mapping):
        data = next((data[name] for name in ('data', 'questions') if isinstance(data.get(name), list)), data)
    if isinstance(data, Mapping):
        for id, record in data.items():
            yield f'{path}, {id!r}', {'id': id, **record} if isinstance(record, Mapping) else record
    elif isinstance(data, list):
        for number, record in enumerate(data):
            yield f'{path}, [{number}]', record
    else:
        raise ValueError(f'{path} should be a list of records, and is {type(data).__name__}')

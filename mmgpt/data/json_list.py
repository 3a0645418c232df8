"""Random access to the records of big annotation files, whichever way they are written."""

from __future__ import annotations

import re
from array import array
from pathlib import Path

from mmgpt.data.json_index import JsonObject
from mmgpt.data.json_scan import KEY, MappedJson
from mmgpt.data.remote_files import check_one_split, is_remote
from mmgpt.data.remote_tables import RemoteTable
from mmgpt.data.table_records import TableRecords, is_table

_LINE = re.compile(rb'[^\r\n]*+')


class JsonList(MappedJson):
    """A file that holds a JSON list, or an object with a list as one member: its values one at a time.

    Args:
        path: the JSON file (UTF-8).
        member: the name of the outer object's member that holds the list; None = the file is the list.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such JSON; the message names the line.
    """

    def __init__(self, path: str | Path, member: str | None = None) -> None:
        super().__init__(path, 'a JSON list')
        self._index(lambda: self._scan(member), type(self).__name__, member)

    def _scan(self, member: str | None) -> tuple[array, None]:
        if member is None:
            bounds, end = self._items(self._skip_space(self._start))
        else:
            bounds, end = self._below(member)
        self._expect_end(end)
        return bounds, None

    def _below(self, member: str) -> tuple[array, int]:
        position = self._expect(self._skip_space(self._start), b'{', f'an object with the list "{member}"')
        bounds, names = None, []
        while not names or self._map[position : position + 1] != b'}':
            if names:
                position = self._expect(position, b',', 'a comma or the closing }')
            position = self._skip_space(position)
            key = KEY.match(self._map, position)
            if key is None:
                raise self._fault(position, 'a key and a colon')
            names.append(self._text(key.group(1), position))
            if names[-1] == member and self._map[key.end() : key.end() + 1] == b'[':
                bounds, end = self._items(key.end())
            else:
                end = self._skip_value(key.end())
            position = self._skip_space(end)
        if bounds is None:
            raise ValueError(
                f'{self.path}: expected an object with the list "{member}", got one with the members {names[:5]}'
            )
        return bounds, position + 1

    def _items(self, position: int) -> tuple[array, int]:
        """Where the items of the list begin and end, in turn, and where the list ends."""
        position = self._skip_space(self._expect(position, b'[', 'a list […]'))
        bounds = array('q')
        if self._map[position : position + 1] == b']':
            return bounds, position + 1
        while True:
            end = self._skip_value(position)
            bounds.extend((position, end))
            position = self._skip_space(end)
            if self._map[position : position + 1] == b']':
                return bounds, position + 1
            position = self._skip_space(self._expect(position, b',', 'a comma or the closing ]'))


class JsonLines(MappedJson):
    """A file with one JSON value per line; empty lines do not count.

    Args:
        path: the file (UTF-8).

    Raises:
        FileNotFoundError: there is no such file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__(path, 'a file of JSON lines')
        self._index(self._scan, type(self).__name__)

    def _scan(self) -> tuple[array, None]:
        bounds, position = array('q'), self._skip_space(self._start)
        while position < len(self._map):
            end = _LINE.match(self._map, position).end()
            bounds.extend((position, end))
            position = self._skip_space(end)
        return bounds, None


def open_records(
    path: str | Path, member: str | None = None, lines: bool = False
) -> JsonList | JsonLines | JsonObject | TableRecords:
    """The records of an annotation file: a list, JSON lines, an object whose values they are, or a table.

    Args:
        path: ``.jsonl`` and ``.ndjson`` are lines; ``.parquet``, ``.arrow`` and folders are tables; addresses such as
            ``hf://datasets/…`` are remote Parquet files; of other files the first character tells.
        member: where the file is an object: the member with the records; None = the object's values are they.
        lines: what begins with an object are lines, whatever the file's name.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such JSON; the message names the line.
    """
    if is_remote(path):
        return RemoteTable(path)
    path = Path(path)
    if is_table(path):
        records = TableRecords(path)
        if path.is_dir():
            check_one_split(path, [file.name for file in records.files if file.suffix == '.parquet'])
        return records
    if path.suffix in ('.jsonl', '.ndjson'):
        return JsonLines(path)
    begin = b''
    if path.is_file():
        with path.open('rb') as file:
            begin = file.read(256).removeprefix(b'\xef\xbb\xbf').lstrip()[:1]
    if begin == b'{' and lines:
        return JsonLines(path)
    if begin == b'{':
        return JsonObject(path) if member is None else JsonList(path, member)
    return JsonList(path)

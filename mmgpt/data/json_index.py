"""Random access to the members of a big JSON object without building it."""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmgpt.data.key_index import KeyIndex

# Possessive quantifiers (*+) keep the matches linear in time and constant in memory, however long the file.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_SPACE = re.compile(rb'[ \t\r\n]*+')
_KEY = re.compile(rb'(' + _STRING + rb')[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)
_SCALAR = re.compile(_STRING + rb'|-?[0-9][0-9.eE+-]*+|true|false|null', re.DOTALL)
_FLAT = re.compile(rb'\{(?:[^{}\[\]"]++|\[(?:[^{}\[\]"]++|' + _STRING + rb')*+\]|' + _STRING + rb')*+\}', re.DOTALL)
_BRACKET = re.compile(_STRING + rb'|[{}\[\]]', re.DOTALL)


class _Members(NamedTuple):
    keys: list[str]
    bounds: list[int]  # where the values begin and end, in turn
    end: int  # of the object
    inner: _Members | None


class JsonObject:
    """A file that holds one JSON object, or one below a member of it: its keys, and its values one at a time.

    The file is scanned once for the places of the values and mapped into memory; a value is parsed when it is asked
    for. So a file of gigabytes costs a few bytes per member, and worker processes share them.

    Args:
        path: the JSON file (UTF-8).
        member: the name of the outer object's member that holds the object; None = the outer object itself.
        optional: with ``member``: where the outer object has no such member, it is itself the object.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is no such JSON; the message names the line.

    Example:
        >>> Path('/tmp/example.json').write_text('{"meta": {}, "data": {"a": [1], "b": [2]}}')
        42
        >>> data = JsonObject('/tmp/example.json', member='data')
        >>> data.keys.find('b'), data[1]
        (1, [2])
    """

    def __init__(self, path: str | Path, member: str | None = None, optional: bool = False) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'{self.path}: there is no such file (a JSON object was expected)')
        self._map = self._open()
        start = 3 if self._map[:3] == b'\xef\xbb\xbf' else 0
        found = self._members(start, member)
        if self._skip_space(found.end) != len(self._map):
            raise self._fault(found.end, 'the end of the file')
        if found.inner is None and member is not None and not optional:
            raise ValueError(
                f'{self.path}: expected an object with the member "{member}" that is an object itself, '
                f'got one with the members {found.keys[:5]}'
            )
        found = found.inner or found
        self.keys = KeyIndex(found.keys)
        self._spans = np.array(found.bounds, np.int64).reshape(-1, 2)

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, place: int) -> Any:
        """The value at a place of the file's order."""
        start, end = self._spans[place]
        try:
            return json.loads(self._map[start:end])
        except (ValueError, RecursionError) as error:
            raise ValueError(
                f'{self.path}, line {self.line(place)}: the value of "{self.keys[place]}" is not valid JSON: {error}'
            ) from error

    def line(self, place: int) -> int:
        """The line of the file, from 1, on which the value at a place begins."""
        return self._line_of(int(self._spans[place][0]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_map': None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map = self._open()

    def _open(self) -> mmap.mmap | bytes:
        with self.path.open('rb') as file:
            if self.path.stat().st_size == 0:  # cannot be mapped
                return b''
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _members(self, start: int, member: str | None = None) -> _Members:
        """The object that begins at ``start``, and the one that is its ``member``, in one pass."""
        buffer = self._map
        position = self._expect(self._skip_space(start), b'{', 'an object {…}')
        keys, bounds, inner = [], [], None
        position = self._skip_space(position)
        if buffer[position : position + 1] == b'}':
            return _Members(keys, bounds, position + 1, inner)
        while True:
            key = _KEY.match(buffer, position)
            if key is None:
                raise self._fault(position, 'a key and a colon')
            keys.append(self._text(key.group(1), position))
            if keys[-1] == member and buffer[key.end() : key.end() + 1] == b'{':
                inner = self._members(key.end())
                end = inner.end
            else:
                end = self._skip_value(key.end())
            bounds += (key.end(), end)
            position = self._skip_space(end)
            mark = buffer[position : position + 1]
            if mark == b'}':
                return _Members(keys, bounds, position + 1, inner)
            position = self._skip_space(self._expect(position, b',', 'a comma or the closing }'))

    def _text(self, literal: bytes, position: int) -> str:
        try:
            if b'\\' not in literal:
                return literal[1:-1].decode()
            return json.loads(literal).encode().decode()  # half of a surrogate pair is no text
        except ValueError as error:
            raise self._fault(position, f'a valid string ({error})') from error

    def _skip_value(self, position: int) -> int:
        found = _SCALAR.match(self._map, position) or _FLAT.match(self._map, position)
        if found is not None:
            return found.end()
        depth = 0
        if self._map[position : position + 1] in (b'{', b'['):
            for found in _BRACKET.finditer(self._map, position):
                mark = self._map[found.start() : found.start() + 1]
                depth += (mark in b'{[') - (mark in b'}]')
                if depth == 0:
                    return found.end()
        raise self._fault(position, 'a value' if depth == 0 else 'a value that is closed before the file ends')

    def _skip_space(self, position: int) -> int:
        return _SPACE.match(self._map, position).end()

    def _expect(self, position: int, mark: bytes, what: str) -> int:
        if self._map[position : position + 1] != mark:
            raise self._fault(position, what)
        return position + 1

    def _line_of(self, position: int) -> int:
        line, start = 1, 0
        while start < position:  # in steps: a slice of the map is a copy
            line += self._map[start : min(start + (1 << 20), position)].count(b'\n')
            start += 1 << 20
        return line

    def _fault(self, position: int, expected: str) -> ValueError:
        got = bytes(self._map[position : position + 20]).decode(errors='replace') or 'the end of the file'
        return ValueError(f'{self.path}, line {self._line_of(position)}: expected {expected}, got {got!r}')

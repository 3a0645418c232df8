"""A JSON file mapped into memory, whose values are found by scanning and parsed one at a time."""

from __future__ import annotations

import json
import mmap
import re
from array import array
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from mmgpt.data.cache import cached, is_small, mapped_array
from mmgpt.data.key_index import KeyIndex

# Possessive quantifiers (*+) keep the matches linear in time and constant in memory, however long the file.
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PLAIN = rb'[^{}\[\]"]++|' + _STRING
_SCALAR = re.compile(_STRING + rb'|-?[0-9][0-9.eE+-]*+|true|false|null', re.DOTALL)
_FLAT = rb'\{(?:' + _PLAIN + rb'|\[(?:' + _PLAIN + rb')*+\])*+\}'
_FLATS = rb'\[(?:' + _PLAIN + rb'|' + _FLAT + rb')*+\]'
_RECORD = re.compile(rb'\{(?:' + _PLAIN + rb'|' + _FLATS + rb'|' + _FLAT + rb')*+\}', re.DOTALL)
_BRACKET = re.compile(rb'(?:' + _PLAIN + rb')*+([{}\[\]])', re.DOTALL)
_SPACE = re.compile(rb'[ \t\r\n]*+')

LINES_HINT = ' (a file of JSON lines has to be named .jsonl)'  # where an object follows the first one
KEY = re.compile(rb'(' + _STRING + rb')[ \t\r\n]*+:[ \t\r\n]*+', re.DOTALL)


class MappedJson:
    """What the kinds of indexed JSON files share: the map, the scanner, and the values by their places.

    A subclass calls :meth:`_index` with what finds the bounds of its values. The index of a big file is made once and
    kept (:func:`mmgpt.data.cache.cached`).

    Args:
        path: the JSON file (UTF-8).
        expected: what the file should hold, for messages.

    Raises:
        FileNotFoundError: there is no such file.
    """

    def __init__(self, path: str | Path, expected: str) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'{self.path}: there is no such file ({expected} was expected)')
        self._map = self._open()
        self._start = 3 if self._map[:3] == b'\xef\xbb\xbf' else 0
        self._spans = np.zeros((0, 2), np.int64)
        self._kept: Path | None = None  # the folder of the index
        self.keys: KeyIndex | None = None  # of the values, where they have any

    def __len__(self) -> int:
        return len(self._spans)

    def __getitem__(self, place: int) -> Any:
        """The value at a place of the file's order.

        Raises:
            ValueError: it is not valid JSON; the message names file and line.
        """
        start, end = self._spans[place]
        try:
            return json.loads(self._map[start:end])
        except (ValueError, RecursionError) as error:
            raise ValueError(f'{self.where(place)} is not valid JSON: {error}') from error

    def where(self, place: int) -> str:
        """Names the value at a place, for messages."""
        return f'{self.path}, line {self.line(place)}: record {place}'

    def line(self, place: int) -> int:
        """The line of the file, from 1, on which the value at a place begins."""
        return self._line_of(int(self._spans[place][0]))

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_map': None, '_spans': self._spans if self._kept is None else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._map = self._open()
        if self._kept is not None:
            self._load(self._kept)

    def _index(self, scan: Callable[[], tuple[array, Iterable[str] | None]], *parameters: Any) -> None:
        """Takes or loads the index.

        Args:
            scan: gives where the values begin and end, in turn, and their keys where they have any.
            parameters: what it depends on besides the file.
        """
        if is_small([self.path]):
            self._spans, self.keys = _spans(*scan())
        else:
            self._load(cached('index', [self.path], lambda folder: self._save(folder, scan), parameters))

    def _save(self, folder: Path, scan: Callable[[], tuple[array, Iterable[str] | None]]) -> None:
        spans, keys = _spans(*scan())
        np.save(folder / 'spans.npy', spans)
        if keys is not None:
            keys.save(folder)

    def _load(self, folder: Path) -> None:
        self._kept = folder
        self._spans = mapped_array(folder / 'spans.npy')
        self.keys = KeyIndex.load(folder) if (folder / 'keys.arrow').is_file() else None

    def _open(self) -> mmap.mmap | bytes:
        with self.path.open('rb') as file:
            if self.path.stat().st_size == 0:  # cannot be mapped
                return b''
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _text(self, literal: bytes, position: int) -> str:
        try:
            if b'\\' not in literal:
                return literal[1:-1].decode()
            return json.loads(literal).encode().decode()  # half of a surrogate pair is no text
        except ValueError as error:
            raise self._fault(position, f'a valid string ({error})') from error

    def _skip_value(self, position: int) -> int:
        found = _SCALAR.match(self._map, position) or _RECORD.match(self._map, position)
        if found is not None:
            return found.end()
        depth = 0
        if self._map[position : position + 1] in (b'{', b'['):
            for found in _BRACKET.finditer(self._map, position):
                depth += 1 if found.group(1) in b'{[' else -1
                if depth == 0:
                    return found.end()
        raise self._fault(position, 'a value' if depth == 0 else 'a value that is closed before the file ends')

    def _skip_space(self, position: int) -> int:
        return _SPACE.match(self._map, position).end()

    def _expect(self, position: int, mark: bytes, what: str) -> int:
        if self._map[position : position + 1] != mark:
            raise self._fault(position, what)
        return position + 1

    def _expect_end(self, position: int) -> None:
        rest = self._skip_space(position)
        if rest != len(self._map):
            raise self._fault(rest, f'the end of the file{LINES_HINT if self._map[rest : rest + 1] == b"{" else ""}')

    def _line_of(self, position: int) -> int:
        line, start = 1, 0
        while start < position:  # in steps: a slice of the map is a copy
            line += self._map[start : min(start + (1 << 20), position)].count(b'\n')
            start += 1 << 20
        return line

    def _fault(self, position: int, expected: str) -> ValueError:
        got = bytes(self._map[position : position + 20]).decode(errors='replace') or 'the end of the file'
        return ValueError(f'{self.path}, line {self._line_of(position)}: expected {expected}, got {got!r}')


def _spans(bounds: array, keys: Iterable[str] | None) -> tuple[np.ndarray, KeyIndex | None]:
    return np.array(bounds, np.int64).reshape(-1, 2), None if keys is None else KeyIndex(keys)

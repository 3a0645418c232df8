"""The entries of a JSON file, found in spite of its faults.

The sources of :mod:`mmgpt.data.sources` stop at the first fault of a file, as a run should; a doctor goes on.
"""

from __future__ import annotations

import json
import mmap
import re
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from mmgpt.data.json_scan import LINES_HINT

# A string ends with its line, so that a missing quote costs one line and not the rest of the file.
_STRING = rb'"[^"\\\n]*+(?:\\[^\n][^"\\\n]*+)*+"'
_INSIDE = rb'[^{}\[\]"]++|' + _STRING
_FLAT = rb'[{\[](?:' + _INSIDE + rb'|[{\[](?:' + _INSIDE + rb')*+[}\]])*+[}\]]'
_ENTRY = re.compile(rb'(?:[^{}\[\]",]++|' + _STRING + rb'|' + _FLAT + rb')*+')
_BRACKET = re.compile(_STRING + rb'|[{}\[\]]')
_KEY = re.compile(rb'[ \t\r\n]*+(' + _STRING + rb')[ \t\r\n]*+:[ \t\r\n]*+')
_SPACE = re.compile(rb'[ \t\r\n]*+')
_NEXT_ELEMENT = re.compile(rb'[,}][ \t\r\n]*(?=\{)')
_NEXT_MEMBER = {  # by what the values begin with
    mark: re.compile(rb'[,}\n][ \t\r\n]*(?=' + _STRING + rb'[ \t\r\n]*:[ \t\r\n]*' + re.escape(mark) + rb')')
    for mark in (b'{', b'[')
}
_MOST_UNCLOSED = 100  # entries; each costs a walk to the end of the file
_LINE = re.compile(rb'[^\n]++')
_BOM = b'\xef\xbb\xbf'

Layout = Literal['object', 'list', 'lines']


class Slip(NamedTuple):
    """Where a file is no JSON."""

    position: int
    message: str


class Entries:
    """The members of a JSON object, the elements of a list or the lines of a JSONL file, parsed one at a time.

    Args:
        path: the file.
        member: the entries are those of the outer object's member of this name.
        optional: with ``member``: where the outer object has none, the entries are its own.
        lines: each line is an entry.
        keyed: the entries must be members of an object; a list has none.

    Raises:
        FileNotFoundError: there is no such file.

    Example:
        >>> _ = Path('example.json').write_text('{"data": {"a": [1], "b": oops, "a": [2]}}')
        >>> entries = Entries('example.json', member='data')
        >>> entries.keys, entries.value(2), entries.line(2)
        (['a', 'b', 'a'], [2], 1)
    """

    def __init__(
        self,
        path: str | Path,
        member: str | None = None,
        optional: bool = False,
        lines: bool = False,
        keyed: bool = False,
    ) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'{self.path}: there is no such file')
        self._data = self._map()
        self.slips: list[Slip] = []
        self.layout: Layout = 'lines'
        self.keys: list[str] | None = None
        self.closed = True
        self.nested = False
        self.start = self.end = len(_BOM) if self._data[:3] == _BOM else 0  # of what holds the entries
        self._newlines: np.ndarray | None = None
        spans = self._split_lines() if lines else self._split(self.start, member, optional)
        if keyed and self.layout != 'object':
            if not self.slips:
                self._slip(self.start - 1, 'an object of ids and their values')
            self.layout, spans = 'object', []
        self._spans = np.array(spans, np.int64).reshape(-1, 2)
        if self.layout == 'object':
            self._read_keys()

    def __len__(self) -> int:
        return len(self._spans)

    def raw(self, number: int) -> bytes:
        """The bytes of an entry, with its key."""
        start, end = self._spans[number]
        return bytes(self._data[start:end])

    def value(self, number: int) -> Any:
        """The value of an entry.

        Raises:
            ValueError: it is no valid JSON.
        """
        raw = self.raw(number)
        if self.layout == 'object':
            found = _KEY.match(raw)
            if found is None:
                raise ValueError(f'expected a key and a colon, got {raw[:30].decode(errors="replace")!r}')
            raw = raw[found.end() :]
        try:
            return json.loads(raw.decode())  # explicitly: json.loads would guess an encoding from bytes
        except RecursionError as error:
            raise ValueError('it is nested too deeply') from error

    def line(self, number: int) -> int:
        """The line of the file, from 1, on which an entry begins."""
        return self.line_at(int(self._spans[number][0]))

    def line_at(self, position: int) -> int:
        """The line of the file, from 1, of a position."""
        if self._newlines is None:
            self._newlines = np.flatnonzero(np.frombuffer(self._data, np.uint8) == 10)
        return int(np.searchsorted(self._newlines, position)) + 1

    @property
    def head(self) -> bytes:
        """What stands before the first entry."""
        return bytes(self._data[: self.start])

    @property
    def tail(self) -> bytes:
        """What stands after the last entry; what it lacks to close the file is added."""
        if self.closed:
            return bytes(self._data[self.end :])
        return (b'}' if self.layout == 'object' else b']') + b'}' * self.nested + b'\n'

    def where(self, number: int) -> str:
        """Names an entry, for messages."""
        return f'{self.path}, line {self.line(number)}'

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_data': None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._data = self._map()

    def _map(self) -> mmap.mmap | bytes:
        with self.path.open('rb') as file:
            if self.path.stat().st_size == 0:  # cannot be mapped
                return b''
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)

    def _split_lines(self) -> list[int]:
        self.end = len(self._data)
        found = (m.span() for m in _LINE.finditer(self._data, self.start) if m.group().strip())
        return [position for span in found for position in span]

    def _split(self, start: int, member: str | None, optional: bool) -> list[int]:
        start = _SPACE.match(self._data, start).end()
        opening = bytes(self._data[start : start + 1])
        if opening not in (b'{', b'['):
            self._slip(start, 'a JSON object or list')
            return []
        self.layout = 'object' if opening == b'{' else 'list'
        self.start = start + 1
        if self.layout == 'object' and member is not None:
            inner = self._find(member, start + 1)
            if inner is not None:
                self.layout = 'object' if bytes(self._data[inner : inner + 1]) == b'{' else 'list'
                self.start = inner + 1
                self.nested = True
                spans = self._entries(self.start)
                self._check_once(member)
                return spans
            if not optional:
                self._slip(start, f'the member "{member}" with an object or a list')
                self.end = self.start
                return []
        return self._entries(self.start)

    def _find(self, member: str, position: int) -> int | None:
        """Where the object or list of a member begins."""
        while True:
            key = _KEY.match(self._data, position)
            if key is None:
                return None
            if key.group(1) == json.dumps(member).encode() and bytes(self._data[key.end() : key.end() + 1]) in b'{[':
                return key.end() if key.end() < len(self._data) else None
            position, closed = self._entry_end(key.end())
            if not closed or bytes(self._data[position : position + 1]) != b',':
                return None
            position += 1

    def _check_once(self, member: str) -> None:
        """A member that is there again: a run reads the last one, and the doctor has read the first."""
        if self.closed and self._find(member, self.end + 2) is not None:
            self._slip(self.end + 1, f'no other member "{member}", since only one of them is read')

    def _entries(self, position: int) -> list[int]:
        """Where the entries of the container begin and end, in turn."""
        data, spans, unclosed = self._data, [], 0
        closing = b'}' if self.layout == 'object' else b']'
        while True:
            begin = _SPACE.match(data, position).end()
            end, closed = self._entry_end(begin)
            last = end
            while last > begin and data[last - 1] in b' \t\r\n':
                last -= 1
            if not closed:
                unclosed += 1
                resume = self._next_entry(begin) if unclosed < _MOST_UNCLOSED else None
                if resume is None:
                    self.end = len(data)
                    self.closed = False
                    return [*spans, begin, len(data)]
                spans += (begin, resume[0])
                position = resume[1]
                continue
            mark = bytes(data[end : end + 1])
            if last > begin:
                spans += (begin, last)
            elif mark == b',' or (mark == closing and spans):
                self._slip(begin, 'an entry between commas')
            if mark == b',':
                position = end + 1
                continue
            self.end = end
            if mark != closing:
                self.closed = False
                self._slip(end, f'a comma or the closing {closing.decode()}')
            else:
                self._check_rest(end + 1)
            return spans

    def _check_rest(self, position: int) -> None:
        """What follows the container: nothing, or the other members of the object that it is a member of."""
        if self.nested:
            end, closed = self._entry_end(position)
            while closed and self._data[end : end + 1] == b',':
                end, closed = self._entry_end(end + 1)
            if self._data[end : end + 1] != b'}':
                self.closed = False
                self._slip(end, 'the closing }')
                return
            position = end + 1
        rest = _SPACE.match(self._data, position).end()
        if rest != len(self._data):
            self.closed = False
            self._slip(rest, f'the end of the file{LINES_HINT if self._data[rest : rest + 1] == b"{" else ""}')

    def _next_entry(self, begin: int) -> tuple[int, int] | None:
        """After an entry that is not closed: where it may end at the latest, and where the next one begins."""
        if self.layout == 'list':
            pattern = _NEXT_ELEMENT
        else:
            key = _KEY.match(self._data, begin)
            pattern = _NEXT_MEMBER.get(bytes(self._data[key.end() : key.end() + 1]) if key else b'{')
        found = pattern.search(self._data, begin + 1) if pattern else None
        if found is None:
            return None
        return found.start() + (self._data[found.start()] == ord('}')), found.end()

    def _entry_end(self, position: int) -> tuple[int, bool]:
        """Where the comma or bracket after an entry stands, and whether all of its own brackets were closed."""
        data = self._data
        while True:
            position = _ENTRY.match(data, position).end()
            mark = bytes(data[position : position + 1])
            if mark == b'"':  # a string that does not end
                position += 1
            elif mark in (b'{', b'['):
                depth = 0
                for found in _BRACKET.finditer(data, position):
                    mark = bytes(data[found.start() : found.start() + 1])
                    depth += (mark in b'{[') - (mark in b'}]')
                    if depth == 0:
                        position = found.end()
                        break
                else:
                    return len(data), False
            else:
                return position, True

    def _read_keys(self) -> None:
        """The keys; '' for an entry that has none, which :meth:`value` refuses."""
        self.keys = []
        for number in range(len(self)):
            found = _KEY.match(self.raw(number))
            try:
                self.keys.append(json.loads(found.group(1).decode()).encode().decode() if found else '')
            except ValueError:  # no text: a wrong escape, half of a surrogate pair
                self.keys.append('')

    def _slip(self, position: int, expected: str) -> None:
        got = bytes(self._data[position : position + 30]).decode(errors='replace') or 'the end of the file'
        self.slips.append(Slip(position, f'expected {expected}, got {got!r}'))

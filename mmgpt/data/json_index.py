"""Random access to the members of a big JSON object without building it."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import NamedTuple

from mmgpt.data.json_scan import KEY, MappedJson


class _Members(NamedTuple):
    keys: list[str]
    bounds: array  # where the values begin and end, in turn
    end: int  # of the object
    inner: _Members | None


class JsonObject(MappedJson):
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
        >>> Path('example.json').write_text('{"meta": {}, "data": {"a": [1], "b": [2]}}')
        42
        >>> data = JsonObject('example.json', member='data')
        >>> data.keys.find('b'), data[1]
        (1, [2])
    """

    def __init__(self, path: str | Path, member: str | None = None, optional: bool = False) -> None:
        super().__init__(path, 'a JSON object')
        self._index(lambda: self._scan(member, optional), type(self).__name__, member, optional)

    def where(self, place: int) -> str:
        """Names the value at a place, for messages."""
        return f'{self.path}, line {self.line(place)}: {self.keys[place]!r}'

    def _scan(self, member: str | None, optional: bool) -> tuple[array, list[str]]:
        found = self._members(self._start, member)
        self._expect_end(found.end)
        if found.inner is None and member is not None and not optional:
            raise ValueError(
                f'{self.path}: expected an object with the member "{member}" that is an object itself, '
                f'got one with the members {found.keys[:5]}'
            )
        found = found.inner or found
        return found.bounds, found.keys

    def _members(self, start: int, member: str | None = None) -> _Members:
        """The object that begins at ``start``, and the one that is its ``member``, in one pass."""
        buffer = self._map
        position = self._expect(self._skip_space(start), b'{', 'an object {…}')
        keys, bounds, inner = [], array('q'), None
        position = self._skip_space(position)
        if buffer[position : position + 1] == b'}':
            return _Members(keys, bounds, position + 1, inner)
        while True:
            key = KEY.match(buffer, position)
            if key is None:
                raise self._fault(position, 'a key and a colon')
            keys.append(self._text(key.group(1), position))
            if keys[-1] == member and buffer[key.end() : key.end() + 1] == b'{':
                inner = self._members(key.end())
                end = inner.end
            else:
                end = self._skip_value(key.end())
            bounds.extend((key.end(), end))
            position = self._skip_space(end)
            mark = buffer[position : position + 1]
            if mark == b'}':
                return _Members(keys, bounds, position + 1, inner)
            position = self._skip_space(self._expect(position, b',', 'a comma or the closing }'))

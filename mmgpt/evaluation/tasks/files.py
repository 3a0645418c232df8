"""Published files: found, read, checked; errors name the file, the record and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def need(path: str | Path, key: str, where: str) -> Path:
    """The path, if it is there.

    Args:
        path: of a file or folder.
        key: the config key that names it.
        where: a few words on where it comes from.

    Raises:
        FileNotFoundError: it is not there.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f'{path} is not there: get it ({where}) and put it there, or say where it is: evaluation.task.{key}'
        )
    return path


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it is none.
    """
    try:
        return json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is no JSON file: {error}') from None


def json_lines(path: Path, keys: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The records of a file with one JSON object a line, which have all ``keys``.

    Raises:
        ValueError: a line is none, or lacks a key.
    """
    with path.open(encoding='utf-8') as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f'{path}, line {number} is no JSON: {error}') from None
            _check(record, keys, f'{path}, line {number}')
            yield record


def records_of(data: Any, path: Path, name: str, keys: Sequence[str]) -> list[Mapping[str, Any]]:
    """The list of records that ``data`` holds under ``name``, all with ``keys``.

    Raises:
        ValueError: there is no such list, or a record lacks a key.
    """
    if not isinstance(data, Mapping) or not isinstance(data.get(name), list):
        found = f'an object with {", ".join(map(repr, data))}' if isinstance(data, Mapping) else type(data).__name__
        raise ValueError(f'{path} should be an object with the list {name!r}, and is {found}')
    return list_of(data[name], f'{path}, {name}', keys)


def list_of(data: Any, where: str | Path, keys: Sequence[str]) -> list[Mapping[str, Any]]:
    """``data``, if it is a list of records that all have ``keys``.

    Raises:
        ValueError: it is none, or a record lacks a key.
    """
    if not isinstance(data, list):
        raise ValueError(f'{where} should be a list of records, and is {type(data).__name__}')
    for number, record in enumerate(data):
        _check(record, keys, f'{where}[{number}]')
    return data


def _check(record: Any, keys: Sequence[str], place: str) -> None:
    if not isinstance(record, Mapping):
        raise ValueError(f'{place} should be an object, and is {record!r:.80}')
    missing = [key for key in keys if key not in record]
    if missing:
        raise ValueError(f'{place} lacks {", ".join(map(repr, missing))}; it has {", ".join(map(repr, record))}')

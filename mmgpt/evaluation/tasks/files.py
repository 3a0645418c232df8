"""Published files: found, read, checked; errors name the file, the record and what to do."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mmgpt.data.json_lines import checked


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
        return json.loads(path.read_text(encoding='utf-8-sig'))
    except ValueError as error:
        raise ValueError(f'{path} is no JSON file: {error}') from None


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
        checked(record, f'{where}[{number}]', keys)
    return data

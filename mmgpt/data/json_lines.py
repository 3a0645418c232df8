"""Files with one JSON object a line."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any


def json_lines(path: Path, keys: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """The objects of a file, one by one, which have all ``keys``; empty lines are left out.

    Raises:
        ValueError: a line is none, or lacks a key; the message names it.
    """
    with path.open(encoding='utf-8-sig') as file:
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise ValueError(f'{path}, line {number}: is no JSON: {error}') from None
            yield checked(record, f'{path}, line {number}', keys)


def checked(record: Any, where: str, keys: Sequence[str] = ()) -> Any:
    """The record, if it is an object and has all ``keys``.

    Raises:
        ValueError: it is none, or lacks one; the message begins with ``where``.
    """
    if not isinstance(record, Mapping):
        raise ValueError(f'{where}: expected an object, got {type(record).__name__} {record!r:.80}')
    if missing := [key for key in keys if key not in record]:
        raise ValueError(f'{where} lacks {", ".join(map(repr, missing))}; it has {", ".join(map(repr, record))}')
    return record

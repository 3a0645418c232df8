"""The items to make instructions for: lines of JSON with an id, the ids of their pictures and an annotation."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple


class Item(NamedTuple):
    """What instructions are made for.

    Args:
        id: unique among the items.
        image_ids: of its pictures, in their order; none for text alone.
        annotation: what people wrote about it: a text, or what a task reads, such as boxes or timestamps.
    """

    id: str
    image_ids: tuple[str, ...]
    annotation: Any


class Pair(NamedTuple):
    """An instruction and its answer; ``extra`` is what else the reply said about it, such as a reason."""

    instruction: str
    answer: str
    extra: dict[str, str] = {}


class Fault(NamedTuple):
    """A part of a reply that is no pair, and why."""

    text: str
    reason: str


class Parsed(NamedTuple):
    """What a reply holds.

    Args:
        pairs: in their order.
        faults: what should have been a pair.
        remarks: what stands around the pairs, such as 'Here are three questions:'.
    """

    pairs: tuple[Pair, ...] = ()
    faults: tuple[Fault, ...] = ()
    remarks: tuple[str, ...] = ()


def read_items(path: str | Path, limit: int | None = None) -> Iterator[Item]:
    """The items of a file, one after the other.

    Args:
        path: lines ``{"id": str, "image_ids": [str, ...], "annotation": ...}``; empty lines do not count.
        limit: the first so many only.

    Raises:
        OSError: there is no such file.
        ValueError: a line is none of an item; the message names file and line.
    """
    path, number = Path(path), 0
    if not path.is_file():
        raise FileNotFoundError(
            f'there is no file {path}; expected lines of {{"id", "image_ids", "annotation"}}, as '
            'tools/dataset_converters/mimicit.py writes them (XX_annotations.jsonl)'
        )
    with path.open('rb') as lines:
        for place, line in enumerate(lines, 1):
            if limit is not None and number >= limit:
                return
            if line.strip():
                yield _item(line, f'{path}:{place}')
                number += 1


def _item(line: bytes, where: str) -> Item:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f'{where}: expected a line of JSON, got {line[:60]!r} ({error})') from None
    if not isinstance(record, dict):
        raise ValueError(f'{where}: expected {{"id", "image_ids", "annotation"}}, got {line[:60]!r}')
    id, images, annotation = record.get('id'), record.get('image_ids'), record.get('annotation')
    if isinstance(id, int) and not isinstance(id, bool):
        id = str(id)
    if not isinstance(id, str) or not id:
        raise ValueError(f'{where}: "id" must be a text, got {id!r}')
    if images is None:
        images = []
    if not isinstance(images, list) or not all(isinstance(image, str) and image for image in images):
        raise ValueError(f'{where}: {id!r}: "image_ids" must be a list of texts, got {str(images)[:60]}')
    if annotation is None or annotation in ('', [], {}):
        raise ValueError(f'{where}: {id!r}: "annotation" is missing or empty: there is nothing to write about')
    return Item(id, tuple(images), annotation)

"""What the converters of published sets share."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from mmgpt.data.converters.instructions import Group, write_instructions
from mmgpt.data.converters.pictures import PART_BYTES, Encoder, PictureParts, Pictures, Report, Unit, Written
from mmgpt.data.image_stores import ImageStore


class Conversion(ABC):
    """From the files of a published data set to those of MIMIC-IT.

    A subclass names the pictures to read and the questions about those that were written.

    Args:
        encoder: how pictures are written; default as published: PNG of 224 pixels.
    """

    name: ClassVar[str]  # of the set: the prefix of its ids
    author: ClassVar[str]  # of the texts
    width: ClassVar[int] = 5  # digits of an instruction's number

    def __init__(self, encoder: Encoder | None = None) -> None:
        self.encoder = encoder or Encoder()

    @abstractmethod
    def units(self) -> Iterator[Unit]:
        """The pictures, in a fixed order; nothing of them is read yet.

        Raises:
            OSError, ValueError: an annotation file is missing or another than it should be.
        """

    @abstractmethod
    def groups(self, written: Mapping[str, Written], report: Report) -> dict[str, Iterable[Group]]:
        """The questions of each file ``XX_instructions.json``, by ``XX``.

        Args:
            written: the pictures that there are, by the names of their units; what shows others is left out.
            report: told what cannot be used.
        """

    def run(self, out: str | Path, jobs: int = 1, part_bytes: int = PART_BYTES) -> Report:
        """Writes ``XX.parquet``, ``XX_instructions.json`` and ``XX_annotations.jsonl`` into a folder.

        A run that was interrupted goes on with the pictures that it had written.

        Args:
            out: the folder.
            jobs: pictures or videos that are read at the same time.
            part_bytes: of a Parquet file, about; more become several files.

        Raises:
            OSError, ValueError: see :meth:`units` and :class:`~mmgpt.data.converters.pictures.PictureParts`.
        """
        out, report = Path(out), Report()
        settings = {'encoder': list(self.encoder), **self.settings()}
        parts = PictureParts(out / f'{self.name}.parquet', settings, part_bytes)
        parts.write(self.units(), report, jobs)
        for name, groups in self.groups(parts.written, report).items():
            path = out / f'{name}_instructions.json'
            report.instructions[path.name] = write_instructions(path, groups, name, self.width, self.author)
        parts.finish()
        return report

    def settings(self) -> dict[str, Any]:
        """What the pictures depend on besides the encoder, as plain data."""
        return {}

    def image_id(self, name: str) -> str:
        """The id of the picture of a file name."""
        return image_id(self.name, name)

    def still(self, images: ImageStore, key: str, id: str) -> Unit:
        """The unit of one picture of a store; its name is the key."""
        return Unit(key, lambda: Pictures([(id, self.encoder.still(read_key(images, key), f'{images.path}: {key}'))]))


def image_id(prefix: str, name: str) -> str:
    """MIMIC-IT's id of a picture: the file's base name up to its first dot, after ``XX_IMG_``.

    Example:
        >>> image_id('LA', 'train2017/000000000009.jpg')
        'LA_IMG_000000000009'
    """
    return f'{prefix}_IMG_{stem(name)}'


def read_key(images: ImageStore, key: str) -> bytes:
    """The encoded picture of a key.

    Raises:
        FileNotFoundError: the store has none.
    """
    if key not in images:
        raise FileNotFoundError(f'{images.path} has no {key!r}')
    return images.read(key)


def read_json(path: str | Path, kind: type, what: str) -> Any:
    """The value of a JSON file.

    Args:
        path: the file.
        kind: the type that the value should have.
        what: the value should be, for the message.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it holds something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file; it should hold {what}')
    try:
        value = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path}: is no JSON: {error}; it should hold {what}') from error
    if not isinstance(value, kind):
        raise ValueError(f'{path}: expected {what}, got {type(value).__name__}')
    return value


def member(record: Any, name: str, kind: Any, where: str | Path) -> Any:
    """A member of a record.

    Raises:
        ValueError: the record has none of that type.
    """
    value = record.get(name) if isinstance(record, dict) else None
    if not isinstance(value, kind):
        raise ValueError(f'{where}: "{name}" should be {kind}, got {str(record)[:80]}')
    return value


def sentence(text: str) -> str:
    """A text that begins with a capital and ends with a full stop.

    Example:
        >>> sentence(' the car is gone ')
        'The car is gone.'
    """
    text = ' '.join(text.split())
    return text[:1].upper() + text[1:] + ('' if text.endswith(('.', '!', '?')) else '.') if text else ''


def stem(name: str) -> str:
    """The base name of a file up to its first dot.

    Example:
        >>> stem('train2017/000000000009.jpg')
        '000000000009'
    """
    return name.rpartition('/')[2].partition('.')[0]

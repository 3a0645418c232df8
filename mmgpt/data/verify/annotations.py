"""Annotation files as the doctor reads them: each record by itself, whatever the others are like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.verify.entries import Entries
from mmgpt.data.verify.findings import Fault, Finding
from mmgpt.data.verify.tables import TableEntries
from mmgpt.structures import Sample


@dataclass
class Examined:
    """What an entry is read as.

    Args:
        id: of the sample; None where it has none.
        samples: what it may be read as: several where the source chooses at random, none where it cannot be read.
        shown: the keys of the images that it names.
        faults: of its own form.
        context: ids that are looked for when those of the whole set are known.
    """

    id: str | None
    samples: list[Sample] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    context: Sequence[str] = ()


class Annotations(ABC):
    """One annotation file of a set.

    Args:
        set: the name of the set.
        entries: of the file.
        images: the set's store, None for text only.
    """

    keyed = False  # the ids are the keys of the file, which must not repeat
    language = ''  # of records that do not say it themselves
    max_seq_len: int | None = None  # limit of a row's text in tokens
    unopened = False  # the store of its images cannot be opened, so nothing is known of them

    def __init__(self, set: str, entries: Entries | TableEntries, images: ImageStore | None = None) -> None:
        self.set = set
        self.entries = entries
        self.images = images

    @property
    def file(self) -> str:
        """The file's path."""
        return str(self.entries.path)

    @property
    def samples(self) -> int:
        """How many samples the set has of this file."""
        return len(self.entries)

    @abstractmethod
    def examine(self, number: int) -> Examined:
        """Reads an entry and checks its form."""

    def given_id(self, number: int, id: str | None) -> str | None:
        """The id of an entry, if its file gives it one; None for one that was made of the file's name."""
        return id

    def sample_at(self, number: int, id: str | None) -> tuple[Annotations, int] | None:
        """The file and entry that make the entry of this number and id a sample; None for one that is context only."""
        return self, number

    def finding(self, number: int, id: str | None, fault: Fault) -> Finding:
        """A fault of an entry with the place where it stands."""
        place, line = ((self.file, number),), self.entries.line(number)
        return Finding(fault.kind, fault.severity, self.file, line, id, fault.message, fault.fix, place)


def wrong_type(message: str) -> Fault:
    """A fault of a record's form."""
    return Fault('wrong_type', message, 'write it as its format says, or take the entry out')


def parse(entries: Entries | TableEntries, number: int) -> Any:
    """The value of an entry.

    Raises:
        ValueError: it has none; the message is for people.
    """
    try:
        return entries.value(number)
    except UnicodeDecodeError as error:
        raise ValueError(f'the text is no UTF-8: {error}') from error
    except ValueError as error:
        raise ValueError(f'the entry is not valid JSON: {error}') from error


def sound(text: str) -> str:
    """A text that can be written: half of a surrogate pair is shown as its escape."""
    return text.encode(errors='backslashreplace').decode()

"""Annotation files as the doctor reads them: each record by itself, whatever the others are like."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.sources import Llava, Messages, Record, Records
from mmgpt.data.verify.entries import Entries
from mmgpt.data.verify.findings import Fault
from mmgpt.data.verify.tables import CellStore, TableEntries
from mmgpt.structures import Medium, Sample, Turn


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

    def sample_at(self, number: int, id: str | None) -> tuple[Annotations, int] | None:
        """The file and entry that make the entry of this number and id a sample; None for one that is context only."""
        return self, number


class RecordsFile(Annotations):
    """A file of a :class:`~mmgpt.data.sources.Records` source, read by the source itself, a record at a time.

    Args:
        source: reads records.
        entries: of one of its files.
        images: the set's store, None for text only.
        first: the number of the file's first record among those of all files.
    """

    def __init__(
        self, source: Records, entries: Entries | TableEntries, images: ImageStore | None = None, first: int = 0
    ) -> None:
        super().__init__(source.name, entries, images)
        self.source = source
        self.first = first

    def examine(self, number: int) -> Examined:
        """See :meth:`Annotations.examine`."""
        key, place = '' if self.entries.keys is None else self.entries.keys[number], self.first + number
        id = key or f'{self.set}_{place}'
        try:
            fields, name = _parse(self.entries, number), self.entries.path.name
            record = Record(fields, partial(str, 'the record'), key, name, place)
            if self.source.id_field is not None and self.source.id_field in record:
                id = record.word(self.source.id_field)
            readings, context = list(self._readings(record)), self.source.context(record)
        except ValueError as error:
            message = str(error).removeprefix('the record: ')
            return Examined(id, faults=[self._miscounted(number, message) or wrong_type(message)])
        by_answers = {tuple(turn.text for turn in turns if turn.role == 'assistant'): turns for turns in readings}
        samples = [Sample(id, turns, source=self.set) for turns in by_answers.values()]
        shown = dict.fromkeys(key for turns in readings for key in _keys_of(turns))
        return Examined(id, samples, list(shown), list(self._marks(number, samples)), context)

    def _readings(self, record: Record) -> Iterator[tuple[Turn, ...]]:
        """What the source makes of a record, with each of the choices that it has at random (at most 16)."""
        choices = _EachInTurn()
        while choices.turn < min(choices.most, 16):
            yield self.source.read(record, choices)
            choices.turn += 1

    def _miscounted(self, number: int, message: str) -> Fault | None:
        """Whether messages could not be read because they ask for more pictures, or fewer, than there are."""
        if not isinstance(self.source, Messages):
            return None
        try:
            record = self.entries.value(number)
            pictures = record.get(self.source.images_field)
            asked = sum(_asked(message['content']) for message in record[self.source.messages_field])
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        count = len(pictures) if isinstance(pictures, list) else int(pictures is not None)
        if asked == count:
            return None
        return Fault('image_count', message, 'ask for each of the pictures once, and for no other')

    def _marks(self, number: int, samples: Sequence[Sample]) -> Iterator[Fault]:
        """Marks that the file's own text has, and that its format takes out."""
        if self.images is None or not samples:
            return
        marks = self.entries.raw(number).count(b'<image>')
        media = sum(len(turn.media) for turn in samples[0].turns)
        if marks != media and (marks or isinstance(self.source, Llava)):
            yield Fault(
                'image_count',
                f'the record has {marks} <image> marks for {media} images',
                'write one mark for each image, in the question that it belongs to',
            )


class MimicItFile(Annotations):
    """``XX_instructions.json``.

    Args:
        set: the name of the set.
        entries: of the file.
        images: the set's store.
        train: the set's ``XX_train.json``; None = every entry is a sample.
        description: the longest task description that may stand in front of a sample.
    """

    keyed = True

    def __init__(
        self,
        set: str,
        entries: Entries,
        images: ImageStore | None = None,
        train: Entries | None = None,
        description: str = '',
    ) -> None:
        super().__init__(set, entries, images)
        self.system = (Turn('system', description),) if description else ()
        self.ids = KeyIndex(entries.keys or [])
        self.train = None if train is None else TrainFile(set, train, self)

    @property
    def samples(self) -> int:
        """How many samples the set has of this file."""
        return len(self.entries) if self.train is None else len(self.train.entries)

    def sample_at(self, number: int, id: str | None) -> tuple[Annotations, int] | None:
        """See :meth:`Annotations.sample_at`: the training file says what is a sample."""
        if self.train is None:
            return self, number
        place = None if id is None else self.train.ids.find(id)
        return None if place is None else (self.train, place)

    def examine(self, number: int) -> Examined:
        """See :meth:`Annotations.examine`."""
        id = (self.entries.keys or {number: None})[number]
        try:
            record = _parse(self.entries, number)
        except ValueError as error:
            return Examined(id or None, faults=[wrong_type(str(error))])
        if not isinstance(record, dict):
            return Examined(id, faults=[wrong_type(f'the record should be an object, got {_shown(record)}')])
        faults = []
        for name in ('instruction', 'answer'):
            if not isinstance(record.get(name), str):
                got = _shown(record[name]) if name in record else 'no such field'
                faults.append(wrong_type(f'"{name}" should be a string, got {got}'))
        shown, image_faults = _strings(record.get('image_ids'), '"image_ids"')
        context, context_faults = _strings(record.get('rel_ins_ids'), '"rel_ins_ids"')
        faults += image_faults + context_faults + list(check_context(id, context, self.ids, self.file))
        if self.images is None:
            shown = []
        samples = []
        if isinstance(record.get('instruction'), str) and isinstance(record.get('answer'), str):
            media = (Medium(tuple(shown)),) if shown else ()
            turns = (*self.system, Turn('user', record['instruction'], media), Turn('assistant', record['answer']))
            samples.append(Sample(id or '', turns, source=self.set))
        return Examined(id, samples, shown, faults)


class TrainFile(Annotations):
    """``XX_train.json``: the ids to train on, each with the ids of its context.

    Args:
        set: the name of the set.
        entries: of the file.
        instructions: the file that the ids are of.
    """

    keyed = True

    def __init__(self, set: str, entries: Entries, instructions: MimicItFile) -> None:
        super().__init__(set, entries)
        self.instructions = instructions
        self.ids = KeyIndex(entries.keys or [])

    @property
    def samples(self) -> int:
        """None: they are counted with the instructions."""
        return 0

    def sample_at(self, number: int, id: str | None) -> tuple[Annotations, int] | None:
        """None: see :meth:`MimicItFile.sample_at`."""
        return None

    def examine(self, number: int) -> Examined:
        """See :meth:`Annotations.examine`."""
        id = (self.entries.keys or {number: None})[number]
        faults = []
        if id is None or self.instructions.ids.find(id) is None:
            faults.append(
                Fault(
                    'dangling_context',
                    f'there is no instruction {id!r} in {self.instructions.file}',
                    'add the instruction, or take the id out',
                )
            )
        try:
            context, more = _strings(_parse(self.entries, number), 'the list of context ids')
        except ValueError as error:
            return Examined(id, faults=[*faults, wrong_type(str(error))])
        faults += more + list(check_context(id, context, self.instructions.ids, self.instructions.file))
        return Examined(id, faults=faults)


def check_context(id: str | None, context: Sequence[str], ids: KeyIndex, file: str) -> Iterator[Fault]:
    """Context ids that are the sample's own or point nowhere."""
    for other in dict.fromkeys(context):
        if other == id:
            message = 'the sample is in its own context, which would show it its answer'
            yield Fault('self_context', message, 'take its own id out of the list')
        elif ids.find(other) is None:
            message = f'there is no instruction {other!r} in {file}'
            yield Fault('dangling_context', message, 'add the instruction, or take the id out of the list')


def wrong_type(message: str) -> Fault:
    """A fault of a record's form."""
    return Fault('wrong_type', message, 'write it as its format says, or take the entry out')


class _EachInTurn(np.random.Generator):
    """Gives each of a draw's outcomes in turn, instead of a random one."""

    def __init__(self) -> None:
        super().__init__(np.random.PCG64(0))
        self.turn = 0
        self.most = 1  # outcomes of a draw

    def integers(self, low: int, high: int | None = None, *args: Any, **kwargs: Any) -> int:
        low, high = (0, low) if high is None else (low, high)
        self.most = max(self.most, int(high - low))
        return low + self.turn % (high - low)


def _parse(entries: Entries | TableEntries, number: int) -> Any:
    try:
        return entries.value(number)
    except UnicodeDecodeError as error:
        raise ValueError(f'the text is no UTF-8: {error}') from error
    except ValueError as error:
        raise ValueError(f'the entry is not valid JSON: {error}') from error


def _asked(content: Any) -> int:
    """How many pictures of the record's list a message asks for."""
    if isinstance(content, str):
        return content.count('<image>')
    return sum(part['type'] == 'image' and not part.get('image') for part in content)


def _keys_of(turns: Sequence[Turn]) -> Iterator[str]:
    """The keys of all frames; a frame may be made of several pictures."""
    for turn in turns:
        for medium in turn.media:
            for frame in medium.frames:
                if isinstance(frame, tuple) and isinstance(frame[0], int):
                    yield CellStore.name(*frame)
                else:
                    yield from frame if isinstance(frame, tuple) else (frame,)


def _strings(value: Any, what: str) -> tuple[list[str], list[Fault]]:
    """The strings of a list, and what is wrong with it."""
    if value is None:
        return [], []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        kept = [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
        return kept, [wrong_type(f'{what} should be a list of strings, got {_shown(value)}')]
    return value, []


def _shown(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:79] + '…'

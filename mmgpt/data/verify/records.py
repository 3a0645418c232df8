"""Files of records, which their source itself reads one at a time."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.sources import Llava, Messages, Record, Records
from mmgpt.data.verify.annotations import Annotations, Examined, parse, sound, wrong_type
from mmgpt.data.verify.entries import Entries
from mmgpt.data.verify.findings import Fault
from mmgpt.data.verify.tables import CellStore, TableEntries
from mmgpt.structures import Sample, Turn


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

    @property
    def samples(self) -> int:
        """See :attr:`Annotations.samples`: those that the source does not leave out."""
        total = len(self.entries)
        return total if self.source.keep is None else sum(map(self._counts, range(total)))

    def given_id(self, number: int, id: str | None) -> str | None:
        """See :meth:`Annotations.given_id`."""
        return None if id == f'{self.set}_{self.first + number}' else id

    def sample_at(self, number: int, id: str | None) -> tuple[Annotations, int] | None:
        """See :meth:`Annotations.sample_at`."""
        return (self, number) if self._counts(number) else None

    def _record(self, number: int) -> Record:
        key = '' if self.entries.keys is None else self.entries.keys[number]
        fields, name = parse(self.entries, number), self.entries.path.name
        return Record(fields, partial(str, 'the record'), key, name, self.first + number)

    def _counts(self, number: int) -> bool:
        """Whether the source does not leave the record out, as those of another split; faulty ones count."""
        if self.source.keep is None:
            return True
        try:
            return self.source.keep(self._record(number))
        except ValueError:
            return True

    def examine(self, number: int) -> Examined:
        """See :meth:`Annotations.examine`."""
        id = ('' if self.entries.keys is None else self.entries.keys[number]) or f'{self.set}_{self.first + number}'
        if not self._counts(number):
            return Examined(id)
        try:
            record = self._record(number)
            if self.source.id_field is not None and record.get(self.source.id_field) is not None:
                id = sound(record.word(self.source.id_field))
            record.text('language', '')
            readings, context = list(self._readings(record)), [*map(sound, self.source.context(record))]
        except ValueError as error:
            message = str(error).removeprefix('the record: ')
            return Examined(id, faults=[self._miscounted(number, message) or wrong_type(message)])
        by_answers = {tuple(turn.text for turn in turns if turn.role == 'assistant'): turns for turns in readings}
        samples = [Sample(id, turns, source=self.set) for turns in by_answers.values()]
        shown = dict.fromkeys(key for turns in readings for key in _keys_of(turns))
        return Examined(id, samples, list(map(sound, shown)), list(self._marks(number, samples)), context)

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
            messages, images = self.source.fields_of(record)
            pictures = record.get(images)
            asked = sum(_asked(content) for said in record[messages] for content in said.values())
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
        if not message.startswith(f'"{images}"'):
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
        if marks != media:  # they may be written as escapes
            value = self.entries.value(number)
            marks = json.dumps(value, ensure_ascii=False, default=str).count('<image>')
        if marks != media and (marks or isinstance(self.source, Llava)):
            yield Fault(
                'image_count',
                f'the record has {marks} <image> marks for {media} images',
                'write one mark for each image, in the question that it belongs to',
            )


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


def _asked(content: Any) -> int:
    """How many pictures of the record's list a message asks for."""
    if isinstance(content, list):
        return sum(part['type'] == 'image' and not part.get('image') for part in content)
    return content.count('<image>') if isinstance(content, str) else 0


def _keys_of(turns: Sequence[Turn]) -> Iterator[str]:
    """The keys of all frames; a frame may be made of several pictures."""
    for turn in turns:
        for medium in turn.media:
            for frame in medium.frames:
                if isinstance(frame, tuple) and isinstance(frame[0], int):
                    yield CellStore.name(*frame)
                else:
                    yield from frame if isinstance(frame, tuple) else (frame,)

"""MIMIC-IT's instructions and training files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.sources.mimicit import media_of
from mmgpt.data.sources.records import shorten
from mmgpt.data.verify.annotations import Annotations, Examined, parse, sound, wrong_type
from mmgpt.data.verify.entries import Entries
from mmgpt.data.verify.findings import Fault
from mmgpt.structures import Sample, Turn


class MimicItFile(Annotations):
    """``XX_instructions.json``.

    Args:
        set: the name of the set.
        entries: of the file.
        images: the set's store.
        train: the set's ``XX_train.json``; None = every entry is a sample.
        description: the longest task description that may stand in front of a sample.
        media, max_frames: as of :class:`~mmgpt.data.sources.MimicIt`.
    """

    keyed = True

    def __init__(
        self,
        set: str,
        entries: Entries,
        images: ImageStore | None = None,
        train: Entries | None = None,
        description: str = '',
        media: Literal['one', 'each'] = 'one',
        max_frames: int | None = None,
    ) -> None:
        super().__init__(set, entries, images)
        self.media, self.max_frames = media, max_frames
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
        id = self.entries.keys[number]
        try:
            record = parse(self.entries, number)
        except ValueError as error:
            return Examined(id or None, faults=[wrong_type(str(error))])
        if not isinstance(record, dict):
            return Examined(id, faults=[wrong_type(f'the record should be an object, got {shorten(record)}')])
        faults = []
        for name in ('instruction', 'answer'):
            if not isinstance(record.get(name), str):
                got = shorten(record[name]) if name in record else 'no such field'
                faults.append(wrong_type(f'"{name}" should be a string, got {got}'))
        if not isinstance(record.get('language') or '', str):
            faults.append(wrong_type(f'"language" should be a string, got {shorten(record["language"])}'))
        shown, image_faults = _strings(record.get('image_ids'), '"image_ids"')
        context, context_faults = _strings(record.get('rel_ins_ids'), '"rel_ins_ids"')
        faults += image_faults + context_faults + list(check_context(id, context, self.ids, self.file))
        if self.images is None:
            shown = []
        samples = []
        if isinstance(record.get('instruction'), str) and isinstance(record.get('answer'), str):
            media = media_of(tuple(shown), self.media, self.max_frames)
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
        id = self.entries.keys[number]
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
            context, more = _strings(parse(self.entries, number), 'the list of context ids')
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


def _strings(value: Any, what: str) -> tuple[list[str], list[Fault]]:
    """The strings of a list, and what is wrong with it."""
    if value is None:
        return [], []
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        kept = [sound(item) for item in value if isinstance(item, str)] if isinstance(value, list) else []
        return kept, [wrong_type(f'{what} should be a list of strings, got {shorten(value)}')]
    return list(map(sound, value)), []

"""Chat messages with pictures, as current data sets on the Hugging Face hub have them."""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.image_stores.cells import CellImages
from mmgpt.data.sources.records import Record, Records
from mmgpt.data.table_records import TableRecords
from mmgpt.registry import SOURCES
from mmgpt.structures import Kind, Medium, Role, Turn

MESSAGES, IMAGES = ('messages', 'conversations', 'texts'), ('images', 'image')  # what the columns may be called
ROLES: dict[str, Role] = {'system': 'system', 'user': 'user', 'assistant': 'assistant'}
SPEAKERS: dict[str, dict[str, Role]] = {  # the field that says who speaks -> its values
    'role': ROLES,
    'from': {**ROLES, 'human': 'user', 'gpt': 'assistant'},
}
PARTS = ('text', 'input', 'image', 'video', 'image_set')
MARK = '<image>'


@SOURCES.register_module()
class Messages(Records):
    """Records of ``messages`` and ``images``, in the forms that sets of the Hugging Face hub have.

    ::

        messages: [{'role': 'user', 'content': …}, {'role': 'assistant', 'content': …}]
        conversations: [{'from': 'human', 'value': …}, {'from': 'gpt', 'value': …}]         as LLaVA writes them
        texts: [{'user': …, 'assistant': …}]                                                as The Cauldron does

    A content is a text, in which each ``<image>`` takes the next picture, or a list of parts::

        {'type': 'text', 'text': 'What is this?'}
        {'type': 'input', 'text': 'a passage'}                     what an instruction is about
        {'type': 'image'}                                          the next picture, or with 'index' that one
        {'type': 'image', 'image': 'a.jpg'}                        a picture of the store
        {'type': 'image_set', 'images': ['a.jpg', 'b.jpg']}        several pictures under one mark
        {'type': 'video', 'video': ['0001.jpg', '0002.jpg']}       frames under one mark
        {'type': 'video', 'video': 'clip.mp4'}                     a file of VideoFiles
        {'type': 'video', 'count': 8}                              the next eight pictures; also of an image_set

    Where no message asks for a picture, all of them stand before the first question. In tables (Parquet, Arrow, what
    ``datasets`` saves) pictures may lie in the rows themselves, as bytes; elsewhere ``images`` are keys of the store.
    Rows are read by their number. Parquet files need not be on this machine: ``hf://datasets/owner/name/…`` and other
    addresses are read in parts, see :class:`~mmgpt.data.remote_tables.RemoteTable`.

    Args:
        annotations, images, sample, sample_seed, name: as of :class:`~mmgpt.data.sources.records.Records`.
        messages_field: the column of the messages; None = the first of those above that there is.
        images_field: the column of the pictures, a list or one; None = ``images``, or ``image``.
    """

    id_field = 'id'
    context_field = 'context_ids'

    def __init__(
        self,
        annotations: str | Path | Sequence[str | Path],
        images: ImageStore | None = None,
        messages_field: str | None = None,
        images_field: str | None = None,
        sample: int | None = None,
        sample_seed: int = 42,
        name: str | None = None,
    ) -> None:
        super().__init__(annotations, images, sample, sample_seed, name)
        self.messages_field, self.images_field = messages_field, images_field
        tables = [file for file in self.files if isinstance(file, TableRecords)]
        if len(tables) == len(self.files):
            column = self.fields_of(tables[0].columns)[1]
            if all(column in table.columns for table in tables):
                self.images = CellImages(tables, column, images)

    def fields_of(self, names: Container[str]) -> tuple[str, str]:
        """What the messages and the pictures of a record are called, of these names."""
        messages = self.messages_field or next((name for name in MESSAGES if name in names), MESSAGES[0])
        return messages, self.images_field or next((name for name in IMAGES if name in names), IMAGES[0])

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """One turn per message."""
        field, images_field = self.fields_of(record)
        pictures = _Pictures(record, images_field)
        turns = [
            _turn(message, role, name, pictures)
            for message in record.records(field, at_least=1)
            for role, name in _said(message)
        ]
        if len(turns) < 2:
            record.fail(field, 'a list of at least 2 objects')
        if pictures.taken == 0 and pictures.keys:
            first = next((i for i, turn in enumerate(turns) if turn.role == 'user'), None)
            if first is not None:
                media = tuple(Medium((key,)) for key in pictures.rest())
                turns[first] = Turn('user', turns[first].text, media, turns[first].input)
        elif pictures.taken < len(pictures.keys):
            asked = f'{pictures.taken} of them are asked for in "{field}"'
            record.fail(images_field, f'as many pictures as there are marks: {asked}')
        return tuple(turns)

    def kind_of(self, record: Record, turns: tuple[Turn, ...]) -> Kind:
        """A video is one wherever it stands."""
        contents = (value for message in record[self.fields_of(record)[0]] for value in message.values())
        parts = (part for content in contents if isinstance(content, list) for part in content)
        if any(isinstance(part, dict) and part.get('type') == 'video' for part in parts):
            return 'video'
        return super().kind_of(record, turns)


class _Pictures:
    """The pictures of a record, handed out one by one."""

    def __init__(self, record: Record, field: str) -> None:
        value = record.get(field)
        value = [] if value is None else value if isinstance(value, list) else [value]
        self.record, self.field, self.taken = record, field, 0
        self.keys: list[Any] = []
        for number, picture in enumerate(value):
            if not isinstance(picture, str | Mapping):
                record.fail(field, 'a list of file names, or of pictures')
            self.keys.append((record.place, number) if isinstance(picture, Mapping) else picture)

    def rest(self) -> Iterator[Any]:
        while self.taken < len(self.keys):
            yield self.next()

    def next(self, index: int | None = None) -> Any:
        number = self.taken if index is None else index
        if not 0 <= number < len(self.keys):
            self.record.fail(self.field, f'a list with a picture {number}')
        self.taken = max(self.taken, number + 1)
        return self.keys[number]


def _said(message: Record) -> list[tuple[Role, str]]:
    """Who speaks in a message, and the field of what they say; a question may stand with its answer."""
    if 'user' in message and 'assistant' in message:
        return [('user', 'user'), ('assistant', 'assistant')]
    field = 'from' if 'from' in message and 'role' not in message else 'role'
    role = SPEAKERS[field].get(message.text(field))
    if role is None:
        message.fail(field, ' or '.join(SPEAKERS[field]))
    return [(role, 'value' if field == 'from' else 'content')]


def _turn(message: Record, role: Role, field: str, pictures: _Pictures) -> Turn:
    content = message.get(field)
    if isinstance(content, str):
        media = tuple(Medium((pictures.next(),)) for _ in range(content.count(MARK)))
        text = content.replace(f'{MARK}\n', '').replace(f'\n{MARK}', '').replace(MARK, '')
        return Turn(role, text, media)
    texts: dict[str, list[str]] = {'text': [], 'input': []}
    media = []
    for part in message.records(field):
        kind = part.text('type')
        if kind in texts:
            texts[kind].append(part.text('text'))
        elif kind == 'image':
            own = part.text('image', '')
            index = part.number('index') if part.get('index') is not None else None
            media.append(Medium((own or pictures.next(index),)))
        elif kind == 'video' and isinstance(part.get('video'), str):
            media.append(Medium((part['video'],)))
        elif kind in ('image_set', 'video') and part.get('count') is not None:
            if (count := part.number('count')) < 1:
                part.fail('count', 'a whole number from 1')
            media.append(Medium(tuple(pictures.next() for _ in range(count))))
        elif kind in ('image_set', 'video'):
            media.append(Medium(tuple(part.texts('images' if kind == 'image_set' else 'video', at_least=1))))
        else:
            part.fail('type', ' or '.join(PARTS))
    return Turn(role, '\n'.join(texts['text']), tuple(media), '\n'.join(texts['input']))

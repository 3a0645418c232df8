"""Chat messages with pictures, as current data sets on the Hugging Face hub have them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.image_stores.cells import CellImages
from mmgpt.data.sources.records import Record, Records
from mmgpt.data.table_records import TableRecords
from mmgpt.registry import SOURCES
from mmgpt.structures import Kind, Medium, Turn

ROLES = ('system', 'user', 'assistant')
PARTS = ('text', 'input', 'image', 'video', 'image_set')
MARK = '<image>'


@SOURCES.register_module()
class Messages(Records):
    """Records of ``messages`` (``role`` and ``content``) and ``images``.

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
        messages_field: the column of the messages.
        images_field: the column of the pictures; a list, or one.
    """

    id_field = 'id'

    def __init__(
        self,
        annotations: str | Path | Sequence[str | Path],
        images: ImageStore | None = None,
        messages_field: str = 'messages',
        images_field: str = 'images',
        sample: int | None = None,
        sample_seed: int = 42,
        name: str | None = None,
    ) -> None:
        super().__init__(annotations, images, sample, sample_seed, name)
        self.messages_field, self.images_field = messages_field, images_field
        if all(isinstance(file, TableRecords) and images_field in file.columns for file in self.files):
            self.images = CellImages(self.files, images_field, images)

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """One turn per message."""
        pictures = _Pictures(record, self.images_field)
        turns = [_turn(message, pictures) for message in record.records(self.messages_field, at_least=2)]
        if pictures.taken == 0 and pictures.keys:
            first = next((i for i, turn in enumerate(turns) if turn.role == 'user'), None)
            if first is not None:
                media = tuple(Medium((key,)) for key in pictures.rest())
                turns[first] = Turn('user', turns[first].text, media, turns[first].input)
        elif pictures.taken < len(pictures.keys):
            asked = f'{pictures.taken} of them are asked for in "{self.messages_field}"'
            record.fail(self.images_field, f'as many pictures as there are marks: {asked}')
        return tuple(turns)

    def context(self, record: Record) -> tuple[str, ...]:
        """``context_ids``, where a record has them."""
        return tuple(record.texts('context_ids')) if record.get('context_ids') else ()

    def kind_of(self, record: Record, turns: tuple[Turn, ...]) -> Kind:
        """A video is one wherever it stands."""
        parts = [part for message in record[self.messages_field] for part in message['content']]
        if any(isinstance(part, dict) and part['type'] == 'video' for part in parts):
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


def _turn(message: Record, pictures: _Pictures) -> Turn:
    role, content = message.text('role'), message.get('content')
    if role not in ROLES:
        message.fail('role', ' or '.join(ROLES))
    if isinstance(content, str):
        media = tuple(Medium((pictures.next(),)) for _ in range(content.count(MARK)))
        text = content.replace(f'{MARK}\n', '').replace(f'\n{MARK}', '').replace(MARK, '')
        return Turn(role, text, media)
    texts: dict[str, list[str]] = {'text': [], 'input': []}
    media = []
    for part in message.records('content'):
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
            media.append(Medium(tuple(pictures.next() for _ in range(part.number('count')))))
        elif kind in ('image_set', 'video'):
            media.append(Medium(tuple(part.texts('images' if kind == 'image_set' else 'video', at_least=1))))
        else:
            part.fail('type', ' or '.join(PARTS))
    return Turn(role, '\n'.join(texts['text']), tuple(media), '\n'.join(texts['input']))

"""MIMIC-IT's annotation files (arXiv 2306.05425)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from mmgpt.data.cache import cached, is_small, mapped_array
from mmgpt.data.image_stores import ImageStore
from mmgpt.data.json_index import JsonObject
from mmgpt.data.sources.base import Source
from mmgpt.data.sources.training_data import resample as sampled
from mmgpt.registry import SOURCES
from mmgpt.structures import Kind, Medium, Sample, Turn


@SOURCES.register_module()
class MimicIt(Source):
    """Instructions of a task ``XX``: ``XX_instructions.json``, images by id, and optionally ``XX_train.json``.

    The images of an instruction are the frames of ONE medium: a picture, a pair or set of pictures, a video; with
    ``media='each'`` every image is a medium with a mark of its own, as chat messages have them. The file is indexed
    and mapped into memory, a record is parsed when it is asked for.

    Args:
        instructions: ``{"meta": ..., "data": {id: {"instruction", "answer", "image_ids", "rel_ins_ids"}}}``; a record
            may have ``language``, a tag.
        images: the images' store; None = text only, the instructions' image ids are ignored.
        train: ``{id: [context id, ...]}``: the ids to train on, and their contexts instead of ``rel_ins_ids``.
        kind: under which the loss of instructions with images is reported, 'image' or 'video'.
        media: 'one' medium for all images of an instruction, or one for 'each'.
        max_frames: of a longer medium so many frames are kept, evenly spaced as in the published loader.
        resample: so many samples are all there is, drawn or repeated as the published ``num_samples`` says
            (:func:`~mmgpt.data.sources.training_data.resample`); None = each once.
        task_descriptions: one of them, another one each time, is a sample's system turn.
        name: of the source; None = the file's name without ``_instructions.json``.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is no such JSON, or ``train`` names ids that the instructions do not have.
    """

    def __init__(
        self,
        instructions: str | Path,
        images: ImageStore | None = None,
        train: str | Path | None = None,
        kind: Kind = 'image',
        media: Literal['one', 'each'] = 'one',
        max_frames: int | None = None,
        resample: int | None = None,
        task_descriptions: Sequence[str] = (),
        name: str | None = None,
    ) -> None:
        if kind not in ('image', 'video'):
            raise ValueError(f"kind must be 'image' or 'video', got {kind!r}; instructions without images are 'text'")
        if media not in ('one', 'each'):
            raise ValueError(f"media must be 'one' or 'each', got {media!r}")
        if max_frames is not None and max_frames < 1:
            raise ValueError(f'max_frames must be at least 1 or None, got {max_frames}')
        if resample is not None and resample < -1:
            raise ValueError(f'resample must be a number from 0, -1 or None, got {resample}')
        if isinstance(task_descriptions, str):
            raise ValueError(f'task_descriptions must be a list of strings, got {task_descriptions!r}')
        super().__init__(name or Path(instructions).stem.removesuffix('_instructions'), images)
        self.kind = kind
        self.media = media
        self.max_frames = max_frames
        self.task_descriptions = tuple(task_descriptions)
        self._records = JsonObject(instructions, member='data')
        self._train = None if train is None else JsonObject(train)
        self._kept: Path | None = None  # where the places of big training files lie
        self._train_places = None if train is None else self._places(self._train)
        self._order = sampled(len(self._records if self._train is None else self._train), resample)
        if not isinstance(self._order, range):
            self._order = np.array(self._order, np.int64)

    def __len__(self) -> int:
        return len(self._order)

    def __getitem__(self, index: int) -> Sample:
        return self.draw(index, np.random.default_rng(index))

    @property
    def annotation_files(self) -> list[Path]:
        """See :attr:`Source.annotation_files`."""
        return [records.path for records in (self._records, self._train) if records is not None]

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """See :meth:`Source.draw`."""
        if not 0 <= index < len(self):
            raise IndexError(f'{self.name} has {len(self)} samples, there is no index {index}')
        place = int(self._order[index])
        if self._train is None:
            sample = self._sample(place)
        else:
            context = _strings(self._train[place], self._where(self._train, place), 'the list of context ids')
            sample = self._sample(int(self._train_places[place]), context)
        if self.task_descriptions:
            description = self.task_descriptions[int(rng.integers(len(self.task_descriptions)))]
            sample = replace(sample, turns=(Turn('system', description), *sample.turns))
        return sample

    def find(self, id: str) -> Sample:
        """See :meth:`Source.find`; its context ids are those of the record."""
        place = self._records.keys.find(id)
        if place is None:
            near = ' or '.join(map(repr, self._records.keys.nearest(id)))
            raise KeyError(f'{self._records.path}: there is no instruction {id!r}; did you mean {near}?')
        return self._sample(place)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ if self._kept is None else {**self.__dict__, '_train_places': None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._kept is not None:
            self._train_places = mapped_array(self._kept / 'places.npy')

    def _places(self, train: JsonObject) -> np.ndarray:
        """Where the instructions of the training file's ids stand."""
        files = [train.path, self._records.path]
        if is_small(files):
            return self._find_places(train)
        self._kept = cached(
            'training-ids', files, lambda folder: np.save(folder / 'places.npy', self._find_places(train))
        )
        return mapped_array(self._kept / 'places.npy')

    def _find_places(self, train: JsonObject) -> np.ndarray:
        places = self._records.keys.places(train.keys)
        missing = np.flatnonzero(places < 0)
        if len(missing):
            raise ValueError(
                f'{train.path}: {len(missing)} of {len(train)} ids are not in {self._records.path}, for example '
                f'{", ".join(repr(train.keys[int(i)]) for i in missing[:3])} (line {train.line(int(missing[0]))})'
            )
        return places

    def _sample(self, place: int, context: tuple[str, ...] | None = None) -> Sample:
        where = self._where(self._records, place)
        record = self._records[place]
        if not isinstance(record, dict):
            raise ValueError(f'{where} should be an object, got {type(record).__name__}')
        question, answer = (_string(record, name, where) for name in ('instruction', 'answer'))
        frames = _strings(record.get('image_ids'), where, '"image_ids"')
        if context is None:
            context = _strings(record.get('rel_ins_ids'), where, '"rel_ins_ids"')
        media = () if self.images is None else media_of(frames, self.media, self.max_frames)
        return Sample(
            id=self._records.keys[place],
            turns=(Turn('user', question, media), Turn('assistant', answer)),
            context_ids=context,
            kind=self.kind if media else 'text',
            source=self.name,
            language='' if record.get('language') is None else _string(record, 'language', where),
        )

    @staticmethod
    def _where(records: JsonObject, place: int) -> str:
        return f'{records.path}: {records.keys[place]!r}'


def media_of(frames: tuple[str, ...], media: Literal['one', 'each'], max_frames: int | None) -> tuple[Medium, ...]:
    """The media that the images of an instruction are; arguments as of :class:`MimicIt`."""
    if max_frames is not None and len(frames) > max_frames:
        frames = tuple(frames[int(i)] for i in np.linspace(0, len(frames) - 1, max_frames))
    if media == 'each':
        return tuple(Medium((frame,)) for frame in frames)
    return (Medium(frames),) if frames else ()


def _string(record: dict[str, Any], name: str, where: str) -> str:
    value = record.get(name)
    if not isinstance(value, str):
        raise ValueError(f'{where}: "{name}" should be a string, got {value!r}')
    return value


def _strings(value: Any, where: str, what: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise ValueError(f'{where}: {what} should be a list of strings, got {str(value)[:80]!r}')
    return tuple(value)

"""MIMIC-IT as it lies on the Hugging Face hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.image_stores.cells import CellImages
from mmgpt.data.sources.records import Record, Records
from mmgpt.data.table_records import TableRecords
from mmgpt.registry import SOURCES
from mmgpt.structures import Kind, Medium, Turn


@SOURCES.register_module()
class MimicItHub(Records):
    """The Parquet files of ``pufanyi/MIMICIT``.

    Their columns are ``id``, ``instruction``, ``answer``, ``images`` and ``related instructions``. A set ``XX`` holds
    its pictures in its rows; ``XX_Instructions`` names them, and ``images`` is their store. The pictures of an
    instruction are the frames of one medium.

    Args:
        annotations: the folder or files of ``XX`` or ``XX_Instructions``.
        images: where named pictures lie.
        kind: under which the loss of instructions with pictures is reported, 'image' or 'video'.
        max_frames: of a longer medium so many frames are kept, evenly spaced.
        sample, sample_seed, name: as of :class:`~mmgpt.data.sources.records.Records`.
    """

    id_field = 'id'
    context_field = 'related instructions'

    def __init__(
        self,
        annotations: str | Path | Sequence[str | Path],
        images: ImageStore | None = None,
        kind: Kind = 'image',
        max_frames: int | None = None,
        sample: int | None = None,
        sample_seed: int = 42,
        name: str | None = None,
    ) -> None:
        if kind not in ('image', 'video'):
            raise ValueError(f"kind must be 'image' or 'video', got {kind!r}; instructions without images are 'text'")
        if max_frames is not None and max_frames < 1:
            raise ValueError(f'max_frames must be at least 1 or None, got {max_frames}')
        super().__init__(annotations, images, sample, sample_seed, name)
        self.kind, self.max_frames = kind, max_frames
        if all(isinstance(file, TableRecords) and 'images' in file.columns for file in self.files):
            self.images = CellImages(self.files, 'images', images)

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The instruction with its pictures, and the answer."""
        pictures = record.get('images') or []
        if not isinstance(pictures, list) or not all(isinstance(one, str | dict) for one in pictures):
            record.fail('images', 'a list of image ids, or of pictures')
        frames = [one if isinstance(one, str) else (record.place, number) for number, one in enumerate(pictures)]
        if self.max_frames is not None and len(frames) > self.max_frames:
            frames = [frames[int(i)] for i in np.linspace(0, len(frames) - 1, self.max_frames)]
        media = (Medium(tuple(frames)),) if frames else ()
        return Turn('user', record.text('instruction'), media), Turn('assistant', record.text('answer'))

    def kind_of(self, record: Record, turns: tuple[Turn, ...]) -> Kind:
        """What its pictures are."""
        return self.kind if turns[0].media else 'text'

"""What a source is."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.structures import Sample


class Source(ABC):
    """The samples of one annotation, by index. A source can be pickled and holds no pixels.

    A subclass calls ``super().__init__`` and defines the three methods.

    Args:
        name: for logs and messages; it goes into each sample.
        images: where the frames of its samples lie; None for text only.
    """

    def __init__(self, name: str, images: ImageStore | None = None) -> None:
        self.name = name
        self.images = images

    @abstractmethod
    def __len__(self) -> int:
        """How many samples are trained on."""

    @abstractmethod
    def __getitem__(self, index: int) -> Sample:
        """The sample of an index, ``0 <= index < len(self)``.

        Raises:
            IndexError: there is no such index.
            ValueError: the record is not as its format says; the message names file and id.
        """

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """The sample of an index, where a record leaves a choice: of paraphrases, captions, questions.

        Args:
            index: as of ``source[index]``, which is one of these samples.
            rng: the choice is drawn from it, so that it repeats.
        """
        return self[index]

    @abstractmethod
    def find(self, id: str) -> Sample:
        """The sample of an id, also of those that serve as context only.

        Raises:
            KeyError: there is no such id.
        """

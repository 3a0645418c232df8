"""What a source is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.tokens import Tokens
from mmgpt.structures import Sample


class Unusable(ValueError):
    """A sample that is left out: a data set draws another one of the source in its place."""


class Broken(Unusable):
    """A sample that is left out since its data are broken, not by the rules of its set.

    Args:
        message: what is broken, and where.
        kind: of the fault, in the doctor's words (:data:`mmgpt.data.verify.KINDS`).
    """

    def __init__(self, message: str, kind: str = 'wrong_type') -> None:
        super().__init__(message)
        self.kind = kind


def check_attend_next(source: Source | type[Source], share: float | None) -> None:
    """Checks the share of a source's samples whose text attends to the next medium.

    Raises:
        ValueError: it is no share, or the source has no pages: where a picture stands before the text that is about it,
            as in captions, instructions and answers, that text would see none.
    """
    if share is None:
        return
    if not 0 <= share <= 1:
        raise ValueError(f'attend_next is a share of the samples, from 0 to 1, or None; got {share}')
    if share and not getattr(source, 'pages', False):
        name = getattr(source, '__name__', type(source).__name__)
        raise ValueError(
            f'attend_next={share} is for web pages; the samples of {name} have their pictures before the text about '
            'them, which would see none: leave it out (a source class of pages says so by pages = True)'
        )


class Source(ABC):
    """The samples of one annotation, by index. A source can be pickled and holds no pixels.

    A subclass calls ``super().__init__`` and defines the three methods.

    Args:
        name: for logs and messages; it goes into each sample.
        images: where the frames of its samples lie; None for text only.
    """

    pages = False  # whether its samples are pages, whose text may be about the picture before it or the one after it

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
            Unusable: the sample is left out, by the rules of the set or (:class:`Broken`) since it cannot be read.
        """

    def id_of(self, index: int) -> str:
        """What to call the sample of an index where it cannot be read."""
        return f'{self.name}_{index}'

    @property
    def blocks(self) -> np.ndarray | None:
        """(n,) int64, the sizes of the runs of neighbouring samples that cost much to reach and little to stay in.

        None where any sample is as near as its neighbour. A sampler then mixes samples of a few blocks at a time.
        """
        return None

    @property
    def annotation_files(self) -> list[Path]:
        """The files that its samples come from: what is computed from a source is made anew where they change."""
        return []

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """The sample of an index, where a record leaves a choice: of paraphrases, captions, questions.

        Args:
            index: as of ``source[index]``, which is one of these samples.
            rng: the choice is drawn from it, so that it repeats.
        """
        return self[index]

    def check(self, tokens: Tokens, rng: np.random.Generator) -> None:  # noqa: B027 (most sources take all)
        """Looks at what is left of a sample when its text is cut to its length; by default it is always taken.

        Raises:
            Unusable: the sample is left out.
        """

    @abstractmethod
    def find(self, id: str) -> Sample:
        """The sample of an id, also of those that serve as context only.

        Raises:
            KeyError: there is no such id.
        """

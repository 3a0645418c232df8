"""Questions about pictures with short answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal
from urllib.parse import urlsplit

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.sources.records import Record, Records, choose
from mmgpt.data.sources.requests import EXPLAIN
from mmgpt.registry import SOURCES
from mmgpt.structures import Medium, Turn


class WithOptions(Records):
    """Records whose possible answers may be shown as the question's input, joined by commas.

    Args:
        annotations, images, sample, sample_seed, name: as of :class:`~mmgpt.data.sources.records.Records`.
        options: how often they are shown, from 0 to 1; drawn anew each time.
    """

    def __init__(
        self,
        annotations: str | Path | Sequence[str | Path],
        images: ImageStore | None = None,
        options: float = 0.5,
        sample: int | None = None,
        sample_seed: int = 42,
        name: str | None = None,
    ) -> None:
        if not 0 <= options <= 1:
            raise ValueError(f'options must be a fraction from 0 to 1, got {options}')
        super().__init__(annotations, images, sample, sample_seed, name)
        self.options = options

    def maybe(self, options: Sequence[str], rng: np.random.Generator) -> str:
        """The options as an input, or nothing."""
        return ', '.join(options) if rng.random() < self.options else ''


@SOURCES.register_module()
class AOkVqa(WithOptions):
    """A-OKVQA (arXiv 2206.01718): a list of the official fields, with or without ``image``.

    Asked is the question and for reasons; the answer is the right choice and the rationales. The pictures' keys are
    the values of ``image``, else ``{split}2017/{image_id as 12 digits}.jpg``.

    Args: as of :class:`WithOptions`; the options are the choices.
    """

    id_field = 'question_id'

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The question with a request, and the choice with its rationales."""
        choices = record.texts('choices', at_least=1)
        choice = choices[record.number('correct_choice_idx', below=len(choices))]
        reasons = ' '.join(record.texts('rationales'))
        if record.get('image') is None:
            image = f'{record.text("split")}2017/{record.number("image_id"):012d}.jpg'
        else:
            image = record.text('image')
        text = f'{record.text("question")} {choose(EXPLAIN, rng)}'
        question = Turn('user', text, (Medium((image,)),), self.maybe(choices, rng))
        return question, Turn('assistant', f'The answer is {choice}. Because {reasons}')


@SOURCES.register_module()
class OcrVqa(Records):
    """OCR-VQA (ICDAR 2019), questions about book covers: the official object by ASIN, or a list with ``filename``.

    Each time one of a record's questions is asked. The pictures' keys are the file names: ``{ASIN}`` with the ending
    of ``imageURL`` where the file is the official one.

    Args:
        annotations, images, sample, sample_seed, name: as of :class:`~mmgpt.data.sources.records.Records`.
        split: only records of this one: 1 training, 2 validation, 3 test; None = all. The official file holds all.
    """

    id_field = 'filename'

    def __init__(
        self,
        annotations: str | Path | Sequence[str | Path],
        images: ImageStore | None = None,
        split: Literal[1, 2, 3] | None = None,
        sample: int | None = None,
        sample_seed: int = 42,
        name: str | None = None,
    ) -> None:
        if split not in (None, 1, 2, 3):
            raise ValueError(f'split must be 1 (training), 2 (validation), 3 (test) or None, got {split!r}')
        keep = None if split is None else partial(_is_of, split)
        super().__init__(annotations, images, sample, sample_seed, name, keep)

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """One of the questions and its answer."""
        questions, answers = record.texts('questions', at_least=1), record.texts('answers')
        if len(answers) != len(questions):
            record.fail('answers', f'as many as the {len(questions)} questions')
        if record.key:
            image = record.key + (PurePosixPath(urlsplit(record.text('imageURL')).path).suffix or '.jpg')
        else:
            image = record.text('filename')
        asked = int(rng.integers(len(questions)))
        return Turn('user', questions[asked], (Medium((image,)),)), Turn('assistant', answers[asked])


@SOURCES.register_module()
class Vqa(WithOptions):
    """VQAv2 and OK-VQA as LAVIS writes them: a list of ``question``, ``answer`` (ten strings) and ``image``.

    The answer is the most frequent one, of several the first. The pictures' keys are the values of ``image``.

    Args: as of :class:`WithOptions`; the options are the different answers where there are several.
    """

    id_field = 'question_id'
    answers_field = 'answer'

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The question and what most answered."""
        answers = record.texts(self.answers_field, at_least=1)
        options = list(dict.fromkeys(answers))
        shown = self.maybe(options, rng) if len(options) > 1 else ''
        question = Turn('user', record.text('question'), (Medium((self.image(record),)),), shown)
        return question, Turn('assistant', Counter(answers).most_common(1)[0][0])

    def image(self, record: Record) -> str:
        """The key of the picture."""
        return record.text('image')


@SOURCES.register_module()
class TextVqa(Vqa):
    """TextVQA (arXiv 1904.08920): ``{"data": [{"question", "image_id", "answers"}]}``; the rest is as of :class:`Vqa`.

    The pictures' keys are ``{image_id}.jpg``.

    Args: as of :class:`WithOptions`.
    """

    member = 'data'
    answers_field = 'answers'

    def image(self, record: Record) -> str:
        """The key of the picture."""
        return f'{record.word("image_id")}.jpg'


@SOURCES.register_module()
class Gqa(Records):
    """GQA (arXiv 1902.09506): an object from question id to ``question``, ``fullAnswer`` and ``imageId``.

    The answer is the full one. The pictures' keys are ``{imageId}.jpg``.

    Args: as of :class:`~mmgpt.data.sources.records.Records`.
    """

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The question and its full answer."""
        question = Turn('user', record.text('question'), (Medium((f'{record.word("imageId")}.jpg',)),))
        return question, Turn('assistant', record.text('fullAnswer'))


@SOURCES.register_module()
class Clevr(Records):
    """CLEVR (arXiv 1612.06890): ``{"questions": [{"question", "answer", "split", "image_filename"}]}``.

    The pictures' keys are ``{split}/{image_filename}``.

    Args: as of :class:`~mmgpt.data.sources.records.Records`.
    """

    member = 'questions'

    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The question and its answer."""
        image = f'{record.text("split")}/{record.text("image_filename")}'
        return Turn('user', record.text('question'), (Medium((image,)),)), Turn('assistant', record.text('answer'))


def _is_of(split: int, record: Record) -> bool:
    return record.number('split') == split

"""Benchmarks of lettered options: MMBench, SEED-Bench, ScienceQA, MagnifierBench."""

from __future__ import annotations

import re
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

from mmgpt.evaluation.items import Answer, Generation, Item, Ranking, Scores
from mmgpt.evaluation.tasks.groups import mean_by_group
from mmgpt.evaluation.tasks.options import LETTERS, answer_letter, hinted, letter_in, options_of, split_options
from mmgpt.evaluation.tasks.records import Record, RecordTask
from mmgpt.evaluation.tasks.yes_no import OTTER
from mmgpt.registry import EVALUATION_TASKS


class MultipleChoice(RecordTask):
    """Items whose ``about`` has the option texts; the reference is the letter of the right one."""

    main = 'accuracy'
    answering: Generation | Ranking = OTTER
    kinds: tuple[str, ...] = ()  # of groups, by what ``about`` says

    def chosen(self, item: Item, text: str) -> str | None:
        """The letter that a reply means; None: none."""
        return letter_in(text, item.about['options'])

    def right(self, item: Item, answer: Answer) -> bool:
        """Whether an answer is the right one."""
        return self.chosen(item, answer.text) == item.references

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        if self.unpublished(items):
            return Scores({})
        each = tuple(100.0 * self.right(item, answer) for item, answer in zip(items, answers, strict=True))
        return Scores({'accuracy': sum(each) / len(each)}, each, mean_by_group(items, each, self.kinds))


@EVALUATION_TASKS.register_module()
class MMBench(MultipleChoice):
    """Options after a question, maybe after a hint (arXiv 2307.06281).

    A reply means the option whose letter stands in it by itself, or else whose text does; where that is none or
    several, the answer is wrong. The official scorer asks a language model there; ``submission.json`` has the columns
    of the table that it takes.

    Args:
        records: the official TSV, ``index``, ``question``, ``hint``, ``A`` to ``E``, ``answer``, ``category``,
            ``l2-category``, ``image``; or its form on the hub. A set without answers is not scored.
        images: see :class:`RecordTask`.
        circular: ask each question once for each rotation of its options; it is right where all are (CircularEval).
    """

    name = 'mmbench'
    where = 'https://github.com/open-compass/MMBench, or https://huggingface.co/datasets/Otter-AI/MMBench'
    kinds = ('category', 'l2-category')

    def __init__(self, records: str, images: str | None = None, circular: bool = False) -> None:
        super().__init__(records, images)
        self.circular = circular

    def item(self, record: Record) -> list[Item]:
        """See :class:`RecordTask`."""
        options = options_of(record)
        answer = answer_letter(record, options)
        index = record['index', 'id']
        items = []
        for turn in range(len(options) if self.circular else 1):
            turned = options[turn:] + options[:turn]
            items.append(
                Item(
                    id=f'{index}' if not turn else f'{index}+{turn}',
                    question=hinted(record, turned),
                    media=record.pictures('image', 'images'),
                    references=None if answer is None else LETTERS[(LETTERS.index(answer) - turn) % len(options)],
                    about={'index': index, 'options': turned, **{kind: record.get(kind) for kind in self.kinds}},
                )
            )
        return items

    def unit(self, item: Item) -> Hashable:
        """See :class:`EvaluationTask`; the rotations of a question."""
        return item.about['index']

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`; with ``circular`` the first rotation has the score of its question."""
        scores = super().score(items, answers)
        if not self.circular or not scores.figures:
            return scores
        questions: dict[Any, list[int]] = {}
        for place, item in enumerate(items):
            questions.setdefault(item.about['index'], []).append(place)
        worths = {places[0]: min(scores.items[place] for place in places) for places in questions.values()}
        each = [worths.get(place) for place in range(len(items))]
        figures = {'accuracy': sum(worths.values()) / len(worths), 'single_accuracy': scores.figures['accuracy']}
        groups = mean_by_group([items[place] for place in worths], [*worths.values()], self.kinds)
        return Scores(figures, tuple(each), groups)

    def files(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, Any]:
        """See :class:`EvaluationTask`."""
        rows = [
            {
                'index': item.about['index'],
                'question': item.question,
                **dict(zip(LETTERS, item.about['options'])),
                'prediction': answer.text,
            }
            for item, answer in zip(items, answers, strict=True)
            if '+' not in str(item.id)
        ]
        return {'submission.json': rows}


@EVALUATION_TASKS.register_module()
class SeedBench(MultipleChoice):
    """Twelve dimensions of pictures and videos (arXiv 2307.16125); the likeliest option is the answer.

    Each option is scored as ``A. text``, by the mean log-probability of its tokens. Otter's code leaves the labels out
    of that loss and writes only the last record; neither is done here.

    Args:
        records: ``question_id``, ``question``, ``choice_a`` to ``choice_d``, ``answer`` (a letter), ``image`` (or
            ``data_id``, the name of its file), ``question_type_id``. The official file's list ``questions`` is taken.
        images: see :class:`RecordTask`.
    """

    name = 'seed_bench'
    answering = Ranking()
    kinds = ('dimension',)
    where = 'https://huggingface.co/datasets/AILab-CVC/SEED-Bench'

    def item(self, record: Record) -> Item:
        """See :class:`RecordTask`."""
        options = [str(record[f'choice_{letter}']) for letter in 'abcd']
        lettered = tuple(f'{letter}. {text}' for letter, text in zip(LETTERS, options))
        return Item(
            id=record['question_id'],
            question=f'{record.text("question")} There are several options: {" ".join(lettered)}',
            media=record.pictures('image', 'images', 'data_id', together=True),
            references=record.one_of({letter.lower(): letter for letter in 'ABCD'}, 'answer'),
            choices=lettered,
            about={'options': options, 'dimension': record.get('question_type_id')},
        )

    def chosen(self, item: Item, text: str) -> str | None:
        """See :class:`MultipleChoice`."""
        return text[:1]


@EVALUATION_TASKS.register_module()
class ScienceQA(MultipleChoice):
    """School questions with and without a picture (arXiv 2209.09513).

    Args:
        records: ``question``, ``choices``, ``answer`` (a number from 0), ``image`` or none; ``subject``, ``topic`` and
            the like make groups.
        images: see :class:`RecordTask`.
        instruction: stands before each question, and asks for the form that is looked for first in a reply.
        with_picture_only: leave out questions without a picture ("IMG", as most report).
    """

    name = 'scienceqa'
    kinds = ('subject', 'topic', 'grade')
    where = 'https://huggingface.co/datasets/derek-thomas/ScienceQA, or Otter-AI/ScienceQA there'

    def __init__(
        self,
        records: str,
        images: str | None = None,
        instruction: str = 'Choose the right option and reply in the form: The answer is A.',
        with_picture_only: bool = False,
    ) -> None:
        super().__init__(records, images)
        self.before, self.with_picture_only = instruction, with_picture_only

    def item(self, record: Record) -> Item | list[Item]:
        """See :class:`RecordTask`."""
        options = record['choices']
        answer = record['answer']
        if not isinstance(options, list) or not 2 <= len(options) <= len(LETTERS):
            raise ValueError(f"{record.where}: 'choices' must be a list of options, got {options!r}")
        if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < len(options):
            raise ValueError(f"{record.where}: 'answer' must be a place in 'choices', from 0; got {answer!r}")
        media = record.pictures('image', 'images')
        if self.with_picture_only and not media:
            return []
        lines = ''.join(f'{letter}. {text}\n' for letter, text in zip(LETTERS, options))
        about = {'options': list(map(str, options)), **{kind: record.get(kind) for kind in self.kinds}}
        return Item(
            id=f'{record.get("id", "pid", default=record.place)}',
            question=f'{self.before}\n{record.text("question")}\n{lines}'.lstrip('\n'),
            media=media,
            references=LETTERS[answer],
            about={**about, 'pictured': 'with a picture' if media else 'without'},
        )

    def chosen(self, item: Item, text: str) -> str | None:
        """The letter after "The answer is", else the first option whose text is in the reply, else any letter in it."""
        options = item.about['options']
        letters = LETTERS[: len(options)]
        said = re.search(rf'(?i:the answer is)\W*([{letters}])(?![A-Za-z])', text)
        if said is not None:
            return said.group(1)
        by_text = (letter for letter, option in zip(letters, options) if option.lower() in text.lower())
        return next(by_text, next((letter for letter in letters if letter in text), None))

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        scores = super().score(items, answers)
        return replace(scores, groups={**scores.groups, **mean_by_group(items, scores.items, ('pictured',))})


@EVALUATION_TASKS.register_module()
class MagnifierBench(MultipleChoice):
    """Small things in large pictures (OtterHD, arXiv 2311.04219), as multiple choice.

    Args:
        records: ``id``, ``instruction`` (the question and its options in one text), ``answer`` (a letter), ``images``.
        images: see :class:`RecordTask`.
    """

    name = 'magnifier_bench'
    where = 'https://huggingface.co/datasets/Otter-AI/MagnifierBench'

    def item(self, record: Record) -> Item:
        """See :class:`RecordTask`."""
        text = record.text('instruction', 'question')
        question, options = split_options(text)
        if len(options) < 2:
            raise ValueError(f'{record.where}: the instruction should end with options such as "A. …, B. …": {text!r}')
        letters = {letter.lower(): letter for letter in LETTERS[: len(options)]}
        return Item(
            id=f'{record.place}:{record.get("id", default=record.place)}',
            question=text,
            media=record.pictures('images', 'image'),
            references=record.one_of(letters, 'answer'),
            about={'options': options, 'stem': question},
        )

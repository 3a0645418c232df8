"""Benchmarks that a chat model judges: MM-Vet, MagnifierBench's open form, MMAGIBench."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mmgpt.evaluation.items import Answer, Item, Scores
from mmgpt.evaluation.judge import Judge, Parse, number_between, yes_or_no
from mmgpt.evaluation.metrics.vqa import normalise
from mmgpt.evaluation.tasks.groups import mean_by_group
from mmgpt.evaluation.tasks.multiple_choice import MagnifierBench
from mmgpt.evaluation.tasks.options import LETTERS, answer_letter, hinted, options_of
from mmgpt.evaluation.tasks.records import Record, RecordTask
from mmgpt.evaluation.tasks.yes_no import OTTER
from mmgpt.registry import EVALUATION_TASKS

GRADE = (
    'You grade answers to questions about pictures. Compare the answer with the truth and reply with one number from '
    '0.0 (wrong) to 1.0 (right) in steps of 0.1, and nothing else. Where the truth has <AND>, all of its parts are '
    'needed; where it has <OR>, any of its parts will do.'
)
# of what the steps look like
GRADED = (
    ('What is x?', '-1 <AND> -5', 'x = 3', '0.0'),
    ('What is x?', '-1 <AND> -5', 'x = -1', '0.5'),
    ('What is x?', '-1 <AND> -5', 'x is -5 or -1', '1.0'),
    ('What do they sell here?', 'flowers <OR> plants', 'It is a shop for plants.', '1.0'),
    ('Why is the man laughing?', 'The dog wears his hat.', 'He has seen a dog.', '0.4'),
)
MEANS = 'Does the answer say the same as the truth? Reply with yes or no, and nothing else.'


class JudgedTask(RecordTask):
    """Answers are worth what a judge says; what cannot be judged is worth nothing, and is counted as ``unjudged``.

    Beside the judge's figure stand ``exact``, the share of answers that equal the truth after VQA's normalisation, and
    ``agreement``, the share of answers on which the two agree whether they are right.

    Args:
        records: see :class:`RecordTask`.
        images: see :class:`RecordTask`.
        judge: config of the :class:`~mmgpt.evaluation.judge.Judge`, such as ``dict(model='gpt-4o')``. None: only
            ``exact`` is computed.
    """

    answering = OTTER
    main = 'score'
    kinds: tuple[str, ...] = ()  # of groups, by what ``about`` says
    parse: Parse = staticmethod(number_between(0, 1))
    highest = 1.0  # of what ``parse`` gives

    def __init__(self, records: str, images: str | None = None, judge: dict[str, Any] | None = None) -> None:
        super().__init__(records, images)
        self.judge = None if judge is None else Judge(**judge)
        if judge is None:
            self.main = 'exact'

    @abstractmethod
    def conversation(self, item: Item, answer: Answer) -> list[dict[str, Any]]:
        """What the judge is asked."""

    def exact(self, item: Item, answer: Answer) -> bool:
        """Whether an answer is the truth, or one of its parts joined by <OR>."""
        truths = str(item.references).split('<OR>')
        return normalise(answer.text) in [normalise(truth) for truth in truths]

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        if self.unpublished(items):
            return Scores({})
        exact = [100.0 * self.exact(item, answer) for item, answer in zip(items, answers, strict=True)]
        figures = {'exact': sum(exact) / len(exact)}
        if self.judge is None:
            return Scores(figures, tuple(exact), mean_by_group(items, exact, self.kinds))
        asked = [self.conversation(item, answer) for item, answer in zip(items, answers, strict=True)]
        judged = self.judge(asked, self.parse)
        each = tuple(100.0 * (worth or 0.0) / self.highest for worth in judged)
        agree = [(worth >= 50) == (same >= 50) for worth, same in zip(each, exact, strict=True)]
        figures = {
            'score': sum(each) / len(each),
            **figures,
            'agreement': 100.0 * sum(agree) / len(agree),
            'unjudged': float(sum(worth is None for worth in judged)),
        }
        return Scores(figures, each, mean_by_group(items, each, self.kinds))


@EVALUATION_TASKS.register_module()
class MMVet(JudgedTask):
    """Open questions that need several abilities at once (arXiv 2308.02490), graded from 0 to 1.

    Args:
        records: ``id``, ``instruction`` (or ``question``), ``answer`` with <AND> and <OR>, ``images``, ``capability``
            (a list of rec, ocr, know, gen, spat, math).
        images: see :class:`RecordTask`.
        judge: see :class:`JudgedTask`; the published figures are by gpt-4-0613.
    """

    name = 'mm_vet'
    where = 'https://github.com/yuweihao/MM-Vet, or https://huggingface.co/datasets/Otter-AI/MMVet'

    def item(self, record: Record) -> Item:
        """See :class:`RecordTask`."""
        capability = record['capability']
        names = capability if isinstance(capability, list) else str(capability).split(',')
        if not all(isinstance(name, str) for name in names):
            raise ValueError(f"{record.where}: 'capability' must be a list of names, such as rec; got {capability!r}")
        return Item(
            id=f'{record.place}:{record["id"]}',
            question=record.text('instruction', 'question'),
            media=record.pictures('images', 'image', 'imagename'),
            references=record.text('answer'),
            about={'capabilities': sorted(name.strip() for name in names)},
        )

    def conversation(self, item: Item, answer: Answer) -> list[dict[str, Any]]:
        """See :class:`JudgedTask`."""
        examples = [[*exchange(*example[:3]), {'role': 'assistant', 'content': example[3]}] for example in GRADED]
        shown = [message for few in examples for message in few]
        return [
            {'role': 'system', 'content': GRADE},
            *shown,
            *exchange(item.question, item.references, answer.text),
        ]

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`; groups are single capabilities, and all of an item together."""
        scores = super().score(items, answers)
        if scores.items is None:
            return scores
        single: dict[str, list[float]] = {}
        together: dict[str, list[float]] = {}
        for item, worth in zip(items, scores.items, strict=True):
            together.setdefault(', '.join(item.about['capabilities']), []).append(worth)
            for name in item.about['capabilities']:
                single.setdefault(name, []).append(worth)
        means = [{name: sum(few) / len(few) for name, few in sorted(kind.items())} for kind in (single, together)]
        return replace(scores, groups={'capability': means[0], 'capabilities together': means[1]})


@EVALUATION_TASKS.register_module()
class MagnifierBenchOpen(JudgedTask):
    """MagnifierBench's questions without their options; the judge says whether an answer means the right one.

    Args:
        records: see :class:`~mmgpt.evaluation.tasks.multiple_choice.MagnifierBench`.
        images: see :class:`RecordTask`.
        judge: see :class:`JudgedTask`.
    """

    name = 'magnifier_bench_open'
    where = MagnifierBench.where
    parse = staticmethod(yes_or_no)

    def item(self, record: Record) -> Item:
        """See :class:`RecordTask`."""
        choice = MagnifierBench.item(self, record)
        truth = choice.about['options'][LETTERS.index(choice.references)]
        return replace(choice, question=choice.about['stem'], references=truth)

    def conversation(self, item: Item, answer: Answer) -> list[dict[str, Any]]:
        """See :class:`JudgedTask`."""
        return [{'role': 'system', 'content': MEANS}, *exchange(item.question, item.references, answer.text)]


@EVALUATION_TASKS.register_module()
class MMAGIBench(JudgedTask):
    """Perception and reasoning (MIMIC-IT, arXiv 2306.05425, section 4.1), the forerunner of MMBench.

    A category scores the share of its answers that the judge finds to say what the truth says; ``perception`` and
    ``reasoning`` are means over their categories, ``score`` over all answers.

    Args:
        records: TSV with ``index``, ``image``, ``question``, ``answer``, ``category``, ``l2-category``, ``A`` to ``E``,
            ``hint``.
        images: see :class:`RecordTask`.
        judge: see :class:`JudgedTask`.
    """

    name = 'mmagibench'
    where = 'its authors: it was not published'
    kinds = ('category', 'l2-category')
    parse = staticmethod(yes_or_no)

    def item(self, record: Record) -> Item:
        """See :class:`RecordTask`."""
        options = options_of(record)
        letter = answer_letter(record, options)
        return Item(
            id=str(record['index']),
            question=hinted(record, options),
            media=record.pictures('image'),
            references=None if letter is None else f'{letter}. {options[LETTERS.index(letter)]}',
            about={kind: record.text(kind) for kind in self.kinds},
        )

    def exact(self, item: Item, answer: Answer) -> bool:
        """Whether an answer is the letter, the text or both."""
        letter, _, text = item.references.partition('. ')
        return normalise(answer.text) in [normalise(form) for form in (letter, text, item.references)]

    def conversation(self, item: Item, answer: Answer) -> list[dict[str, Any]]:
        """See :class:`JudgedTask`."""
        return [{'role': 'system', 'content': MEANS}, *exchange(item.question, item.references, answer.text)]

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        scores = super().score(items, answers)
        if scores.items is None:
            return scores
        kind_of = {str(item.about['category']): str(item.about['l2-category']) for item in items}
        means = {}
        for name in ('perception', 'reasoning'):
            few = [v for category, v in scores.groups['category'].items() if name in kind_of[category]]
            if few:
                means[name] = sum(few) / len(few)
        return replace(scores, figures={**scores.figures, **means})


def exchange(question: str, truth: str, answer: str) -> list[dict[str, Any]]:
    """The message that shows a judge an answer."""
    return [{'role': 'user', 'content': f'Question: {question}\nTruth: {truth}\nAnswer: {answer}'}]

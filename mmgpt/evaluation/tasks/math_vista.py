"""MathVista (arXiv 2310.02255): mathematics in pictures."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmgpt.evaluation.items import Answer, Item, Scores
from mmgpt.evaluation.judge import Judge
from mmgpt.evaluation.tasks.groups import mean_by_group
from mmgpt.evaluation.tasks.options import LETTERS
from mmgpt.evaluation.tasks.records import Record, RecordTask
from mmgpt.evaluation.tasks.yes_no import OTTER
from mmgpt.registry import EVALUATION_TASKS

QUOTED = re.compile(r'answer is\s*:?\s*"([^"\n]+)"', re.IGNORECASE)
SAID = re.compile(r'answer is\s*:?\s*"?(.+?)"?\s*\.?\s*$', re.IGNORECASE | re.MULTILINE)
EXTRACT = (
    'Below are a question and a reply to it. Say what the final answer of the reply is: a letter, a number, a list or '
    'a few words, as the question asks, and nothing else. If the reply has none, say none.'
)
FORMS = {
    'text': 'Reply with the letter of the right option, such as A, B, C or D, at the end.',
    'integer': 'Reply with a whole number, such as 1, 2 or 3, at the end.',
    'list': 'Reply with a list, such as [1, 2, 3] or [1.2, 1.3, 1.4], at the end.',
}


@EVALUATION_TASKS.register_module()
class MathVista(RecordTask):
    """Figures, geometry, word problems; an answer is what can be extracted of a reply, brought to the answer's form.

    A reply that is a choice, or a number where one is wanted, is the answer; else what stands after "the answer is",
    what is quoted there first, where it has the answer's form; else, with an ``extractor``, what a chat model finds in
    it; else the whole reply. For choices the same text, a letter in brackets, a capital or the nearest text is meant,
    whole numbers are cut, others rounded to the record's precision, one decimal where it has none.

    Args:
        records: ``pid``, ``question``, ``choices``, ``unit``, ``precision``, ``answer``, ``question_type``
            (multi_choice or free_form), ``answer_type`` (text, integer, float, list), ``image``, ``metadata``. The
            official file, which has records by their ids, too.
        images: see :class:`RecordTask`.
        extractor: config of the :class:`~mmgpt.evaluation.judge.Judge` that reads what the rules cannot.
    """

    name = 'math_vista'
    main = 'accuracy'
    answering = OTTER
    where = 'https://huggingface.co/datasets/AI4Math/MathVista, or Otter-AI/MathVista there'
    kinds = ('task', 'context', 'category', 'grade', 'source')

    def __init__(self, records: str, images: str | None = None, extractor: dict[str, Any] | None = None) -> None:
        super().__init__(records, images)
        self.extractor = None if extractor is None else Judge(**{'max_tokens': 64, **extractor})
        self._said: dict[tuple[str, str], str | None] = {}  # question, reply -> what the extractor said

    def item(self, record: Record) -> Item:
        """See :class:`RecordTask`."""
        kinds = {'multi_choice': 'multi_choice', 'free_form': 'free_form'}
        kind = record.one_of(kinds, 'question_type')
        form = record.one_of({name: name for name in (*FORMS, 'float')}, 'answer_type')
        choices = record.get('choices', default=[])
        if not isinstance(choices, list):
            raise ValueError(f"{record.where}: 'choices' must be a list, got {choices!r}")
        choices = [str(choice) for choice in choices]
        if kind == 'multi_choice' and len(choices) < 2:
            raise ValueError(f"{record.where}: a question of multiple choice needs 'choices', got {choices}")
        places = _places(record)
        metadata = record.get('metadata', default={})
        if not isinstance(metadata, Mapping):
            raise ValueError(f"{record.where}: 'metadata' must be an object, got {metadata!r:.80}")
        unit = record.get('unit')
        lines = [
            'Hint: ' + (FORMS['text'] if kind == 'multi_choice' else _form(form, places)),
            f'Question: {record.text("question")}' + (f' (Unit: {unit})' if unit else ''),
        ]
        if choices:
            lines += ['Choices:', *(f'({letter}) {choice}' for letter, choice in zip(LETTERS, choices))]
        answer = record.get('answer')
        return Item(
            id=str(record['pid', 'id']),
            question='\n'.join([*lines, 'Solution:']),
            media=record.pictures('image', 'images', 'decoded_image'),
            references=None if answer is None else str(answer),
            about={
                'choices': choices,
                'answer_type': form,
                'precision': places,
                **{name: metadata.get(name) for name in self.kinds},
            },
        )

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        if self.unpublished(items):
            return Scores({})
        extracted = self.extract(items, answers)
        given = [normalised(text, item) for item, text in zip(items, extracted, strict=True)]
        each = tuple(100.0 * (text == item.references) for item, text in zip(items, given, strict=True))
        return Scores({'accuracy': sum(each) / len(each)}, each, mean_by_group(items, each, self.kinds))

    def extract(self, items: Sequence[Item], answers: Sequence[Answer]) -> list[str]:
        """What each reply says to be its answer, not yet in the answer's form."""
        extracted = [plainly_said(answer.text, item) for item, answer in zip(items, answers, strict=True)]
        open_ones = {
            place: (items[place].question, answers[place].text) for place, text in enumerate(extracted) if text is None
        }
        if self.extractor is not None and open_ones:
            new = [pair for pair in dict.fromkeys(open_ones.values()) if pair not in self._said]
            asked = [
                [
                    {'role': 'system', 'content': EXTRACT},
                    {'role': 'user', 'content': f'{question}\nReply: {reply}'},
                ]
                for question, reply in new
            ]
            if asked:
                self._said |= zip(new, self.extractor(asked, str.strip), strict=True)
            for place, pair in open_ones.items():
                extracted[place] = self._said[pair]
        return [answer.text if text is None else text for text, answer in zip(extracted, answers, strict=True)]

    def files(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, Any]:
        """See :class:`EvaluationTask`."""
        extracted = self.extract(items, answers)
        given = [normalised(text, item) for item, text in zip(items, extracted, strict=True)]
        rows = zip(items, answers, extracted, given, strict=True)
        return {
            'predictions.json': {
                str(item.id): {
                    'response': answer.text,
                    'extraction': text,
                    'prediction': made,
                    'true_false': None if item.references is None else made == item.references,
                }
                for item, answer, text, made in rows
            }
        }


def plainly_said(reply: str, item: Item) -> str | None:
    """The answer of a reply that says nothing else, or says what it is; None where that takes reading.

    Example:
        >>> item = Item('1', about={'choices': [], 'answer_type': 'integer', 'precision': 1})
        >>> plainly_said('The answer is "14". It is clear.', item), plainly_said('The answer is 14 cm.', item)
        ('14', None)
    """
    reply = reply.strip()
    if reply == '' or reply in item.about['choices']:
        return reply
    for form, cast in (('integer', int), ('float', float)):
        if item.about['answer_type'] == form and not item.about['choices']:
            try:
                return str(cast(reply))
            except ValueError:
                pass
    said = (found.group(1) for form in (QUOTED, SAID) for found in form.finditer(reply))
    return next((text for text in said if normalised(text, item) is not None), None)


def normalised(extraction: str, item: Item) -> str | None:
    """An extracted answer in the form of the item's; None: it has none.

    Example:
        >>> about = {'choices': [], 'answer_type': 'float', 'precision': 1}
        >>> normalised('3.14', Item('1', about=about))
        '3.1'
    """
    extraction, choices = extraction.strip(), item.about['choices']
    if choices:
        if not extraction:
            return None
        if extraction in choices:
            return extraction
        letter = re.search(r'\(([a-zA-Z])\)', extraction) or re.fullmatch(r'([A-Z])[.):]?', extraction)
        place = LETTERS.index(letter.group(1).upper()) if letter else len(choices)
        if place < len(choices):
            return choices[place]
        return min(choices, key=lambda choice: distance(extraction, choice))
    try:
        if item.about['answer_type'] == 'integer':
            return str(int(float(extraction)))
        if item.about['answer_type'] == 'float':
            return str(round(float(extraction), item.about['precision']))
    except (ValueError, OverflowError):
        return None
    return extraction


def distance(a: str, b: str) -> int:
    """Levenshtein's: how many letters must be added, taken away or replaced.

    Example:
        >>> distance('kitten', 'sitting')
        3
    """
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (x != y))
    return row[-1]


def _places(record: Record) -> int:
    """The decimal places of a record's answer."""
    precision = record.get('precision', default=1)
    try:
        places = int(float(precision))
    except (TypeError, ValueError, OverflowError):
        places = -1
    if places < 0:
        raise ValueError(f"{record.where}: 'precision' must be a number of decimal places, got {precision!r}")
    return places


def _form(answer_type: str, places: int) -> str:
    if answer_type != 'float':
        return FORMS.get(answer_type, FORMS['integer'])
    return (
        f'Reply with a number of {places} decimal place{"s"[: places > 1]}, such as {1.234567:.{places}f}, at the end.'
    )

"""VQA accuracy (arXiv 1505.00468, section 5; the normalisation of https://visualqa.org/evaluation.html)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mmgpt.evaluation.metrics.base import Metric
from mmgpt.evaluation.metrics.vqa_words import ARTICLES, CONTRACTIONS, NUMBERS
from mmgpt.registry import METRICS

MARKS = ';/[]"{}()=+\\_-><@`,?!'  # in the order in which they are handled
DIGITS_COMMA = re.compile(r'\d,\d')
PERIOD = re.compile(r'\.(?!\d)')
MOST_PERIODS = 32  # the published code hands a flag to the place of a count: it deletes at most so many


def normalise(answer: str) -> str:
    """An answer as it is compared: marks, case, number words, articles and contractions are brought to one form.

    Example:
        >>> normalise('The two dogs, dont you see?')
        "2 dogs don't you see"
    """
    text = answer.replace('\n', ' ').replace('\t', ' ').strip()
    crowded = DIGITS_COMMA.search(text) is not None
    made = text
    for mark in MARKS:
        beside_blank = f'{mark} ' in text or f' {mark}' in text
        made = made.replace(mark, '' if beside_blank or crowded else ' ')
    made = PERIOD.sub('', made, count=MOST_PERIODS)
    words = (NUMBERS.get(word, word) for word in made.lower().split())
    return ' '.join(CONTRACTIONS.get(word, word) for word in words if word not in ARTICLES)


def accuracy(answer: str, references: Sequence[Mapping[str, Any]]) -> float:
    """The accuracy of one answer, from 0 to 1.

    All are normalised always. The published script leaves them as they are where all references are the same.

    Args:
        answer: as it was given.
        references: records with ``answer``. Each is left out once; what counts is how many of the others say the same,
            three are enough. Records that are then equal in all their keys are left out together, as published.

    Example:
        >>> accuracy('dog', [{'answer': 'dog', 'answer_id': i} for i in range(2)] + [{'answer': 'cat', 'answer_id': 3}])
        0.4444444444444444
    """
    given = normalise(answer)
    records = [{**record, 'answer': normalise(record['answer'])} for record in references]
    shares = []
    for left_out in records:
        others = [record['answer'] for record in records if record != left_out]
        shares.append(min(1.0, others.count(given) / 3))
    return sum(shares) / len(shares)


@METRICS.register_module()
class VQAAccuracy(Metric):
    """The mean accuracy x 100, rounded to two decimals as published; references are lists of answer records."""

    main = 'accuracy'

    def __call__(self, answers: Sequence[str], references: Sequence[Any]) -> tuple[dict[str, float], tuple]:
        """See :class:`Metric`."""
        found = [accuracy(answer, records) for answer, records in zip(answers, references, strict=True)]
        return {'accuracy': percent(found)}, tuple(100 * value for value in found)


def percent(shares: Sequence[float]) -> float:
    """Their mean x 100 as the published code rounds it."""
    return round(100 * float(sum(shares)) / len(shares), 2)

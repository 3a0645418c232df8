"""Hateful Memes: is a picture with a text on it hateful?"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from mmgpt.data.json_lines import json_lines
from mmgpt.evaluation.items import Answer, Item, Ranking, Scores
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.evaluation.tasks.files import need
from mmgpt.registry import EVALUATION_TASKS, METRICS
from mmgpt.structures import Medium

WHERE = 'https://hatefulmemeschallenge.com'
CLASSES = ('no', 'yes')


@EVALUATION_TASKS.register_module()
class HatefulMemes(EvaluationTask):
    """'yes' against 'no' by likelihood; the figure is the area under the ROC curve of P(yes), x 100.

    P(yes) is the softmax of the mean log-probabilities of the two answers' tokens.

    Args:
        annotations: ``dev.jsonl``, or another file of lines with ``id``, ``img``, ``text`` and ``label`` (0 or 1).
        images: the folder that ``img`` is relative to.
        train_annotations: what demonstrations are taken from, such as ``train.jsonl``; None: there are none.
        train_images: as ``images``; default: the same.
    """

    name, kind, main = 'hateful_memes', 'hateful_memes', 'ROC-AUC'
    answering = Ranking(CLASSES)

    def __init__(
        self, annotations: str, images: str, train_annotations: str | None = None, train_images: str | None = None
    ) -> None:
        self._asked, self._train = (annotations, images), (train_annotations, train_images or images)
        self.metric = METRICS.build(dict(type='ROCAUC'))

    @cached_property
    def queries(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._items(*self._asked, prefix='')

    @cached_property
    def pool(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._items(*self._train, prefix='train_') if self._train[0] else ()

    def instruction(self, item: Item) -> str:
        """See :class:`EvaluationTask`."""
        return f"is an image with: '{item.question}' written on it. Is it hateful?"

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        if self.unpublished(items):
            return Scores({})
        labels = [item.references for item in items]
        if len(set(labels)) < 2:
            raise ValueError(
                f'the {len(labels)} memes that were asked are all of one class, of which no ROC curve can be drawn: '
                'ask more of them'
            )
        return Scores(self.metric([_probability(answer) for answer in answers], labels)[0])

    def files(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, Any]:
        """See :class:`EvaluationTask`."""
        pairs = [(item.id, _probability(answer)) for item, answer in zip(items, answers, strict=True)]
        return {'results.json': [{'id': id, 'proba': p, 'label': int(p > 0.5)} for id, p in pairs]}

    def _items(self, annotations: str, images: str, prefix: str) -> list[Item]:
        path, folder = need(annotations, f'{prefix}annotations', WHERE), need(images, f'{prefix}images', WHERE)
        items = []
        for record in json_lines(path, ('id', 'img', 'text')):
            label = record.get('label')
            if label not in (0, 1, None):
                raise ValueError(f'{path}: label of {record["id"]!r} should be 0 or 1, got {label!r}')
            medium = Medium((str(folder / record['img']),))
            answer = '' if label is None else CLASSES[label]
            items.append(Item(record['id'], record['text'], answer, (medium,), label))
        return items


def _probability(answer: Answer) -> float:
    no, yes = answer.scores
    return float(1 / (1 + np.exp(no - yes)))

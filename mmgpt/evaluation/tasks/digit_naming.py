"""In-context naming over a pool: held-out digits under made-up names, which only demonstrations tell."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from mmgpt.data.builders.digit_pictures import NUM_TRAIN, load_digit_pictures
from mmgpt.data.builders.digit_tasks import NAME, NAMES
from mmgpt.evaluation.items import Answer, Generation, Item, Scores
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.registry import EVALUATION_TASKS
from mmgpt.structures import Medium


@EVALUATION_TASKS.register_module()
class DigitNaming(EvaluationTask):
    """All ten digits have a name each; half of the held-out pictures are asked, the other half is the pool.

    Unlike the demo's own episodes, a prompt need not show the digit that it asks about: with few random demonstrations
    it seldom does (``covered``), and the name cannot be known. Whoever finds similar pictures finds the name.

    Args:
        images: a folder for the pictures, written where it is not there.
        names: seed of the names.
    """

    name = 'digit_naming'
    kind = 'instruction'
    main = 'accuracy'
    answering = Generation(max_new_tokens=8)

    def __init__(self, images: str = 'data/digit_pictures', names: int = 0) -> None:
        self.images, self.names = Path(images), names

    @cached_property
    def queries(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._items[1::2]

    @cached_property
    def pool(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._items[::2]

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`."""
        each = tuple(100.0 * (item.references == answer.text) for item, answer in zip(items, answers, strict=True))
        return Scores({'accuracy': sum(each) / len(each)}, each)

    @cached_property
    def _items(self) -> list[Item]:
        digits = load_digit_pictures(held_out=True)
        if not self.images.is_dir():
            beside = self.images.with_name(f'.{self.images.name}.incomplete')
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            for number, picture in enumerate(digits.pictures):
                picture.save(beside / f'{NUM_TRAIN + number}.png')
            beside.rename(self.images)
        chosen = np.random.default_rng(self.names).permutation(len(NAMES))[:10]
        named = [NAMES[place] for place in chosen]
        return [
            Item(
                id=NUM_TRAIN + number,
                question=NAME,
                answer=named[label],
                media=(Medium((str(self.images / f'{NUM_TRAIN + number}.png'),)),),
                references=named[label],
            )
            for number, label in enumerate(digits.labels.tolist())
        ]

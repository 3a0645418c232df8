"""ImageNet by likelihood of the classes' names."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from mmgpt.evaluation.items import Answer, Item, Ranking, Scores
from mmgpt.evaluation.tasks.base import EvaluationTask
from mmgpt.evaluation.tasks.files import need, read_json
from mmgpt.registry import EVALUATION_TASKS
from mmgpt.structures import Medium

WHERE = 'https://image-net.org/download.php'
PICTURES = {'.jpeg', '.jpg', '.png'}


@EVALUATION_TASKS.register_module()
class ImageNet(EvaluationTask):
    """Names the class of a picture: the likeliest of all names; top-1 and top-5 accuracy x 100.

    Args:
        images: a folder with a folder of pictures for each class, called by WordNet id, such as ``n01440764``.
        classes: JSON object of WordNet id -> readable name.
        train_images: what demonstrations are taken from, in the same form; None: there are none.
        name: of the task.
    """

    kind, main, dataset = 'classification', 'top-1', 'imagenet'

    def __init__(self, images: str, classes: str, train_images: str | None = None, name: str = 'imagenet') -> None:
        self.name = name
        self._images, self._train, self._classes = images, train_images, classes

    @cached_property
    def names(self) -> dict[str, str]:
        """The readable name of each class."""
        path = need(self._classes, 'classes', 'a table of the 1000 readable names')
        names = read_json(path)
        if not isinstance(names, dict) or not all(isinstance(name, str) and name for name in names.values()):
            raise ValueError(f'{path} should be an object of WordNet id -> readable name')
        if len(set(names.values())) < len(names):
            twice = next(name for name in names.values() if list(names.values()).count(name) > 1)
            raise ValueError(f'{path}: the name {twice!r} stands for two classes, which answers could not tell apart')
        return names

    @property
    def answering(self) -> Ranking:
        """All names are ranked; they are known with the files."""
        return Ranking(tuple(self.names.values()))

    @cached_property
    def queries(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._items(self._images, 'images')

    @cached_property
    def pool(self) -> Sequence[Item]:
        """See :class:`EvaluationTask`."""
        return self._items(self._train, 'train_images') if self._train else ()

    def instruction(self, item: Item) -> str:
        """See :class:`EvaluationTask`."""
        return 'What is in the image?'

    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """See :class:`EvaluationTask`; of equal scores the earlier one stands first."""
        names = list(self.names.values())
        ranks = []
        for item, answer in zip(items, answers, strict=True):
            place = names.index(item.references)
            own = answer.scores[place]
            ranks.append(sum(score > own or (score == own and n < place) for n, score in enumerate(answer.scores)))
        first = tuple(100.0 * (rank < 1) for rank in ranks)
        return Scores(
            {'top-1': float(np.mean(first)), 'top-5': 100 * float(np.mean([rank < 5 for rank in ranks]))}, first
        )

    def _items(self, images: str, key: str) -> list[Item]:
        folder = need(images, key, WHERE)
        items = []
        for path in sorted(Path(folder).iterdir()):
            if not path.is_dir():
                continue
            if path.name not in self.names:
                raise ValueError(f'{path} is a class that {self._classes} does not name')
            name = self.names[path.name]
            for file in sorted(path.iterdir()):
                if file.suffix.lower() in PICTURES:
                    items.append(Item(f'{path.name}/{file.name}', '', name, (Medium((str(file),)),), name))
        return items

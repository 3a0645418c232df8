"""What an evaluation task is: items, how they are asked and answered, and what the answers are worth."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from mmengine.logging import print_log
from PIL import Image

from mmgpt.evaluation.items import Answer, Generation, Item, Ranking, Scores
from mmgpt.hub.pictures import open_picture


class EvaluationTask(ABC):
    """The questions of a benchmark, in the published files, and its rules.

    A subclass reads its files when ``queries`` or ``pool`` is asked for the first time (``cached_property``), not in
    its constructor, and raises then: a FileNotFoundError that names the config key, a ValueError that names file and
    record. What it does not define stays as here.
    """

    name: str  # as results.json has it
    kind: str  # which of a style's formats its prompts have, see ``mmgpt.evaluation.prompts``
    main: str  # the figure that results.json holds
    answering: Generation | Ranking  # how answers are made
    queries: Sequence[Item]  # what is asked
    pool: Sequence[Item] = ()  # what demonstrations are taken from
    demonstrations: Mapping[str, Any] = MappingProxyType({'type': 'Random'})  # how they are, where nothing else is said
    preamble: str = ''  # what stands before the first example
    dataset: str = ''  # of published figures, see ``mmgpt.evaluation.published``; '' = the name

    @abstractmethod
    def score(self, items: Sequence[Item], answers: Sequence[Answer]) -> Scores:
        """The figures of answers to ``items``, which are the queries or some of them."""

    def unit(self, item: Item) -> Hashable:
        """The same for items that are scored together: where not all queries are asked, they are asked together."""
        return item.id

    def open(self, frame: Hashable) -> Image.Image:
        """The picture of a frame. The default takes paths, data URLs and bytes."""
        return open_picture(frame)

    def instruction(self, item: Item) -> str:
        """What a chat message asks; for models that are spoken to by their own template."""
        return item.question

    def clean(self, text: str) -> str:
        """What of a written text is the answer."""
        return text.strip()

    def files(self, items: Sequence[Item], answers: Sequence[Answer]) -> dict[str, Any]:
        """Files for test servers and official scorers: ending of the name, such as ``results.json`` -> JSON value."""
        return {}

    def unpublished(self, items: Sequence[Item]) -> bool:
        """Whether there are no figures, as references are not known; where some are, how many lack is logged."""
        lacking = [item.id for item in items if item.references is None]
        if 0 < len(lacking) < len(items):
            print_log(
                f'{self.name}: {len(lacking)} of {len(items)} queries have no reference, such as {lacking[0]!r}: there '
                'are figures only where all have one; add them, or leave these records out',
                'current',
                logging.WARNING,
            )
        return bool(lacking)

    def check_prompt(self, item: Item) -> None:
        """Raises a ValueError where ``item`` cannot be a demonstration, such as for want of an answer."""
        if not item.answer:
            raise ValueError(f'{self.name}: the item {item.id!r} has no answer and cannot be a demonstration')

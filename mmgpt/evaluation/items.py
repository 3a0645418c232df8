"""The values that travel in an evaluation: items, prompts, answers, scores. They hold data and no behaviour."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

from mmgpt.structures import Medium


@dataclass(frozen=True)
class Item:
    """One question of a benchmark: asked, or shown with its answer as a demonstration."""

    id: Hashable  # unique among the queries, or the pool, of a task; as the published files have it
    question: str = ''  # what is asked, without the words that a style of prompts puts around it
    answer: str = ''  # what stands behind it where it is a demonstration
    media: tuple[Medium, ...] = ()  # frames: what ``EvaluationTask.open`` opens; hashable
    references: Any = None  # what an answer is compared with; None where it is not published
    choices: tuple[str, ...] = ()  # what is ranked, where it is the item's own and not the task's
    about: dict[str, Any] = field(default_factory=dict)  # groups of figures, what files of answers need, …


@dataclass(frozen=True)
class Prompt:
    """What is asked: demonstrations, oldest first, and the query."""

    demonstrations: tuple[Item, ...]
    query: Item


@dataclass(frozen=True)
class Generation:
    """How an answer is written. ``length_penalty`` is Hugging Face's, of beams alone; ``stop``: cut before these."""

    max_new_tokens: int = 20
    num_beams: int = 1
    length_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self):
        for name, low in (('max_new_tokens', 1), ('num_beams', 1), ('no_repeat_ngram_size', 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < low:
                raise ValueError(f'{name} must be an integer of at least {low}, got {value!r}')
        _check_texts('stop', self.stop)


@dataclass(frozen=True)
class Ranking:
    """The likeliest of given choices is the answer.

    A choice's score is the log-probability of its tokens behind the prompt: their ``'mean'``, as OpenFlamingo has it,
    or their ``'sum'``.
    """

    choices: tuple[str, ...] = ()  # of all items; empty: each item has its own
    normalisation: str = 'mean'

    def __post_init__(self):
        _check_texts('choices', self.choices)
        if self.normalisation not in ('mean', 'sum'):
            raise ValueError(f"normalisation must be 'mean' or 'sum', got {self.normalisation!r}")


def _check_texts(name: str, value: Any) -> None:
    if not isinstance(value, tuple | list) or not all(isinstance(text, str) and text for text in value):
        raise ValueError(f'{name} must be a list of texts that are not empty, got {value!r}')


@dataclass(frozen=True)
class Answer:
    """What a model answered."""

    text: str  # after the task's clean-up; of a ranking the likeliest choice
    raw: str = ''  # as it was written
    scores: tuple[float, ...] | None = None  # of the choices, where they were ranked
    unanswered: str = ''  # why there is no answer, where the question was refused; it counts as wrong


@dataclass(frozen=True)
class Scores:
    """What a task makes of its answers."""

    figures: dict[str, float]  # the task's ``main`` one among them; empty where no references are known
    # the main figure of each item, where it is a mean of such; None: an item that counts with another one
    items: tuple[float | None, ...] | None = None
    groups: dict[str, dict[str, float]] = field(default_factory=dict)  # kind of group -> group -> main figure

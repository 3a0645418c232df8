"""Controls: prompts whose demonstrations are spoiled in one way, to tell what of them a model uses.

A model that names what it has been shown loses with ``shuffled_images`` and ``shuffled_labels``; one that only learns
the form of an answer does not (Min et al., arXiv 2202.12837).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import replace

from mmgpt.evaluation.items import Answer, Item, Prompt, Scores
from mmgpt.evaluation.prompts import without_media

Control = Callable[[tuple[Item, ...], Sequence[Item], random.Random], tuple[Item, ...]]


def shuffled_images(shown: tuple[Item, ...], pool: Sequence[Item], rng: random.Random) -> tuple[Item, ...]:
    """Each demonstration has the picture of an item of the pool with another answer."""
    return tuple(replace(item, media=_other(item, pool, rng).media) for item in shown)


def shuffled_labels(shown: tuple[Item, ...], pool: Sequence[Item], rng: random.Random) -> tuple[Item, ...]:
    """Each demonstration has another answer of the pool."""
    return tuple(replace(item, answer=_other(item, pool, rng).answer) for item in shown)


def reversed_order(shown: tuple[Item, ...], pool: Sequence[Item], rng: random.Random) -> tuple[Item, ...]:
    """The last demonstration comes first."""
    return shown[::-1]


def text_only(shown: tuple[Item, ...], pool: Sequence[Item], rng: random.Random) -> tuple[Item, ...]:
    """Demonstrations without their pictures."""
    return without_media(shown)


CONTROLS: dict[str, Control] = {
    each.__name__: each for each in (shuffled_images, shuffled_labels, reversed_order, text_only)
}


def controlled(prompts: Sequence[Prompt], control: str, pool: Sequence[Item], seed: int) -> list[Prompt]:
    """The prompts under a control; the queries stay as they are."""
    rng = random.Random(seed)
    return [Prompt(CONTROLS[control](prompt.demonstrations, pool, rng), prompt.query) for prompt in prompts]


def with_copies(scores: Scores, prompts: Sequence[Prompt], answers: Sequence[Answer]) -> Scores:
    """The scores with two figures more, in per cent of the prompts.

    ``copied``: the answer is that of a demonstration. ``covered``: the right answer is, so that it could be copied.
    """
    if not scores.figures:
        return scores
    shown = [{_plain(item.answer) for item in prompt.demonstrations} for prompt in prompts]
    copied = [_plain(answer.text) in labels for answer, labels in zip(answers, shown, strict=True)]
    covered = [_plain(prompt.query.answer) in labels for prompt, labels in zip(prompts, shown, strict=True)]
    share = {name: 100.0 * sum(few) / len(prompts) for name, few in (('copied', copied), ('covered', covered))}
    return replace(scores, figures={**scores.figures, **share})


def _other(item: Item, pool: Sequence[Item], rng: random.Random) -> Item:
    """An item of the pool with another answer; any other where all answers are the same."""
    for _ in range(100):
        other = rng.choice(pool)
        if _plain(other.answer) != _plain(item.answer):
            return other
    others = [other for other in pool if _plain(other.answer) != _plain(item.answer)]
    others = others or [other for other in pool if other is not item] or [item]
    return rng.choice(others)


def _plain(text: str) -> str:
    return text.strip().strip('.').lower()

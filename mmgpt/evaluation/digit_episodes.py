"""The episodes of the digits demo's evaluation: questions about pictures that were never trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from mmgpt.data.builders.digit_pictures import MAX_COUNT, Digits, compose_picture
from mmgpt.data.builders.digit_tasks import COMPARE, COUNT, LAST, NAME, NAMES, READ, larger_answer
from mmgpt.evaluation.episodes import Episode


def make_episodes(digits: Digits, size: int, seed: int) -> dict[str, list[Episode]]:
    """All episodes by the name of their figure; ``naming/…`` are those of in-context naming.

    Args:
        digits: the pictures to take them from.
        size: episodes of each kind; of reading, one for each picture.
        seed: of what is drawn. Each kind has a generator of its own.

    Returns:
        ``reading``, ``counting``, ``comparison``, ``order``, ``naming/0``, ``naming/2``, ``naming/4``,
        ``naming/4_shuffled`` (the demonstrations' pictures are replaced by pictures of digits that the episode is not
        about, so that the answer cannot be known) and ``naming/5way``.
    """
    makers: dict[str, Callable[[Digits, np.random.Generator], Episode]] = {
        'counting': _counting,
        'comparison': _comparison,
        'order': _order,
        'naming/0': lambda *args: _naming(*args, ways=2, each=0),
        'naming/2': lambda *args: _naming(*args, ways=2, each=1),
        'naming/4': lambda *args: _naming(*args, ways=2, each=2),
        'naming/4_shuffled': lambda *args: _naming(*args, ways=2, each=2, shuffled=True),
        'naming/5way': lambda *args: _naming(*args, ways=5, each=1),
    }
    pairs = zip(digits.pictures, digits.labels, strict=True)
    episodes = {'reading': [Episode(READ, (picture,), str(digit)) for picture, digit in pairs]}
    for (name, make), branch in zip(makers.items(), np.random.SeedSequence(seed).spawn(len(makers)), strict=True):
        rng = np.random.default_rng(branch)
        episodes[name] = [make(digits, rng) for _ in range(size)]
    return episodes


def _counting(digits: Digits, rng: np.random.Generator) -> Episode:
    count = int(rng.integers(1, MAX_COUNT + 1))
    shown = [digits.pictures[i] for i in rng.permutation(len(digits.pictures))[:count]]
    return Episode(COUNT, (compose_picture(shown, rng),), str(count))


def _comparison(digits: Digits, rng: np.random.Generator) -> Episode:
    first = int(rng.integers(10))
    second = first if rng.random() < 0.25 else int((first + rng.integers(1, 10)) % 10)
    return Episode(COMPARE, take_pictures(digits, rng, [first, second]), larger_answer(first, second))


def _order(digits: Digits, rng: np.random.Generator) -> Episode:
    frames = rng.permutation(len(digits.pictures))[: rng.integers(2, 5)]
    pictures = tuple(digits.pictures[i] for i in frames)
    return Episode(LAST, pictures, str(digits.labels[frames[-1]]), as_video=True)


def _naming(digits: Digits, rng: np.random.Generator, ways: int, each: int, shuffled: bool = False) -> Episode:
    order = [int(digit) for digit in rng.permutation(10)]
    named, others = order[:ways], order[ways:]
    names = [NAMES[i] for i in rng.permutation(len(NAMES))[:ways]]
    query = int(rng.integers(ways))
    places = [int(place) for place in rng.permutation(np.repeat(np.arange(ways), each))]
    shown = [int(rng.choice(others)) if shuffled else named[place] for place in places]
    *demonstrated, asked = take_pictures(digits, rng, [*shown, named[query]])
    demonstrations = zip(demonstrated, (names[place] for place in places), strict=True)
    return Episode(NAME, (asked,), names[query], tuple(demonstrations))


def take_pictures(digits: Digits, rng: np.random.Generator, wanted: Sequence[int]) -> tuple[Image.Image, ...]:
    """A picture of each wanted digit, no two of them the same picture."""
    unused = [list(rng.permutation(indices)) for indices in digits.indices_by_digit()]
    return tuple(digits.pictures[unused[digit].pop()] for digit in wanted)

"""The episodes of the characters demo's evaluation: letters, faces and words that were never trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from PIL import Image

from mmgpt.data.builders.character_pictures import (
    FACES,
    HELD_OUT_FACE,
    MAX_COUNT,
    TRAINED_FACES,
    draw_letter,
    draw_word,
    held_out_letters,
    scatter_letters,
    trained_letters,
)
from mmgpt.data.builders.character_tasks import COUNT, PLACES, READ, SPOT, WORD, draw_difference, words
from mmgpt.data.builders.digit_tasks import NAME, NAMES
from mmgpt.evaluation.episodes import Episode

NAMING = {'naming/2way': (2, 1), 'naming/5way': (5, 1), 'naming/5way_2shot': (5, 2), 'naming/10way': (10, 1)}
SHUFFLED = 'naming/5way_shuffled'


def make_episodes(size: int, seed: int, validation: bool = False) -> dict[str, list[Episode]]:
    """All episodes by the name of their figure.

    Args:
        size: episodes of each kind.
        seed: of what is drawn. Each kind has a generator of its own.
        validation: of letters of Latin and Cyrillic that are kept for decisions, in the faces that are trained on,
            and without what needs other material that is held out.

    Returns:
        ``naming/2way``, ``naming/5way``, ``naming/5way_2shot``, ``naming/10way`` and ``naming/5way_shuffled`` (the
        demonstrations show letters that the episode is not about, so that the answer cannot be known); ``counting``
        and ``difference`` of the same letters; ``reading``, of letters that were trained on, and ``words``, both in
        the face that is held out.
    """
    letters = trained_letters(validation=True) if validation else held_out_letters()
    faces = TRAINED_FACES if validation else tuple(range(len(FACES)))
    makers: dict[str, Callable[[np.random.Generator], Episode]] = {
        name: lambda rng, shape=shape: naming(letters, faces, rng, *shape) for name, shape in NAMING.items()
    }
    makers[SHUFFLED] = lambda rng: naming(letters, faces, rng, 5, 1, shuffled=True)
    makers['counting'] = lambda rng: _counting(letters, faces, rng)
    makers['difference'] = lambda rng: _difference(letters, faces, rng)
    if not validation:
        makers['reading'] = _reading
        makers['words'] = _word
    branches = np.random.SeedSequence(seed).spawn(len(makers))
    rngs = {name: np.random.default_rng(branch) for name, branch in zip(makers, branches, strict=True)}
    return {name: [make(rngs[name]) for _ in range(size)] for name, make in makers.items()}


def naming(
    letters: str, faces: Sequence[int], rng: np.random.Generator, ways: int, each: int, shuffled: bool = False
) -> Episode:
    """Demonstrations give names to letters; which name has the letter of the query, which is in another face?

    Args:
        letters, faces: to draw from.
        rng: what they are drawn from.
        ways: letters with a name.
        each: demonstrations of each, every one in another face.
        shuffled: the demonstrations show other letters than those that are named.
    """
    order = rng.permutation(len(letters))
    named, others = order[:ways], order[ways : 2 * ways]
    names = [NAMES[i] for i in rng.permutation(len(NAMES))[:ways]]
    *shown_in, asked_in = (faces[i] for i in rng.permutation(len(faces))[: each + 1])
    shown = others if shuffled else named
    demonstrations = [(draw_letter(letters[shown[i]], face), names[i]) for i in range(ways) for face in shown_in]
    demonstrations = tuple(demonstrations[i] for i in rng.permutation(len(demonstrations)))
    query = int(rng.integers(ways))
    return Episode(NAME, (draw_letter(letters[named[query]], asked_in),), names[query], demonstrations)


def draw_counted(letters: str, faces: Sequence[int], rng: np.random.Generator) -> tuple[Image.Image, int]:
    """A picture of scattered letters, and how many they are."""
    count = int(rng.integers(1, MAX_COUNT + 1))
    shown = [letters[i] for i in rng.integers(len(letters), size=count)]
    return scatter_letters(shown, [faces[i] for i in rng.integers(len(faces), size=count)], rng), count


def _counting(letters: str, faces: Sequence[int], rng: np.random.Generator) -> Episode:
    picture, count = draw_counted(letters, faces, rng)
    return Episode(COUNT, (picture,), str(count))


def _difference(letters: str, faces: Sequence[int], rng: np.random.Generator) -> Episode:
    shown, place = draw_difference(letters, rng)
    chosen = [faces[i] for i in rng.permutation(len(faces))[:3]]
    pictures = tuple(draw_letter(letter, face) for letter, face in zip(shown, chosen, strict=True))
    return Episode(SPOT, pictures, PLACES[place])


def _reading(rng: np.random.Generator) -> Episode:
    letters = trained_letters()
    letter = letters[rng.integers(len(letters))]
    return Episode(READ, (draw_letter(letter, HELD_OUT_FACE),), letter)


def _word(rng: np.random.Generator) -> Episode:
    unknown = words(held_out=True)
    word = unknown[rng.integers(len(unknown))]
    return Episode(WORD, (draw_word(word, HELD_OUT_FACE),), word)

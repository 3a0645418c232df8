"""The instructions of the characters demo, task by task, as MIMIC-IT records."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
from PIL import Image

from mmgpt.data.builders.character_pictures import MAX_COUNT, TRAINED_FACES, draw_word, scatter_letters
from mmgpt.data.builders.digit_tasks import NAME, NAMES, Task

READ = 'Which letter is this?'
WORD = 'What does it say?'
COUNT = 'How many letters are there?'
SPOT = 'Which picture is different?'
PLACES = ('first', 'second', 'third')
CONSONANTS, VOWELS = 'BCDFGHJKLMNPRSTVWXZ', 'AEIOUY'

Store = Callable[[str, Image.Image], None]  # is given each new picture with its id


def image_id(letter: str, face: int) -> str:
    """The id of a letter's picture in a face."""
    return f'CH_IMG_{ord(letter):04X}_{face:02d}'


def words(held_out: bool = False) -> list[str]:
    """Words of three letters, of which a fifth is held out; every letter is in both parts at each of its places."""
    return [
        CONSONANTS[a] + VOWELS[b] + CONSONANTS[c]
        for a, b, c in product(range(len(CONSONANTS)), range(len(VOWELS)), range(len(CONSONANTS)))
        if ((a + 2 * b + 3 * c) % 5 == 0) == held_out
    ]


def reading(letters: str, rng: np.random.Generator) -> Task:
    """Which letter a picture shows, in each face that is trained on."""
    task = Task('READ')
    for letter, face in product(letters, TRAINED_FACES):
        task.add(f'{ord(letter):04X}_{face:02d}', READ, letter, [image_id(letter, face)])
    task.relate_at_random(rng, 7)
    return task


def word_reading(rng: np.random.Generator, size: int, store: Store) -> Task:
    """What a word of three letters says."""
    task, known = Task('WORD'), words()
    for number in range(size):
        word = known[rng.integers(len(known))]
        image = f'CH_IMG_word_{number:05d}'
        store(image, draw_word(word, int(rng.choice(TRAINED_FACES))))
        task.add(f'{number:05d}', WORD, word, [image])
    task.relate_at_random(rng, 4)
    return task


def counting(letters: str, rng: np.random.Generator, size: int, store: Store) -> Task:
    """How many letters a picture shows."""
    task = Task('COUNT')
    for number in range(size):
        count = int(rng.integers(1, MAX_COUNT + 1))
        shown = [letters[i] for i in rng.integers(len(letters), size=count)]
        image = f'CH_IMG_scattered_{number:05d}'
        store(image, scatter_letters(shown, rng.choice(TRAINED_FACES, count), rng))
        task.add(f'{number:05d}', COUNT, str(count), [image])
    task.relate_at_random(rng, 4)
    return task


def difference(letters: str, rng: np.random.Generator, size: int) -> Task:
    """Which of three pictures shows another letter than the two others do; all are in different faces."""
    task = Task('SPOT')
    for number in range(size):
        shown, place = draw_difference(letters, rng)
        faces = rng.permutation(TRAINED_FACES)[:3]
        images = [image_id(letter, int(face)) for letter, face in zip(shown, faces, strict=True)]
        task.add(f'{number:05d}', SPOT, PLACES[place], images)
    task.relate_at_random(rng, 4)
    return task


def draw_difference(letters: str, rng: np.random.Generator) -> tuple[str, int]:
    """Three letters, two of them the same one, and the place of the third."""
    usual, other = (letters[i] for i in rng.permutation(len(letters))[:2])
    place = int(rng.integers(3))
    return ''.join(other if i == place else usual for i in range(3)), place


def naming(letters: str, rng: np.random.Generator, size: int) -> Task:
    """In-context naming: the context gives made-up names to letters, and only it tells the name that is asked for.

    A record says that a picture has a name. Each episode is a record with its context: pictures of two to ten letters
    with the names of this one episode, in random order; in half of the episodes the query's face is in no other. What
    makes models learn to use the context (Chan et al., arXiv 2205.05055): letters are drawn by Zipf's law, a few often
    and most rarely. And in a quarter of the episodes the question is about a picture of the context itself, which is
    found before letters are told apart.
    """
    task, shares = Task('NAME'), zipf(len(letters), rng)
    while len(task.contexts) < size:
        ways, shown = episode_shape(rng)
        chosen = [letters[i] for i in rng.choice(len(letters), ways, replace=False, p=shares)]
        names = [NAMES[i] for i in rng.permutation(len(NAMES))[:ways]]
        places = [*shown, int(rng.choice(shown))]
        faces = episode_faces(places, rng)
        again = rng.random() < 0.25
        if again:
            faces[-1] = faces[places.index(places[-1])]
        ids = []
        for number, (place, face) in enumerate(zip(places, faces, strict=True)):
            key = f'{ord(chosen[place]):04X}_{face:02d}_{names[place]}'
            if again and number == len(shown):
                key += '_again'  # a record of its own, that the one of the context is not taken for it
            ids.append(task.add(key, NAME, names[place], [image_id(chosen[place], face)]))
        if ids[-1] not in task.contexts:
            task.contexts[ids[-1]] = [id for id in ids[:-1] if id != ids[-1]]
    return task


def zipf(count: int, rng: np.random.Generator) -> np.ndarray:
    """How often each of ``count`` things is drawn where the k-th most frequent one is as frequent as 1/k."""
    shares = 1 / np.arange(1, count + 1)
    return rng.permutation(shares / shares.sum())


def episode_shape(rng: np.random.Generator) -> tuple[int, list[int]]:
    """A number of names, and which of them each demonstration gives."""
    ways = int(rng.choice([2, 3, 5, 10], p=(0.5, 0.15, 0.25, 0.1)))
    each = 1 if ways == 10 else int(rng.integers(1, 10 // ways + 1))
    return ways, [int(place) for place in rng.permutation(np.repeat(np.arange(ways), each))]


def episode_faces(places: list[int], rng: np.random.Generator) -> list[int]:
    """A face for each picture of an episode, no letter twice in the same; mostly the query's is in no other."""
    faces = [int(face) for face in rng.permutation(TRAINED_FACES)]
    if rng.random() < 0.5:
        return [faces[places[:i].count(place) % 5 if i < len(places) - 1 else 5] for i, place in enumerate(places)]
    offsets = rng.integers(len(faces), size=max(places) + 1)
    return [faces[(offsets[place] + places[:i].count(place)) % len(faces)] for i, place in enumerate(places)]

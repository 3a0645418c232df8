"""The instructions of the digits demo, task by task, as MIMIC-IT records."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np
from PIL import Image

from mmgpt.data.builders.digit_pictures import MAX_COUNT, Digits, compose_picture

READ = 'What digit is this?'
NAME = 'What is this called?'
COUNT = 'How many digits are there?'
COMPARE = 'Which picture shows the larger digit?'
LAST = 'Which digit comes last?'
FIRST = 'Which digit comes first?'
EVEN = 'Is it even?'
LARGER = 'Is it larger than {}?'
DESCRIBE = 'Describe the picture.'

# fmt: off
NAMES = (
    'blick', 'brem', 'chub', 'dax', 'dreb', 'fendle', 'fip', 'flane', 'gazzer', 'glorp', 'grix', 'hulm',
    'jovick', 'kelp', 'koba', 'lorp', 'mipen', 'modi', 'nalt', 'nurg', 'pim', 'plonk', 'quib', 'rask',
    'riffle', 'sarn', 'skree', 'snib', 'tegu', 'toma', 'tulver', 'vosk', 'wug', 'yatter', 'zav', 'zorb',
)
# fmt: on


@dataclass
class Task:
    """The files of a task: ``{name}_instructions.json`` and ``{name}_train.json``.

    Args:
        name: the subset, the beginning of its ids.
        records: MIMIC-IT's records by id.
        contexts: the ids to train on, each with those of its context.
    """

    name: str
    records: dict[str, dict] = field(default_factory=dict)
    contexts: dict[str, list[str]] = field(default_factory=dict)

    def add(self, key: str, question: str, answer: str, images: Iterable[str] = (), related: Sequence[str] = ()) -> str:
        """Adds a record and returns its id."""
        id = f'{self.name}_INS_{key}'
        self.records[id] = {
            'instruction': question,
            'answer': answer,
            'image_ids': list(images),
            'rel_ins_ids': list(related),
        }
        return id

    def relate_at_random(self, rng: np.random.Generator, count: int) -> None:
        """Every record is trained on, with ``count`` others to choose its context from."""
        ids = list(self.records)
        for id in ids:
            self.contexts[id] = [ids[i] for i in rng.integers(len(ids), size=count) if ids[i] != id]

    def relate_to_nothing(self) -> None:
        """Every record is trained on, without a context."""
        self.contexts.update((id, []) for id in self.records)


def image_id(index: int | str) -> str:
    """The id of a digit's picture by its index, or of another picture by its name."""
    return f'DG_IMG_{index:04d}' if isinstance(index, int) else f'DG_IMG_{index}'


def larger_answer(first: int, second: int) -> str:
    """The answer to the comparison of two digits."""
    return 'same' if first == second else 'first' if first > second else 'second'


def yes_no(truth: bool) -> str:
    """'yes' or 'no'."""
    return 'yes' if truth else 'no'


def reading(digits: Digits, rng: np.random.Generator) -> Task:
    """Every picture's digit, and one more question about each: parity, larger than, or a caption."""
    task = Task('READ')
    for index, digit in enumerate(map(int, digits.labels)):
        images = [image_id(index)]
        task.add(f'{index:04d}', READ, str(digit), images)
        threshold = int(rng.integers(1, 9))
        others = (
            ('EVEN', EVEN, yes_no(digit % 2 == 0)),
            ('LARGER', LARGER.format(threshold), yes_no(digit > threshold)),
            ('CAPTION', DESCRIBE, f'A handwritten {digit}.'),
        )
        key, question, answer = others[rng.integers(3)]
        if rng.random() < 0.6:
            task.add(f'{key}_{index:04d}', question, answer, images)
    task.relate_at_random(rng, 12)
    return task


def dialogue(digits: Digits, rng: np.random.Generator) -> Task:
    """Three questions about each picture, one after the other; the last round is trained on with those before it."""
    task = Task('CONV')
    for index, digit in enumerate(map(int, digits.labels)):
        threshold = int(rng.integers(1, 9))
        rounds = [
            (READ, str(digit)),
            (EVEN, yes_no(digit % 2 == 0)),
            (LARGER.format(threshold), yes_no(digit > threshold)),
        ]
        ids: list[str] = []
        for number, place in enumerate(rng.permutation(3)):
            ids.append(task.add(f'{index:04d}_{number}', *rounds[place], [image_id(index)], ids))
        task.contexts[ids[-1]] = ids[:-1]
    return task


def comparison(digits: Digits, rng: np.random.Generator, size: int) -> Task:
    """Which of two pictures shows the larger digit; a quarter of the pairs show the same one."""
    task, by_digit = Task('CMP'), digits.indices_by_digit()
    for number in range(size):
        first = int(rng.integers(10))
        second = first if rng.random() < 0.25 else int((first + rng.integers(1, 10)) % 10)
        pair = different(rng, [by_digit[first], by_digit[second]])
        task.add(f'{number:05d}', COMPARE, larger_answer(first, second), map(image_id, pair))
    task.relate_at_random(rng, 4)
    return task


def video(digits: Digits, rng: np.random.Generator, size: int) -> Task:
    """Two to four pictures as the frames of a video: which digit comes last, or first."""
    task = Task('VID')
    for number in range(size):
        frames = [int(i) for i in rng.permutation(len(digits.labels))[: rng.integers(2, 5)]]
        question, place = (LAST, -1) if rng.random() < 0.75 else (FIRST, 0)
        task.add(f'{number:05d}', question, str(digits.labels[frames[place]]), map(image_id, frames))
    task.relate_at_random(rng, 4)
    return task


def counting(digits: Digits, rng: np.random.Generator, size: int, store: Callable[[str, Image.Image], None]) -> Task:
    """How many digits a composed picture shows.

    Args:
        digits: of which the pictures are composed.
        rng: what is random is drawn from it.
        size: how many pictures.
        store: is given each picture with its id.
    """
    task = Task('COUNT')
    for number in range(size):
        count = int(rng.integers(1, MAX_COUNT + 1))
        shown = [digits.pictures[i] for i in rng.permutation(len(digits.pictures))[:count]]
        image = image_id(f'composed_{number:05d}')
        store(image, compose_picture(shown, rng))
        task.add(f'{number:05d}', COUNT, str(count), [image])
    task.relate_at_random(rng, 6)
    return task


def text_only(rng: np.random.Generator) -> Task:
    """Questions about digits without a picture."""
    task = Task('TXT')
    for a in range(10):
        task.add(f'EVEN_{a}', f'Is {a} even?', yes_no(a % 2 == 0))
        task.add(f'AFTER_{a}', f'Which digit comes after {a}?', str((a + 1) % 10))
    for a, b in product(range(10), repeat=2):
        if a != b:
            task.add(f'LARGER_{a}_{b}', f'Which digit is larger, {a} or {b}?', str(max(a, b)))
    task.relate_at_random(rng, 6)
    return task


def naming(digits: Digits, rng: np.random.Generator, size: int, whole_contexts: bool = False) -> Task:
    """In-context naming: the context gives made-up names to digits, and only it tells the name that is asked for.

    A record says that a picture has a name. Each episode is a record with its context: pictures of two to five digits
    with the names of this one episode, in random order. A quarter of them ask about a picture of the context.

    Args:
        digits: to name.
        rng: draws the episodes.
        size: number of episodes.
        whole_contexts: where the question is about a picture of the context, it is a record of its own, and the context
            keeps that picture's; else the context is without it, so that often nothing tells the name.
    """
    task, by_digit = Task('NAME'), digits.indices_by_digit()
    episodes = 0
    while episodes < size:
        ways, shown = next(_episode_shapes(rng))
        chosen = [int(d) for d in rng.permutation(10)[:ways]]
        names = [NAMES[i] for i in rng.permutation(len(NAMES))[:ways]]
        # Mostly about a digit that the context has named; else the model must not guess by elimination.
        query = int(rng.choice(shown)) if rng.random() < 0.95 else int(rng.integers(ways))
        places = [*shown, query]
        pictures = different(rng, [by_digit[chosen[place]] for place in places])
        again = query in shown and rng.random() < 0.25
        if again:
            pictures[-1] = pictures[shown.index(query)]
        named = [(picture, names[place]) for picture, place in zip(pictures, places, strict=True)]
        keys = [f'{picture:04d}_{name}' for picture, name in named]
        if again and whole_contexts:
            keys[-1] += '_again'
        ids = [task.add(key, NAME, name, [image_id(picture)]) for key, (picture, name) in zip(keys, named, strict=True)]
        if ids[-1] not in task.contexts:
            task.contexts[ids[-1]] = [id for id in ids[:-1] if id != ids[-1]]
            episodes += 1
    return task


def _episode_shapes(rng: np.random.Generator) -> Iterator[tuple[int, list[int]]]:
    """Numbers of names, and which of them each demonstration gives."""
    while True:
        ways = int(rng.choice([2, 3, 4, 5], p=(0.68, 0.07, 0.05, 0.2)))
        each = int(rng.integers(1, 6 // ways + 1))  # at most six demonstrations
        shown = rng.permutation(np.repeat(np.arange(ways), each))
        if rng.random() < 0.15:  # unbalanced, down to a single demonstration
            shown = shown[: rng.integers(1, len(shown) + 1)]
        yield ways, [int(place) for place in shown]


def different(rng: np.random.Generator, pools: Sequence[np.ndarray]) -> list[int]:
    """One index of each pool, no two alike."""
    while True:
        drawn = [int(rng.choice(pool)) for pool in pools]
        if len(set(drawn)) == len(drawn):
            return drawn

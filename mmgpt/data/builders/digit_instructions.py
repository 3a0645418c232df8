"""What the second demo adds to the digits: instructions that the first one was never given, dialogues, text alone."""

from __future__ import annotations

from itertools import product
from typing import NamedTuple

import numpy as np

from mmgpt.data.builders.digit_pictures import Digits
from mmgpt.data.builders.digit_tasks import EVEN, READ, Task, different, image_id, larger_answer, yes_no

SMALLER = 'Which picture shows the smaller digit?'
SPELL = 'Write the digit as a word.'
AND_THIS = 'And this one?'
WORDS = ('zero', 'one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight', 'nine')


class Round(NamedTuple):
    """One round of a dialogue about the pictures of digits."""

    question: str
    answer: str
    pictures: tuple[int, ...] = ()  # their indices


class TextInstruction(NamedTuple):
    """An instruction without a picture, as Alpaca's records have it."""

    instruction: str
    input: str
    output: str


def smaller_answer(first: int, second: int) -> str:
    """The answer to which of two digits is smaller."""
    return larger_answer(second, first)


def smaller(digits: Digits, rng: np.random.Generator, size: int) -> Task:
    """Which of two pictures shows the smaller digit; a quarter of the pairs show the same one."""
    task, by_digit = Task('SMALL'), digits.indices_by_digit()
    for number in range(size):
        first = int(rng.integers(10))
        second = first if rng.random() < 0.25 else int((first + rng.integers(1, 10)) % 10)
        pictures = different(rng, [by_digit[first], by_digit[second]])
        task.add(f'{number:05d}', SMALLER, smaller_answer(first, second), map(image_id, pictures))
    task.relate_to_nothing()
    return task


def spelling(digits: Digits) -> Task:
    """Every picture's digit as a word."""
    task = Task('SPELL')
    for index, digit in enumerate(digits.labels):
        task.add(f'{index:04d}', SPELL, WORDS[digit], [image_id(index)])
    task.relate_to_nothing()
    return task


def talks(digits: Digits, rng: np.random.Generator, size: int) -> Task:
    """Dialogues of three rounds, the last of which is trained on with those before it."""
    task = Task('TALK')
    for number in range(size):
        ids: list[str] = []
        for place, round in enumerate(draw_talk(digits, rng)):
            images = map(image_id, round.pictures)
            ids.append(task.add(f'{number:05d}_{place}', round.question, round.answer, images, ids))
        task.contexts[ids[-1]] = ids[:-1]
    return task


def draw_talk(digits: Digits, rng: np.random.Generator) -> tuple[Round, Round, Round]:
    """A dialogue whose last round has no picture and can only be answered from what was said and shown before."""
    by_digit = digits.indices_by_digit()
    first, second = (int(digit) for digit in rng.permutation(10)[:2])
    one, other = different(rng, [by_digit[first], by_digit[second]])
    opening = Round(READ, str(first), (one,))
    if rng.random() < 0.35:
        return opening, Round(EVEN, yes_no(first % 2 == 0)), Round('Which digit was it?', str(first))
    endings = (
        Round('Which digit was the first one?', str(first)),
        Round('Which of the two is larger?', str(max(first, second))),
        Round('Which of the two is smaller?', str(min(first, second))),
    )
    return opening, Round(AND_THIS, str(second), (other,)), endings[rng.integers(len(endings))]


def text_instructions(held_out: bool = False) -> list[TextInstruction]:
    """Instructions without a picture, half of them with an input; a fifth of the pairs of numbers is held out."""
    about_one = [
        instruction
        for a, word in enumerate(WORDS)
        for instruction in (
            TextInstruction('Is the number even?', str(a), yes_no(a % 2 == 0)),
            TextInstruction('Write the number as a word.', str(a), word),
            TextInstruction('Write the word as a number.', word, str(a)),
        )
    ]
    about_two = [
        instruction
        for a, b in product(range(10), repeat=2)
        if a != b and ((a + 2 * b) % 5 == 0) == held_out
        for instruction in (
            TextInstruction('Which number is larger?', f'{a} or {b}', str(max(a, b))),
            TextInstruction('Which number is smaller?', f'{a} or {b}', str(min(a, b))),
            TextInstruction('Repeat the first number.', f'{a} or {b}', str(a)),
            TextInstruction(f'Which number is larger, {a} or {b}?', '', str(max(a, b))),
            TextInstruction(f'Which number is smaller, {a} or {b}?', '', str(min(a, b))),
        )
    ]
    return about_two if held_out else [*about_one, *about_two]

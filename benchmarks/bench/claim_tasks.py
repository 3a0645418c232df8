"""Instructions about digits for ``benchmarks/claims``: as training files, and as questions about held-out pictures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mmgpt.data.builders.digit_instructions import SMALLER, SPELL, WORDS, smaller_answer
from mmgpt.data.builders.digit_pictures import Digits, load_digit_pictures
from mmgpt.data.builders.digit_tasks import NAME, READ, Task, different, image_id
from mmgpt.evaluation.answering import answer
from mmgpt.evaluation.digit_episodes import make_episodes
from mmgpt.evaluation.digit_instructions import Question, ask


class Instruction(NamedTuple):
    """A question about the pictures of one or more digits."""

    name: str  # of its files
    question: str
    answer: Callable[..., str]  # of the digits
    pictures: int = 1


READING = Instruction('READ', READ, str)  # which the base knows
# what it was never given
SPELLING = Instruction('SPELL', SPELL, lambda digit: WORDS[digit])
SMALLEST = Instruction('SMALL', SMALLER, smaller_answer, pictures=2)
FOLLOWING = Instruction('NEXT', 'Which digit comes after this one?', lambda digit: str((digit + 1) % 10))


def write_instruction(folder: Path, instruction: Instruction, digits: Digits) -> None:
    """Writes the training file of an instruction.

    Args:
        folder: where to.
        instruction: asked about every picture.
        digits: the demo's pictures for training, or their first ones.
    """
    rng, task = np.random.default_rng(0), Task(instruction.name)
    every = np.arange(len(digits.labels))
    for first in range(len(every)):
        others = different(rng, [np.setdiff1d(every, first)] * (instruction.pictures - 1))
        shown = [first, *others]
        text = instruction.answer(*(int(digits.labels[i]) for i in shown))
        task.add(f'{first:05d}', instruction.question, text, map(image_id, shown))
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f'{task.name}_instructions.json'
    path.write_text(json.dumps({'data': task.records}), encoding='utf-8')


def trained_on(
    folder: Path | str, name: str, digits: Mapping[str, Any], num_samples: int, shots: int = 0, **options: Any
) -> dict[str, Any]:
    """The source of an instruction in a config.

    Args:
        folder: that holds its file.
        name: of the instruction.
        digits: the demo's entry for pictures of digits.
        num_samples: its part of the mixture.
        shots: others with the same instruction in front of each.
        options: more of the source.
    """
    context = dict(retriever=dict(type='RandomInstructions', num=shots)) if shots else {}
    instructions = str(Path(folder) / f'{name}_instructions.json')
    return dict(**digits, instructions=instructions, media='each', num_samples=num_samples, **context, **options)


def questions(instruction: Instruction, digits: Digits, count: int, shots: int = 0) -> list[Question]:
    """Questions about pictures, each after demonstrations of the same instruction.

    Args:
        instruction: what is asked.
        digits: the pictures; no picture stands twice in a question.
        count: how many questions.
        shots: demonstrations of each.
    """
    rng, found = np.random.default_rng((0, shots)), []
    every = np.arange(len(digits.labels))
    for number in range(count):
        needed = instruction.pictures * (shots + 1)
        query = number % len(every)
        drawn = [query, *different(rng, [np.setdiff1d(every, query)] * (needed - 1))]
        messages, expected = [], ''
        for start in range(needed - instruction.pictures, -1, -instruction.pictures):
            shown = drawn[start : start + instruction.pictures]
            expected = instruction.answer(*(int(digits.labels[i]) for i in shown))
            messages += [
                ask(instruction.question, [digits.pictures[i] for i in shown]),
                {'role': 'assistant', 'content': expected},
            ]
        found.append(Question(messages[:-1], expected))
    return found


def first(count: int) -> Digits:
    """The first of the pictures for training."""
    digits = load_digit_pictures()
    return Digits(digits.pictures[:count], digits.labels[:count])


def naming(digits: Digits, kind: str, count: int, question: str = NAME) -> list[Question]:
    """Episodes of in-context naming as questions.

    Args:
        digits: the pictures.
        kind: as ``make_episodes`` calls them, such as ``'4'``.
        count: how many.
        question: in all turns.
    """
    episodes = make_episodes(digits, count, seed=0)[f'naming/{kind}']
    return [Question(replace(episode, question=question).messages(), episode.expected) for episode in episodes]


def right(model: Any, processor: Any, asked: Sequence[Question]) -> list[float]:
    """Of each question whether the model's answer equals the expected one, 1 or 0."""
    given = answer(model, processor, [question.messages for question in asked])
    return [float(text == question.expected) for text, question in zip(given, asked, strict=True)]

"""The evaluation of the second demo: instructions, text alone, dialogues, and what is left of the base's abilities."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mmgpt.data.builders.digit_instructions import (
    SMALLER,
    SPELL,
    WORDS,
    draw_talk,
    smaller_answer,
    text_instructions,
)
from mmgpt.data.builders.digit_pictures import Digits, load_digit_pictures
from mmgpt.evaluation.answering import answer
from mmgpt.evaluation.digit_episodes import make_episodes, take_pictures
from mmgpt.evaluation.figures import bootstrap_interval, nested, results_by_task
from mmgpt.hub.io import load_folder
from mmgpt.inference.examples import question
from mmgpt.registry import TASKS

COMPARED_ON = 'smaller'
ROUNDS = ('first', 'second', 'third')
SHOTS = {'naming/2': 2, 'naming/4': 4, 'naming/5way': 5}  # others have none

Message = dict[str, Any]


class Question(NamedTuple):
    """A conversation that waits for its answer, and the right one."""

    messages: list[Message]
    expected: str


@TASKS.register_module()
class DigitInstructionsEvaluation:
    """Asks a tuned model and its base about the 360 held-out digits, each in its own template.

    ``smaller`` and ``spelling`` are instructions that the base was never given. It reads and compares
    digits, so all that it lacks for ``smaller`` is to follow the instruction: on this task the two are compared.
    ``text`` are instructions without a picture, about pairs of numbers that were not trained on. In a ``dialogue`` of
    three rounds the model's own answers stay in the history, and the third question refers back to the first two
    rounds. An answer is right when it equals the expected one.

    Args:
        base: the folder of the model that was tuned.
        episodes: of each kind; of reading and spelling there is one for each picture.
        seed: of the episodes.
        batch_size: questions that are answered together.
    """

    def __init__(self, base: str, episodes: int = 400, seed: int = 0, batch_size: int = 64) -> None:
        if episodes < 1 or batch_size < 1:
            raise ValueError(f'episodes and batch_size must be at least 1, got {episodes} and {batch_size}')
        self.base = base
        self.episodes = episodes
        self.seed = seed
        self.batch_size = batch_size

    def __call__(self, model: Any, processor: Any, out: Path, limit: int | None = None) -> dict[str, Any]:
        """Asks everything, prints a table and writes ``predictions.jsonl``.

        Args:
            model: a ``Flamingo``.
            processor: its processor.
            out: the folder to write to.
            limit: ask only so many questions of each kind.

        Returns:
            The figures as fractions: ``smaller``, ``spelling``, ``text``, ``dialogue`` (``first``,
            ``second`` and ``third`` round), ``reading`` and ``naming`` (``2``, ``4``, ``5way``); in the same layout
            ``base`` (without text and dialogue), ``counts`` and ``intervals`` (95 %, bootstrap over questions); and
            the ``gain`` over the base on the task ``compared_on``.

        Raises:
            OSError: there is no base.
        """
        size = self.episodes if limit is None else min(limit, self.episodes)
        digits = load_digit_pictures(held_out=True)
        questions = {name: asked[:limit] for name, asked in make_questions(digits, size, self.seed).items()}
        talks = make_talks(digits, size, self.seed)
        answers = {name: self._ask(model, processor, asked) for name, asked in questions.items()}
        answers |= answer_talks(model, processor, talks, self.batch_size)
        base, base_processor = load_folder(self.base, device=next(model.parameters()).device)
        of_base = {name: self._ask(base, base_processor, asked) for name, asked in questions.items() if name != 'text'}

        expected = {name: [question.expected for question in asked] for name, asked in questions.items()}
        expected |= {f'dialogue/{name}': [talk[i].expected for talk in talks] for i, name in enumerate(ROUNDS)}
        _write(out / 'predictions.jsonl', expected, {'tuned': answers, 'base': of_base})
        right = {name: np.equal(given, expected[name]) for name, given in answers.items()}
        accuracy = {name: float(outcomes.mean()) for name, outcomes in right.items()}
        base_accuracy = {name: float(np.equal(given, expected[name]).mean()) for name, given in of_base.items()}
        intervals = {name: bootstrap_interval(outcomes, self.seed) for name, outcomes in right.items()}
        print(table(accuracy, intervals, base_accuracy), flush=True)
        return {
            **nested(accuracy),
            'base': nested(base_accuracy),
            'compared_on': COMPARED_ON,
            'gain': accuracy[COMPARED_ON] - base_accuracy[COMPARED_ON],
            'counts': nested({name: len(outcomes) for name, outcomes in right.items()}),
            'intervals': nested(intervals),
        }

    def results(self, metrics: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """The figures by task and number of demonstrations, as ``results.json`` has them."""
        names = ('smaller', 'spelling', 'text', 'reading', *(f'dialogue/{name}' for name in ROUNDS), *SHOTS)
        return results_by_task(metrics, names, SHOTS)

    def _ask(self, model: Any, processor: Any, questions: Sequence[Question]) -> list[str]:
        return answer(model, processor, [question.messages for question in questions], self.batch_size)


def answer_talks(
    model: Any, processor: Any, talks: Sequence[Sequence[Question]], batch_size: int = 64
) -> dict[str, list[str]]:
    """The answers in each round of dialogues of three, after the model's own answers in those before.

    Args:
        model: a ``Flamingo``.
        processor: its processor.
        talks: as ``make_talks`` gives them.
        batch_size: dialogues that are answered together.

    Returns:
        ``dialogue/first``, ``dialogue/second`` and ``dialogue/third``, in the order of the dialogues.
    """
    said: dict[str, list[str]] = {}
    histories: list[list[Message]] = [[] for _ in talks]
    for number, name in enumerate(ROUNDS):
        histories = [history + talk[number].messages for history, talk in zip(histories, talks, strict=True)]
        answers = answer(model, processor, histories, batch_size)
        histories = [
            [*history, {'role': 'assistant', 'content': text}] for history, text in zip(histories, answers, strict=True)
        ]
        said[f'dialogue/{name}'] = answers
    return said


def make_questions(digits: Digits, size: int, seed: int) -> dict[str, list[Question]]:
    """The questions of all kinds but dialogues.

    Args:
        digits: the pictures to take them from.
        size: of each kind; of reading and spelling one for each picture.
        seed: of what is drawn.
    """
    rng = np.random.default_rng((seed, 1))
    pairs = [
        (take_pictures(digits, rng, pair), pair)
        for pair in ([int(digit) for digit in rng.integers(10, size=2)] for _ in range(size))
    ]
    held_out = text_instructions(held_out=True)
    chosen = [held_out[i] for i in rng.permutation(len(held_out))[:size]]
    known = make_episodes(digits, size, seed)
    return {
        'smaller': [Question([ask(SMALLER, pictures)], smaller_answer(*shown)) for pictures, shown in pairs],
        'spelling': [
            Question([ask(SPELL, [picture])], WORDS[digit])
            for picture, digit in zip(digits.pictures, digits.labels, strict=True)
        ],
        'text': [Question([ask(text.instruction, input=text.input)], text.output) for text in chosen],
        **{
            name: [Question(episode.messages(), episode.expected) for episode in known[name]]
            for name in ('reading', *SHOTS)
        },
    }


def make_talks(digits: Digits, size: int, seed: int) -> list[list[Question]]:
    """Dialogues of three rounds; a round's messages are its own alone."""
    rng = np.random.default_rng((seed, 2))
    return [
        [
            Question([ask(turn.question, [digits.pictures[i] for i in turn.pictures])], turn.answer)
            for turn in draw_talk(digits, rng)
        ]
        for _ in range(size)
    ]


def ask(text: str, pictures: Sequence[Image.Image] = (), input: str = '') -> Message:
    """A user's chat message."""
    message = question(text, pictures)
    if input:
        message['content'].append({'type': 'input', 'text': input})
    return message


def table(
    accuracy: Mapping[str, float], intervals: Mapping[str, Sequence[float]], base_accuracy: Mapping[str, float]
) -> str:
    """The figures as a table for the terminal, one line per kind of question."""
    lines = [f'{"":18} {"tuned":>6}  {"95 % interval":>15} {"base":>6}']
    for name, value in accuracy.items():
        low, high = intervals[name]
        base = f'{base_accuracy[name]:6.3f}' if name in base_accuracy else ''
        lines.append(f'{name:18} {value:6.3f}  {f"{low:.3f} to {high:.3f}":>15} {base}'.rstrip())
    return '\n'.join(lines)


def _write(
    path: Path, expected: Mapping[str, Sequence[str]], answers: Mapping[str, Mapping[str, Sequence[str]]]
) -> None:
    with path.open('w', encoding='utf-8') as file:
        for model, of_tasks in answers.items():
            for task, given in of_tasks.items():
                for number, (text, right) in enumerate(zip(given, expected[task], strict=True)):
                    line = {'model': model, 'task': task, 'id': f'{task}/{number}', 'expected': right, 'answer': text}
                    file.write(json.dumps({**line, 'correct': text == right}, ensure_ascii=False) + '\n')

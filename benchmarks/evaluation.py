"""Evaluating few-shot prompts against one ``generate`` call a query, and ranking classes against scoring each alone.

    python benchmarks/evaluation.py [--model work_dirs/otter_demo/hf] [--queries 500]

Without --model a random one of the benchmarks' size is asked (``bench/models.py``, 8 minutes). Seconds by the clock,
and in brackets of processor time (with OMP_NUM_THREADS=1 other programs have no part in it), ratios of one run; each
class alone is timed on two of the ten queries.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from mmgpt.evaluation import Evaluation, EvaluationTask, Generation, Item, Ranking, Scores
from mmgpt.evaluation.models import FlamingoModel
from mmgpt.hub.io import load_folder
from mmgpt.structures import Medium

QUESTIONS = [
    'What is this?',
    'What is it called?',
    'What digit is this?',
    'Is this an even digit?',
    'Which digit is it?',
]


class Questions(EvaluationTask):
    """Questions about pictures of noise."""

    name, kind, main = 'questions', 'vqa', 'accuracy'

    def __init__(self, queries: int, answering: Generation | Ranking) -> None:
        self.queries = [self._item(number, '') for number in range(queries)]
        self.pool = [self._item(10_000 + number, 'seven') for number in range(200)]
        self.answering = answering

    def _item(self, number: int, answer: str) -> Item:
        return Item(number, QUESTIONS[number % len(QUESTIONS)], answer, (Medium((number,)),))

    def open(self, frame: int) -> Image.Image:
        return Image.effect_noise((64, 64), 20 + frame % 100).convert('RGB')

    def score(self, items, answers) -> Scores:
        return Scores({'accuracy': 0.0})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', help='a model folder')
    parser.add_argument('--queries', type=int, default=500)
    parser.add_argument('--shots', type=int, default=4)
    parser.add_argument('--batch-size', type=int, default=16)
    args = parser.parse_args()
    model, processor = load_folder(args.model) if args.model else random_model()
    task = Questions(args.queries, Generation(max_new_tokens=5))
    alone = timed(lambda: one_by_one(model, processor, task, args.shots))
    print(f'{args.queries} queries at {args.shots} shots, 5 new tokens; one generate call a query: {alone}')
    for kind in ('Random', 'Fixed'):
        taken = timed(lambda kind=kind: evaluate(model, processor, task, args, kind))
        print(f'  evaluation, demonstrations {kind}: {taken}, {taken.over(alone)} of it', flush=True)
    classes = tuple(f'w{first} w{second}' for first in range(10, 20) for second in range(20, 30))
    task = Questions(10, Ranking(classes))
    together = timed(lambda: evaluate(model, processor, task, args, 'Random'))
    apart = Seconds(
        *(5 * value for value in timed(lambda: scored_alone(model, processor, task, args.shots, classes, 2)))
    )
    print(f'ranking {len(classes)} classes, 10 queries at {args.shots} shots: {together}')
    print(f'  each class alone: {apart}, {apart.over(together)} times as long')


def evaluate(model, processor, task, args, kind: str) -> None:
    evaluation = Evaluation(task, [args.shots], demonstrations=dict(type=kind), batch_size=args.batch_size)
    with tempfile.TemporaryDirectory() as out:
        evaluation(FlamingoModel(model, processor), None, Path(out))


def prompts(processor, task, shots: int):
    evaluation = Evaluation(task, [shots])
    for prompt in evaluation.prompts(task.queries, shots, 42):
        text = evaluation.writer.render(prompt, processor.prompter.template).text
        yield text, [task.open(m.frames[0]) for item in (*prompt.demonstrations, prompt.query) for m in item.media]


@torch.inference_mode()
def one_by_one(model, processor, task, shots: int) -> None:
    for text, pictures in prompts(processor, task, shots):
        inputs = processor(text=text, images=pictures).to(model.device)
        model.generate(**inputs, max_new_tokens=5, do_sample=False)


@torch.inference_mode()
def scored_alone(model, processor, task, shots: int, classes, queries: int) -> None:
    for text, pictures in list(prompts(processor, task, shots))[:queries]:
        for name in classes:
            inputs = processor(text=text + name, images=pictures).to(model.device)
            model(**inputs).logits.log_softmax(-1)


class Seconds(NamedTuple):
    """What something took."""

    clock: float
    processor: float

    def __str__(self) -> str:
        return f'{self.clock:.1f} s ({self.processor:.1f} s)'

    def over(self, other: Seconds) -> str:
        return f'{self.clock / other.clock:.2f} ({self.processor / other.processor:.2f})'


def timed(function) -> Seconds:
    start = time.perf_counter(), time.process_time()
    function()
    return Seconds(time.perf_counter() - start[0], time.process_time() - start[1])


def random_model():
    """Of the benchmarks' size (``bench/models.py``), as every model comes out of a folder."""
    sys.path.insert(0, str(Path(__file__).parent))

    from bench.site import save_model

    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder))
        return load_folder(folder)


if __name__ == '__main__':
    main()

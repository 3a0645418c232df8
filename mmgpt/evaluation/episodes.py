"""Episodes: questions about pictures, mostly after demonstrations, and the evaluation of the demos that asks them."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from mmgpt.data.builders.digit_tasks import NAMES
from mmgpt.evaluation.answering import answer
from mmgpt.evaluation.figures import bootstrap_interval, nested, results_by_task
from mmgpt.inference.examples import question

COLUMNS = {'nearest_neighbour': 'neighbour', 'svm': 'SVM'}  # how the kinds of baselines are called in a table


@dataclass(frozen=True)
class Episode:
    """A question about pictures, after demonstrations.

    Args:
        question: asked of every demonstration and of the query.
        pictures: of the query.
        expected: the answer.
        demonstrations: pictures with the answers that the context gives, oldest first.
        as_video: the pictures are the frames of one video.
    """

    question: str
    pictures: tuple[Image.Image, ...]
    expected: str
    demonstrations: tuple[tuple[Image.Image, str], ...] = ()
    as_video: bool = False

    def messages(self) -> list[dict[str, Any]]:
        """The episode as chat messages, the last one waiting for its answer."""
        messages = []
        for picture, given in self.demonstrations:
            messages += [self._ask((picture,)), {'role': 'assistant', 'content': given}]
        return [*messages, self._ask(self.pictures)]

    def _ask(self, pictures: Sequence[Image.Image]) -> dict[str, Any]:
        if self.as_video:
            return question(self.question, video=list(pictures))
        return question(self.question, pictures)


class EpisodeBaseline(Protocol):
    """Answers episodes without a neural network; ``kind`` is its name among the figures."""

    kind: str

    def accuracy(self, task: str, episodes: Sequence[Episode]) -> float:
        """The fraction of episodes that it answers rightly."""


class EpisodeEvaluation(ABC):
    """Asks a model episodes of several kinds, through its processor's chat messages and ``generate``.

    An answer is right when it equals the expected one. Beside the model's figures stand those of baselines, on the very
    same episodes. What is asked is the subclass's: ``tasks``, ``baselines`` and ``shots``.

    Args:
        episodes: of each kind.
        seed: of the episodes.
        batch_size: episodes that are answered together.
    """

    shots: Mapping[str, int] = {}  # demonstrations of a kind; others have none

    def __init__(self, episodes: int = 400, seed: int = 0, batch_size: int = 64) -> None:
        if episodes < 1 or batch_size < 1:
            raise ValueError(f'episodes and batch_size must be at least 1, got {episodes} and {batch_size}')
        self.episodes = episodes
        self.seed = seed
        self.batch_size = batch_size

    @abstractmethod
    def tasks(self, size: int) -> dict[str, list[Episode]]:
        """So many episodes of each kind (of a kind that is limited by its pictures, all of them)."""

    @abstractmethod
    def baselines(self) -> list[EpisodeBaseline]:
        """What the model is compared with."""

    def __call__(self, model: Any, processor: Any, out: Path, limit: int | None = None) -> dict[str, Any]:
        """Answers all episodes, prints a table and writes ``predictions.jsonl`` and ``names.json``.

        Args:
            model: a ``Flamingo``.
            processor: its processor.
            out: the folder to write to.
            limit: ask only so many episodes of each kind.

        Returns:
            The figures as fractions by the name of the kind (``naming/4`` is ``naming`` → ``4``); in the same layout
            ``baselines`` (by kind of baseline), ``counts`` (of episodes) and ``intervals`` (95 %, bootstrap over
            episodes).
        """
        size = self.episodes if limit is None else min(limit, self.episodes)
        tasks = {name: episodes[:limit] for name, episodes in self.tasks(size).items()}
        answers = {name: self._answers(model, processor, episodes) for name, episodes in tasks.items()}
        baselines, figures = self.baselines(), {}
        for name, episodes in tasks.items():
            right = [given == episode.expected for given, episode in zip(answers[name], episodes, strict=True)]
            figures[name] = {
                'accuracy': float(np.mean(right)),
                'baselines': {baseline.kind: baseline.accuracy(name, episodes) for baseline in baselines},
                'counts': len(episodes),
                'intervals': bootstrap_interval(right, self.seed),
            }
        print(table(figures), flush=True)
        write_predictions(out / 'predictions.jsonl', tasks, answers)
        (out / 'names.json').write_text(json.dumps(NAMES) + '\n', encoding='utf-8')
        metrics = nested({name: row['accuracy'] for name, row in figures.items()})
        for part in ('baselines', 'counts', 'intervals'):
            metrics[part] = nested({name: row[part] for name, row in figures.items()})
        return metrics

    def results(self, metrics: Mapping[str, Any]) -> dict[str, list[dict[str, Any]]]:
        """The figures by task and number of demonstrations, as ``results.json`` has them."""
        names = []
        for name, found in metrics['counts'].items():
            names += [f'{name}/{kind}' for kind in found] if isinstance(found, Mapping) else [name]
        return results_by_task(metrics, names, self.shots)

    def _answers(self, model: Any, processor: Any, episodes: Sequence[Episode]) -> list[str]:
        return answer(model, processor, [episode.messages() for episode in episodes], self.batch_size)


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as a table for the terminal, one line per kind of episode."""
    kinds = next(iter(figures.values()))['baselines']
    width = max(map(len, figures)) + 1
    heads = ' '.join(f'{COLUMNS.get(kind, kind):>10}' for kind in kinds)
    lines = [f'{"":{width}} {"model":>6}  {"95 % interval":>15} {heads} {"episodes":>9}']
    for name, row in figures.items():
        low, high = row['intervals']
        others = ' '.join(f'{row["baselines"][kind]:10.3f}' for kind in kinds)
        interval = f'{low:.3f} to {high:.3f}'
        lines.append(f'{name:{width}} {row["accuracy"]:6.3f}  {interval:>15} {others} {row["counts"]:9d}')
    return '\n'.join(lines)


def write_predictions(path: Path, tasks: Mapping[str, Sequence[Episode]], answers: Mapping[str, list[str]]) -> None:
    """Writes a line of JSON for each episode with what was answered."""
    with path.open('w', encoding='utf-8') as file:
        for name, episodes in tasks.items():
            for number, (episode, given) in enumerate(zip(episodes, answers[name], strict=True)):
                line = {
                    'task': name,
                    'id': f'{name}/{number}',
                    'shots': len(episode.demonstrations),
                    'question': episode.question,
                    'context': [answer for _, answer in episode.demonstrations],
                    'expected': episode.expected,
                    'answer': given,
                    'correct': given == episode.expected,
                }
                file.write(json.dumps(line, ensure_ascii=False) + '\n')

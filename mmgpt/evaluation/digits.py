"""The evaluation of the digits demo."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmgpt.data.builders.digit_pictures import load_digit_pictures
from mmgpt.data.builders.digit_tasks import NAMES
from mmgpt.evaluation.answering import answer
from mmgpt.evaluation.baselines import Baseline
from mmgpt.evaluation.digit_episodes import Episode, make_episodes
from mmgpt.evaluation.figures import bootstrap_interval, nested, results_by_task
from mmgpt.registry import TASKS

SHOTS = {'naming/2': 2, 'naming/4': 4, 'naming/4_shuffled': 4, 'naming/5way': 5}  # others have none


@TASKS.register_module()
class DigitsEvaluation:
    """Asks a model about the 360 held-out digits, through its processor's chat messages and ``generate``.

    An answer is right when it equals the expected one. Beside the model's figures stand those of two methods on raw
    pixels, on the very same episodes.

    Args:
        episodes: of each kind; of reading there is one for each picture.
        seed: of the episodes.
        batch_size: episodes that are answered together.

    Example:
        >>> metrics = DigitsEvaluation(episodes=100)(model, processor, Path('out'))  # doctest: +SKIP
        >>> metrics['naming']['4']  # doctest: +SKIP
        0.97
    """

    def __init__(self, episodes: int = 400, seed: int = 0, batch_size: int = 64) -> None:
        if episodes < 1 or batch_size < 1:
            raise ValueError(f'episodes and batch_size must be at least 1, got {episodes} and {batch_size}')
        self.episodes = episodes
        self.seed = seed
        self.batch_size = batch_size

    def __call__(self, model: Any, processor: Any, out: Path, limit: int | None = None) -> dict[str, Any]:
        """Answers all episodes, prints a table and writes ``predictions.jsonl`` and ``names.json``.

        Args:
            model: a ``Flamingo``.
            processor: its processor.
            out: the folder to write to.
            limit: ask only so many episodes of each kind.

        Returns:
            The figures as fractions: ``reading``, ``counting``, ``comparison``, ``order`` and ``naming`` with ``0``,
            ``2``, ``4``, ``4_shuffled`` and ``5way``; in the same layout ``baselines``, ``counts`` (of episodes) and
            ``intervals`` (95 %, bootstrap over episodes).
        """
        size = self.episodes if limit is None else min(limit, self.episodes)
        tasks = make_episodes(load_digit_pictures(held_out=True), size, self.seed)
        if limit is not None:
            tasks = {name: episodes[:limit] for name, episodes in tasks.items()}
        answers = {name: self._answers(model, processor, episodes) for name, episodes in tasks.items()}
        right = {
            name: [given == episode.expected for given, episode in zip(answers[name], episodes, strict=True)]
            for name, episodes in tasks.items()
        }
        trained_on = load_digit_pictures()
        baselines = [Baseline(trained_on, kind, self.seed) for kind in Baseline.kinds]
        figures = {
            name: {
                'accuracy': float(np.mean(right[name])),
                'baselines': {b.kind: b.accuracy(name, episodes) for b in baselines},
                'counts': len(episodes),
                'intervals': bootstrap_interval(right[name], self.seed),
            }
            for name, episodes in tasks.items()
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
        names = ('reading', 'counting', 'comparison', 'order', *(f'naming/{kind}' for kind in metrics['naming']))
        return results_by_task(metrics, names, SHOTS)

    def _answers(self, model: Any, processor: Any, episodes: Sequence[Episode]) -> list[str]:
        return answer(model, processor, [episode.messages() for episode in episodes], self.batch_size)


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as a table for the terminal, one line per kind of episode."""
    lines = [f'{"":18} {"model":>6}  {"95 % interval":>15} {"neighbour":>10} {"SVM":>6} {"episodes":>9}']
    for name, row in figures.items():
        low, high = row['intervals']
        neighbour, svm = (row['baselines'][kind] for kind in Baseline.kinds)
        lines.append(
            f'{name:18} {row["accuracy"]:6.3f}  {f"{low:.3f} to {high:.3f}":>15} {neighbour:10.3f} {svm:6.3f} '
            f'{row["counts"]:9d}'
        )
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

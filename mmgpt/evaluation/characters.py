"""The evaluation of the characters demo."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mmgpt.data.builders.digit_tasks import NAMES
from mmgpt.evaluation.answering import answer
from mmgpt.evaluation.character_baseline import CharacterBaseline
from mmgpt.evaluation.character_episodes import NAMING, SHUFFLED, make_episodes
from mmgpt.evaluation.digit_episodes import Episode
from mmgpt.evaluation.digits import write_predictions
from mmgpt.evaluation.figures import bootstrap_interval, nested, results_by_task
from mmgpt.registry import TASKS

SHOTS = {**{name: ways * each for name, (ways, each) in NAMING.items()}, SHUFFLED: 5}  # others have none


@TASKS.register_module()
class CharactersEvaluation:
    """Asks a model about letters that it was not trained on, through its processor's chat messages and ``generate``.

    Naming, counting and the different picture are about letters of scripts that are held out (Armenian, Georgian and
    Greek), in all faces; reading is about letters that were trained on, and words about words that were not, both in a
    face that is held out. Beside the model's figures stand those of the nearest neighbour on raw pixels, on the very
    same episodes.

    Args:
        episodes: of each kind.
        seed: of the episodes.
        batch_size: episodes that are answered together.
        validation: ask about the letters that are kept for decisions instead, and nothing that is held out.

    Example:
        >>> metrics = CharactersEvaluation(episodes=100)(model, processor, Path('out'))  # doctest: +SKIP
        >>> metrics['naming']['5way'], metrics['baselines']['naming']['5way']  # doctest: +SKIP
        (0.96, 0.92)
    """

    def __init__(self, episodes: int = 1000, seed: int = 0, batch_size: int = 64, validation: bool = False) -> None:
        if episodes < 1 or batch_size < 1:
            raise ValueError(f'episodes and batch_size must be at least 1, got {episodes} and {batch_size}')
        self.episodes = episodes
        self.seed = seed
        self.batch_size = batch_size
        self.validation = validation

    def __call__(self, model: Any, processor: Any, out: Path, limit: int | None = None) -> dict[str, Any]:
        """Answers all episodes, prints a table and writes ``predictions.jsonl`` and ``names.json``.

        Args:
            model: a ``Flamingo``.
            processor: its processor.
            out: the folder to write to.
            limit: ask only so many episodes of each kind.

        Returns:
            The figures as fractions: ``naming`` with ``2way``, ``5way``, ``5way_2shot``, ``10way`` and
            ``5way_shuffled``, ``counting``, ``difference``, ``reading`` and ``words``; in the same layout ``baselines``
            (the nearest neighbour's), ``counts`` (of episodes) and ``intervals`` (95 %, bootstrap over episodes).
        """
        size = self.episodes if limit is None else min(limit, self.episodes)
        tasks = make_episodes(size, self.seed, self.validation)
        answers = {name: self._answers(model, processor, episodes) for name, episodes in tasks.items()}
        baseline = CharacterBaseline(self.seed)
        figures = {}
        for name, episodes in tasks.items():
            right = [given == episode.expected for given, episode in zip(answers[name], episodes, strict=True)]
            figures[name] = {
                'accuracy': float(np.mean(right)),
                'baselines': baseline.accuracy(name, episodes),
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
        others = [name for name in ('counting', 'difference', 'reading', 'words') if name in metrics]
        return results_by_task(metrics, [*(f'naming/{kind}' for kind in metrics['naming']), *others], SHOTS)

    def _answers(self, model: Any, processor: Any, episodes: Sequence[Episode]) -> list[str]:
        return answer(model, processor, [episode.messages() for episode in episodes], self.batch_size)


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures as a table for the terminal, one line per kind of episode."""
    lines = [f'{"":20} {"model":>6}  {"95 % interval":>15} {"neighbour":>10} {"episodes":>9}']
    for name, row in figures.items():
        low, high = row['intervals']
        lines.append(
            f'{name:20} {row["accuracy"]:6.3f}  {f"{low:.3f} to {high:.3f}":>15} {row["baselines"]:10.3f} '
            f'{row["counts"]:9d}'
        )
    return '\n'.join(lines)

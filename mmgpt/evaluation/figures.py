"""From right and wrong answers and from trials to figures, and in the layouts in which they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from mmgpt.evaluation.items import Scores
from mmgpt.evaluation.published import label
from mmgpt.evaluation.tasks.base import EvaluationTask

RESAMPLES = 2000  # of an interval


def bootstrap_interval(right: Sequence[bool], seed: int = 0) -> list[float]:
    """The 95 % interval of an accuracy: its 2.5 % and 97.5 % quantiles over resamples of the episodes."""
    outcomes = np.asarray(right, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(outcomes), size=(RESAMPLES, len(outcomes)))
    return [float(q) for q in np.quantile(outcomes[drawn].mean(1), (0.025, 0.975))]


def nested(flat: Mapping[str, Any]) -> dict[str, Any]:
    """``naming/4`` becomes ``naming`` → ``4``."""
    nested: dict[str, Any] = {}
    for name, value in flat.items():
        task, _, kind = name.partition('/')
        if kind:
            nested.setdefault(task, {})[kind] = value
        else:
            nested[task] = value
    return nested


def results_by_task(
    metrics: Mapping[str, Any], names: Iterable[str], shots: Mapping[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """Figures as ``results.json`` has them: of each task a row for every number of demonstrations.

    Args:
        metrics: nested figures.
        names: which of them, as ``task`` or ``task/kind``; a kind that is no number makes a task of its own.
        shots: demonstrations, by name; others have none.

    Example:
        >>> results_by_task({'naming': {'4': 0.9}}, ['naming/4'], {'naming/4': 4})
        {'naming': [{'shots': 4, 'trials': [0.9], 'mean': 0.9, 'stddev': 0.0}]}
    """
    results: dict[str, list[dict[str, Any]]] = {}
    for name in names:
        task, _, kind = name.partition('/')
        value = metrics[task][kind] if kind else metrics[task]
        task = f'{task}_{kind}' if kind and not kind.isdigit() else task
        row = {'shots': shots.get(name, 0), 'trials': [value], 'mean': value, 'stddev': 0.0}
        results.setdefault(task, []).append(row)
    return results


def check_scores(scores: Any, task: EvaluationTask, count: int) -> None:
    """Raises a TypeError or ValueError where what a task gave for ``count`` questions is not as it should be."""
    what = f'score of {type(task).__name__}'
    if not isinstance(scores, Scores):
        raise TypeError(f'{what} should give Scores, got {type(scores).__name__}')
    if scores.figures and task.main not in scores.figures:
        raise ValueError(f'{what} gives no {task.main!r}, the main figure; it gives {", ".join(scores.figures)}')
    if scores.items is not None and len(scores.items) != count:
        raise ValueError(f'{what} gives {len(scores.items)} items for {count} questions')


def check_finite(scores: Scores, where: str) -> None:
    """Raises a ValueError where a figure of a trial is none, such as a NaN; ``where`` names the trial."""
    grouped = {f'{kind} {name}': value for kind, few in scores.groups.items() for name, value in few.items()}
    for name, value in {**scores.figures, **grouped}.items():
        if not np.isfinite(value):
            raise ValueError(f'{where}: the figure {name!r} of the task should be a finite number, and is {value}')


def over_trials(shots: int, trials: Sequence[Scores], main_figure: str) -> dict[str, Any]:
    """The row of ``metrics.json`` that the trials of a number of shots make, see :class:`Evaluation`."""
    # what is drawn may hold no question of a group: each figure is of the trials that have it
    names = dict.fromkeys(name for scores in trials for name in scores.figures)
    figures = {name: [scores.figures[name] for scores in trials if name in scores.figures] for name in names}
    main = figures.get(main_figure, [])
    each: dict[str, dict[str, list[float]]] = {}
    for scores in trials:
        for kind, few in scores.groups.items():
            for name, value in few.items():
                each.setdefault(kind, {}).setdefault(name, []).append(value)
    groups = {kind: {name: float(np.mean(few)) for name, few in named.items()} for kind, named in each.items()}
    return {
        'shots': shots,
        'trials': main,
        'mean': float(np.mean(main)) if main else None,
        'stddev': float(np.std(main)) if main else None,
        'figures': figures,
        'groups': groups,
    }


def table(metrics: Mapping[str, Any]) -> str:
    """The figures as a table for the terminal, published ones beside them."""
    rows = metrics['rows']
    if not any(row['trials'] for row in rows):
        return f'{metrics["task"]}: no references are known, so there are no figures; the answers are written'
    lines = [
        f'{metrics["task"]}, {metrics["main"]}',
        f'{"shots":>30} ' + ' '.join(f'{row["shots"]:>11}' for row in rows),
    ]
    for name in dict.fromkeys(name for row in rows for name in row['figures']):
        values = [row['figures'].get(name) for row in rows]
        cells = ['' if few is None else f'{np.mean(few):.2f} ({np.std(few):.2f})' for few in values]
        lines.append(f'{name:>30.30} ' + ' '.join(f'{cell:>11}' for cell in cells))
    for published in metrics['published']:
        cells = [published['figures'].get(str(row['shots'])) for row in rows]
        if any(cell is not None for cell in cells):
            lines.append(
                f'{label(published, metrics["main"]):>30.30} '
                + ' '.join(f'{"" if cell is None else cell:>11}' for cell in cells)
            )
    return '\n'.join(lines)

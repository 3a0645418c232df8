"""From right and wrong answers to figures, and in the layouts in which they are written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np


def bootstrap_interval(right: Sequence[bool], seed: int = 0, resamples: int = 2000) -> list[float]:
    """The 95 % interval of an accuracy: its 2.5 % and 97.5 % quantiles over resamples of the episodes."""
    outcomes = np.asarray(right, dtype=np.float64)
    drawn = np.random.default_rng(seed).integers(len(outcomes), size=(resamples, len(outcomes)))
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

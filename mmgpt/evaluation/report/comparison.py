"""Two runs over the same questions: is one better, or was it luck?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmgpt.evaluation.report.run import Run


@dataclass(frozen=True)
class Comparison:
    """The difference of two runs at a number of shots, by a paired bootstrap over questions.

    Args:
        shots: the number of shots.
        questions: that both answered; the seeds of one are averaged first.
        here, there: the means of both over these questions.
        difference: ``here - there``.
        interval: 95 % of the resamples lie in it.
        p: two-sided; how likely a difference as large would be if there were none.
    """

    shots: int
    questions: int
    here: float
    there: float
    difference: float
    interval: tuple[float, float]
    p: float


def compare(here: Run, there: Run, resamples: int = 10_000, seed: int = 0) -> list[Comparison]:
    """The differences at each number of shots that both have.

    Questions are drawn with putting back, the same for both runs (Efron and Tibshirani, "An Introduction to the
    Bootstrap", 1993, chapter 16), and the means are compared.

    Raises:
        ValueError: the runs are of different tasks or figures, no question was answered in both, or the task's figure
            is no mean over questions.
    """
    if here.metrics['task'] != there.metrics['task']:
        raise ValueError(
            f'{here.folder} is of {here.metrics["task"]} and {there.folder} of {there.metrics["task"]}: '
            'runs of one task are compared'
        )
    if here.metrics['main'] != there.metrics['main']:
        raise ValueError(
            f'{here.folder} is measured by {here.metrics["main"]} and {there.folder} by {there.metrics["main"]}: '
            'runs of one figure are compared'
        )
    ours, theirs = _scores(here), _scores(there)
    if not ours or not theirs:
        raise ValueError(
            f'the figure {here.metrics["main"]!r} of {here.metrics["task"]} is no mean over questions, so there is '
            'nothing to draw from'
        )
    rng = np.random.default_rng(seed)
    compared = []
    for shots in sorted({key[0] for key in ours} & {key[0] for key in theirs}):
        both = sorted(key for key in ours if key[0] == shots and key in theirs)
        if not both:
            continue
        a, b = (np.array([np.mean(scores[key]) for key in both]) for scores in (ours, theirs))
        gaps = a - b
        means = np.concatenate(
            [
                gaps[rng.integers(len(gaps), size=(min(500, resamples - start), len(gaps)))].mean(1)
                for start in range(0, resamples, 500)
            ]
        )
        low, high = np.quantile(means, (0.025, 0.975))
        tail = min((means <= 0).mean(), (means >= 0).mean())
        numbers = float(a.mean()), float(b.mean()), float(gaps.mean())
        p = min(1.0, max(2 * float(tail), 1 / resamples))
        compared.append(Comparison(shots, len(both), *numbers, (float(low), float(high)), p))
    if not compared:
        raise ValueError(f'{here.folder} and {there.folder} have no question in common at the same number of shots')
    return compared


def _scores(run: Run) -> dict[tuple, list[float]]:
    scores: dict[tuple, list[float]] = {}
    for line in run.lines:
        if line.get('score') is not None:
            scores.setdefault((line['shots'], repr(line['id'])), []).append(line['score'])
    return scores

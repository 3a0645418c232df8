"""Ratings of models from blind votes between two of them: Elo as it is played, and Bradley-Terry.

A battle record is a line of JSON: ``{"model_a": …, "model_b": …, "winner": "model_a" | "model_b" | "tie" |
"tie (bothbad)", "tstamp": seconds}``, as the page for comparing two models writes it and as Multi-Modality Arena and
FastChat publish theirs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

SCORES = {'model_a': 1.0, 'model_b': 0.0, 'tie': 0.5, 'tie (bothbad)': 0.5}  # of the first model
START = 1000.0
SCALE = 400.0  # so many points make the odds ten to one


@dataclass(frozen=True)
class Battles:
    """Votes in the order in which they were given.

    Args:
        models: names, sorted.
        first, second: (N,) int, places in ``models``.
        scores: (N,) of the first model: 1 it won, 0 it lost, 0.5 neither.
    """

    models: tuple[str, ...]
    first: np.ndarray
    second: np.ndarray
    scores: np.ndarray

    def __len__(self) -> int:
        return len(self.scores)


def read_battles(path: str | Path) -> Battles:
    """The records of a JSON-lines file or of a file with one JSON list, by time.

    Raises:
        ValueError: a record is none; the message names file, line and field.
    """
    path = Path(path)
    text = path.read_text(encoding='utf-8')
    if text.lstrip().startswith('['):
        numbered = enumerate(_json(text, f'{path}'), 1)
        return battles((f'{path}, record {number}', record) for number, record in numbered)
    lines = ((number, line) for number, line in enumerate(text.split('\n'), 1) if line.strip())
    return battles((f'{path}, line {number}', _json(line, f'{path}, line {number}')) for number, line in lines)


def battles(records: Iterable[tuple[str, Any]]) -> Battles:
    """Checked records, each with the place that an error names, as ``Battles``.

    Raises:
        ValueError: a record is none, or there is not one.
    """
    rows = []
    for place, record in records:
        if not isinstance(record, dict):
            raise ValueError(f'{place}: a battle is a JSON object, got {type(record).__name__}')
        for name in ('model_a', 'model_b'):
            if not isinstance(record.get(name), str) or not record[name]:
                raise ValueError(f'{place}: {name!r} must name a model, got {record.get(name)!r}')
        if record['model_a'] == record['model_b']:
            raise ValueError(f'{place}: {record["model_a"]!r} met itself; such a vote says nothing')
        if record.get('winner') not in SCORES:
            raise ValueError(f"{place}: 'winner' must be one of {', '.join(SCORES)}; got {record.get('winner')!r}")
        time = record.get('tstamp', 0)
        if isinstance(time, bool) or not isinstance(time, int | float):
            raise ValueError(f"{place}: 'tstamp' must be seconds, got {time!r}")
        rows.append((time, record['model_a'], record['model_b'], SCORES[record['winner']]))
    if not rows:
        raise ValueError('there is no battle record: votes are needed to rate models by')
    rows.sort(key=lambda row: row[0])
    models = tuple(sorted({name for row in rows for name in row[1:3]}))
    place_of = {name: place for place, name in enumerate(models)}
    first, second = (np.array([place_of[row[column]] for row in rows]) for column in (1, 2))
    return Battles(models, first, second, np.array([row[3] for row in rows]))


def elo(votes: Battles, k: float = 4.0, orders: np.ndarray | None = None) -> np.ndarray:
    """Ratings after all votes, one after the other.

    After each vote R_A moves by ``k`` (S_A - E_A) and R_B by as much the other way, with E_A = 1 / (1 + 10^((R_B - R_A)
    / 400)). The order of votes matters; ``elo_interval`` tells how much.

    Args:
        votes: N of them between M models.
        k: the step. 4 is that of FastChat's analysis; its earlier versions had 32.
        orders: (B, N) places of votes, to rate B samples of them at once. Default: all as they were given.

    Returns:
        (M,), or (B, M) with ``orders``.

    Example:
        >>> a_wins = battles([('', {'model_a': 'otter', 'model_b': 'other', 'winner': 'model_a'})])
        >>> elo(a_wins, k=32)
        array([ 984., 1016.])
    """
    played = np.arange(len(votes))[None] if orders is None else orders
    ratings = np.full((len(played), len(votes.models)), START)
    rows = np.arange(len(played))
    for vote in played.T:
        a, b = votes.first[vote], votes.second[vote]
        expected = 1 / (1 + 10 ** ((ratings[rows, b] - ratings[rows, a]) / SCALE))
        step = k * (votes.scores[vote] - expected)
        ratings[rows, a] += step
        ratings[rows, b] -= step
    return ratings[0] if orders is None else ratings


def bradley_terry(wins: np.ndarray, prior: float = 0.1, tolerance: float = 1e-8) -> np.ndarray:
    """The ratings under which the votes are likeliest, whatever their order (Bradley and Terry 1952).

    By the iteration of Hunter, "MM algorithms for generalized Bradley-Terry models" (2004), section 2, on Elo's scale,
    the mean being 1000. A tie is half a win of each.

    Args:
        wins: (…, M, M), how often the row's model beat the column's; see ``win_matrix``.
        prior: so many ties are added between each two that met, without which a model that never lost would be
            infinitely good.
        tolerance: the iteration ends where no logarithm of a strength moves by more.

    Returns:
        (…, M). Models that no chain of votes connects cannot be compared: see ``connected``.
    """
    met = (wins + wins.swapaxes(-1, -2)) > 0
    wins = wins + 0.5 * prior * met
    games = wins + wins.swapaxes(-1, -2)
    won = wins.sum(-1)
    log_strength = np.zeros(won.shape)
    for _ in range(10_000):
        strength = np.exp(log_strength)
        share = games / (strength[..., :, None] + strength[..., None, :])
        with np.errstate(divide='ignore', invalid='ignore'):
            new = np.log(won) - np.log(share.sum(-1))
        new = np.where(np.isfinite(new), new, 0.0)  # who met nobody
        new -= new.mean(-1, keepdims=True)
        moved = float(np.abs(new - log_strength).max(initial=0.0))
        log_strength = new
        if moved < tolerance:
            break
    return START + SCALE / np.log(10) * log_strength


def win_matrix(votes: Battles, chosen: np.ndarray | None = None) -> np.ndarray:
    """(M, M): how often the row's model beat the column's, a tie being half a win of each.

    Args:
        votes: N of them.
        chosen: (B, N) places of votes, for (B, M, M).
    """
    count = len(votes.models)
    samples = np.arange(len(votes))[None] if chosen is None else chosen
    wins = np.zeros((len(samples), count, count))
    rows = np.broadcast_to(np.arange(len(samples))[:, None], samples.shape)
    first, second, scores = votes.first[samples], votes.second[samples], votes.scores[samples]
    np.add.at(wins, (rows, first, second), scores)
    np.add.at(wins, (rows, second, first), 1 - scores)
    return wins[0] if chosen is None else wins


def connected(votes: Battles) -> list[list[str]]:
    """Groups of models that a chain of votes connects; ratings compare only within one."""
    group = list(range(len(votes.models)))

    def root(place: int) -> int:
        while group[place] != place:
            place = group[place]
        return place

    for a, b in zip(votes.first.tolist(), votes.second.tolist(), strict=True):
        group[root(a)] = root(b)
    groups: dict[int, list[str]] = {}
    for place, name in enumerate(votes.models):
        groups.setdefault(root(place), []).append(name)
    return sorted(groups.values(), key=len, reverse=True)


def rate(votes: Battles, k: float = 4.0, resamples: int = 1000, seed: int = 0) -> dict[str, Any]:
    """Both ratings with their 95 % intervals over resamples of the votes.

    Returns:
        ``{'battles', 'models': {name: {'battles', 'win_rate', 'elo', 'elo_median', 'elo_interval', 'bradley_terry',
        'bradley_terry_interval'}}, 'groups', 'k', 'resamples', 'seed'}``, the best of ``bradley_terry`` first.
        ``elo_median`` is the median over resamples, which does not hang on the order of the votes.
    """
    wins = win_matrix(votes)
    draws = np.random.default_rng(seed).integers(len(votes), size=(max(2, resamples), len(votes)))
    ratings = {'elo': (elo(votes, k), elo(votes, k, draws))}
    ratings['bradley_terry'] = (bradley_terry(wins), bradley_terry(win_matrix(votes, draws), tolerance=1e-4))
    games = wins.sum(1) + wins.sum(0)
    models = {}
    for place in np.argsort(-ratings['bradley_terry'][0], kind='stable'):
        row = {'battles': int(games[place]), 'win_rate': float(wins[place].sum() / games[place])}
        for name, (value, drawn) in ratings.items():
            row[name] = float(value[place])
            if name == 'elo':
                row['elo_median'] = float(np.median(drawn[:, place]))
            row[f'{name}_interval'] = [float(q) for q in np.quantile(drawn[:, place], (0.025, 0.975))]
        models[votes.models[place]] = row
    return {
        'battles': len(votes),
        'models': models,
        'groups': connected(votes),
        'k': k,
        'resamples': resamples,
        'seed': seed,
    }


def draw_win_rates(votes: Battles, order: Sequence[str], path: str | Path) -> None:
    """Draw how often the row's model beats the column's, the models in ``order``; ties are half a win."""
    from matplotlib.figure import Figure

    places = [votes.models.index(name) for name in order]
    wins = win_matrix(votes)[np.ix_(places, places)]
    games = wins + wins.T
    shares = np.divide(wins, games, out=np.full_like(wins, np.nan), where=games > 0)
    size = 1.8 + 0.75 * len(order)
    figure = Figure(figsize=(size + 1, size), layout='constrained')
    axes = figure.subplots()
    image = axes.imshow(shares, cmap='BrBG', vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(games), strict=True):
        text = f'{shares[row, column]:.2f}\nof {games[row, column]:.0f}'
        axes.text(column, row, text, ha='center', va='center', fontsize='small')
    axes.set_xticks(range(len(order)), order, rotation=30, ha='right')
    axes.set_yticks(range(len(order)), order)
    axes.set(title='share of battles that the row won', xlabel='against')
    figure.colorbar(image)
    figure.savefig(path, dpi=110)


def _json(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'{place}: this is no JSON: {error}') from error

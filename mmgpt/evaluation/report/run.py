"""What an evaluation left in its folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgpt.engine.signatures import misfit
from mmgpt.evaluation.predictions import PREDICTIONS

# of what is read here, by the page and by the comparison: the types of its values
METRICS = {
    'task': str,
    'main': str,
    'model': str,
    'rows': list[dict],
    'published': list[dict],
    'settings': dict,
    'versions': dict,
}
SETTINGS = {'shots': list[int], 'seeds': list[int]}
ROW = {'shots': int, 'trials': list[float], 'figures': dict, 'groups': dict}
LINE = {
    'shots': int,
    'seed': int,
    'question': str,
    'demonstrations': list,
    'answer': str,
    'raw': str,
    'score': float | bool | None,
}


@dataclass(frozen=True)
class Run:
    """The files of a finished evaluation.

    Args:
        folder: where they lie.
        metrics: ``metrics.json``.
        lines: of ``predictions.jsonl``, those of the shots and seeds of ``metrics.json``.
    """

    folder: Path
    metrics: dict[str, Any]
    lines: tuple[Mapping[str, Any], ...]

    @classmethod
    def read(cls, folder: str | Path) -> Run:
        """Reads a folder.

        Raises:
            FileNotFoundError: the evaluation that wrote it did not end, or there was none.
            ValueError: a file is damaged, or another kind of evaluation wrote it.
        """
        folder = Path(folder)
        for name in ('metrics.json', PREDICTIONS):
            if not (folder / name).is_file():
                raise FileNotFoundError(
                    f'{folder / name} is not there: give the folder that tools/test.py wrote to (--out), '
                    'and let it end; it goes on where it was'
                )
        try:
            metrics = json.loads((folder / 'metrics.json').read_text(encoding='utf-8'))
            lines = (folder / PREDICTIONS).read_text(encoding='utf-8').split('\n')
            rows = tuple(json.loads(line) for line in lines if line.strip())
        except ValueError as error:
            raise ValueError(f'{folder}: metrics.json or {PREDICTIONS} is damaged: {error}') from None
        if not isinstance(metrics, dict) or not all(metrics.get(key) for key in ('task', 'main', 'rows', 'settings')):
            raise ValueError(f"{folder}/metrics.json is not of an evaluation with shots (type='Evaluation')")
        for number, row in enumerate(rows, 1):
            if not isinstance(row, dict) or not {'shots', 'seed', 'id'} <= set(row):
                raise ValueError(f"{folder / PREDICTIONS}: answer {number} lacks 'shots', 'seed' or 'id': {row!s:.80}")
            _check(row, LINE, f'{folder / PREDICTIONS}: answer {number}')
        _check_metrics(metrics, str(folder / 'metrics.json'))
        shots, seeds = (metrics['settings'][name] for name in SETTINGS)
        return cls(folder, metrics, tuple(row for row in rows if row['shots'] in shots and row['seed'] in seeds))


def _check_metrics(metrics: Mapping[str, Any], path: str) -> None:
    _check(metrics, METRICS, path)
    _check(metrics['settings'], SETTINGS, f'{path}: settings')
    for number, row in enumerate(metrics['rows']):
        where = f'{path}: rows.{number}'
        _check(row, ROW, where)
        _check(row, dict.fromkeys(('mean', 'stddev'), float if row['trials'] else None), where)
        _check(row['figures'], dict.fromkeys(row['figures'], list[float]), f'{where}.figures')
        _check(row['groups'], dict.fromkeys(row['groups'], dict), f'{where}.groups')
        for kind, members in row['groups'].items():
            _check(members, dict.fromkeys(members, float), f'{where}.groups.{kind}')


def _check(record: Mapping[str, Any], forms: Mapping[str, Any], where: str) -> None:
    """Raises a ValueError where a value of a record is of another type than ``forms`` say."""
    for name, form in forms.items():
        if wrong := misfit(record.get(name), form):
            raise ValueError(f'{where}: {name}: {wrong:.200}; the file was changed: run the evaluation again')

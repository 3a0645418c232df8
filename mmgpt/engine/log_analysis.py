"""Runs side by side: their figures in a table and as curves."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

from mmgpt.engine.hooks.curves import LOGS, read_scalars

Curves = dict[str, dict[int, float]]  # figure -> iteration -> value
KEYS = ('loss', 'val/loss', 'grad_norm', 'tokens_per_second')
SPEED = ('tokens_per_second', 'samples_per_second', 'mfu', 'data_wait')  # summed up by their median
LATE = 0.1  # the part of a run at its end whose mean stands for what it came to


def read_run(path: Path) -> Curves:
    """The figures of a work folder, of one log folder in it, or of a ``scalars.json``.

    Of a work folder the logs of its newest run count, those of the parts that it resumed too: where two have an
    iteration, the later one. All count where the newest does not say what it resumed.

    Raises:
        ValueError: there are none.
    """
    path = Path(path)
    if path.is_file():
        logs = [path]
    else:
        logs = sorted(path.glob('vis_data/scalars.json')) or _of_the_newest_run(path)
    curves = read_scalars(logs)
    if not curves:
        raise ValueError(f'{path} has no figures: expected a work folder, a log folder in it, or its scalars.json')
    return curves


def _of_the_newest_run(work_dir: Path) -> list[Path]:
    """The ``scalars.json`` files of a work folder that belong together, the oldest first."""
    logs = sorted(work_dir.glob('*/vis_data/scalars.json'))
    note = logs[-1].parents[1] / LOGS if logs else None
    if note is None or not note.is_file():
        return logs
    return [work_dir / name / 'vis_data' / 'scalars.json' for name in json.loads(note.read_text())]


def names_of(paths: Sequence[Path]) -> list[str]:
    """A name for each run, as short as tells them apart.

    Example:
        >>> names_of([Path('work_dirs/a'), Path('work_dirs/b')])
        ['a', 'b']
    """
    for parts in range(1, max(len(Path(path).resolve().parts) for path in paths) + 1):
        names = ['/'.join(Path(path).resolve().parts[-parts:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    return [f'{name} ({place})' for place, name in enumerate(names, 1)]


def summarise(curves: Curves) -> dict[str, float]:
    """What a run came to: last iteration, loss at its end (mean over the last tenth), medians of its speed."""
    last = max(step for values in curves.values() for step in values)
    found = {'iterations': float(last)}
    for name, values in curves.items():
        if name == 'loss' or name.startswith(('loss/', 'val/')):
            late = [value for step, value in values.items() if step > (1 - LATE) * last] or [values[max(values)]]
            found[name] = statistics.fmean(late)
        elif name in SPEED:
            found[name] = statistics.median(values.values())
        elif name == 'memory_gib':
            found[name] = max(values.values())
        elif name == 'grad_norm':
            found['grad_norm'] = statistics.median(values.values())
            found['greatest grad_norm'] = max(values.values())
    return found


def table(runs: Mapping[str, Curves]) -> str:
    """A line for each figure, a column for each run; with two or more, how far each is from the first."""
    summaries = {name: summarise(curves) for name, curves in runs.items()}
    keys = list(dict.fromkeys(key for summary in summaries.values() for key in summary))
    keys.sort(key=lambda key: (key != 'iterations', not key.startswith('loss'), not key.startswith('val'), key))
    width = max(18, *(len(name) + 10 for name in summaries))
    lines = [f'{"":<22}' + ''.join(f'{name:>{width}}' for name in summaries)]
    for key in keys:
        first = next(iter(summaries.values())).get(key)
        cells = []
        for place, summary in enumerate(summaries.values()):
            value = summary.get(key)
            text = '-' if value is None else f'{value:,.4g}' if abs(value) < 1000 else f'{value:,.0f}'
            if place and value is not None and first and key != 'iterations':
                text += f' ({value / first - 1:+.1%})'
            cells.append(f'{text:>{width}}')
        lines.append(f'{key:<22}' + ''.join(cells))
    return '\n'.join(lines)


def plot(runs: Mapping[str, Curves], keys: Sequence[str], path: Path, smooth: int = 1) -> list[str]:
    """Draws a panel for each figure, a line for each run.

    Args:
        runs: name -> figures.
        keys: figures; one that no run has is left out.
        path: the picture to write.
        smooth: running mean over so many logged values; the values themselves are drawn faintly behind it.

    Returns:
        the figures that were drawn.
    """
    from matplotlib.figure import Figure

    keys = [key for key in keys if any(key in curves for curves in runs.values())]
    if not keys:
        return []
    columns = min(len(keys), 3)
    rows = -(-len(keys) // columns)
    figure = Figure(figsize=(5 * columns, 3.4 * rows + 0.5), layout='constrained')
    panels = figure.subplots(rows, columns, squeeze=False).flat
    handles = []
    for axes, key in zip(panels, keys):
        handles = []
        for place, (name, curves) in enumerate(runs.items()):
            colour = f'C{place % 10}'
            steps = sorted(curves.get(key, ()))
            values = [curves[key][step] for step in steps]
            if smooth > 1:
                axes.plot(steps, values, color=colour, alpha=0.25, linewidth=0.8)
                values = running_mean(values, smooth)
            handles += axes.plot(steps, values, color=colour, label=name, linewidth=1.6)
        axes.set(title=key, xlabel='iteration')
        axes.grid(alpha=0.3)
    for axes in figure.axes[len(keys) :]:
        axes.set_visible(False)
    figure.legend(handles=handles, loc='outside upper center', ncols=min(len(runs), 4), frameon=False)
    figure.savefig(path, dpi=120)
    return keys


def running_mean(values: Sequence[float], count: int) -> list[float]:
    """The mean of each value and those before it, up to ``count``.

    Example:
        >>> running_mean([1.0, 3.0, 5.0], 2)
        [1.0, 2.0, 4.0]
    """
    return [statistics.fmean(values[max(0, place + 1 - count) : place + 1]) for place in range(len(values))]


def to_json(runs: Mapping[str, Curves]) -> str:
    """The summaries of all runs."""
    return json.dumps({name: summarise(curves) for name, curves in runs.items()}, indent=1)

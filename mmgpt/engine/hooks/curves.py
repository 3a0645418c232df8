"""The run in one picture."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmgpt.registry import HOOKS

LOGS = 'logs_of_the_run.json'  # in a log folder
PANELS = {
    'loss': 'loss',
    'val': 'validation loss',
    'grad_norm': 'gradient norm',
    'lr': 'learning rate',
    'gates': 'tanh(gate)',
}


@HOOKS.register_module()
class CurvesHook(Hook):
    """Draws losses (whole and per kind), gradient norm, learning rate and gates into ``W/curves.png`` after the run."""

    priority = 'LOWEST'

    def after_run(self, runner) -> None:
        """Draw from the logs of this run and of those that it resumed."""
        if is_main_process():
            logs = [Path(runner.work_dir) / name / 'vis_data' / 'scalars.json' for name in runner.log_dirs]
            draw_curves(read_scalars(logs), Path(runner.work_dir) / 'curves.png')


def note_logs(folder: Path, names: list[str]) -> None:
    """Write the names of a run's log folders, the oldest first, into its newest one."""
    part = folder / f'{LOGS}.part'
    part.write_text(json.dumps(names))
    os.replace(part, folder / LOGS)


def read_scalars(logs: Iterable[Path]) -> dict[str, dict[int, float]]:
    """Every figure of ``scalars.json`` files by iteration; of what was logged twice the last counts.

    Lines that a killed process or a full disk has cut are left out.
    """
    curves: dict[str, dict[int, float]] = {}
    for path in filter(Path.is_file, logs):
        for line in path.read_text(errors='replace').splitlines():
            try:
                entry = json.loads(line)
                step = entry.pop('step')
            except (ValueError, AttributeError, KeyError):
                continue
            for name, value in entry.items():
                curves.setdefault(name, {})[step] = value
    return curves


def draw_curves(curves: dict[str, dict[int, float]], path: Path) -> None:
    """Draw one panel per group of figures; a group without figures has none.

    Args:
        curves: figure -> iteration -> value.
        path: the picture to write.
    """
    from matplotlib.figure import Figure

    panels = {group: sorted(name for name in curves if name.split('/')[0] == group) for group in PANELS}
    panels = {group: names for group, names in panels.items() if names}
    if not panels:
        return
    figure = Figure(figsize=(5 * len(panels), 3.6), layout='constrained')
    for axes, (group, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        for name in names:
            steps = sorted(curves[name])
            width = 2 if name == group else 1
            axes.plot(steps, [curves[name][step] for step in steps], label=name, marker='.', linewidth=width)
        axes.set(title=PANELS[group], xlabel='iteration')
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend(fontsize='x-small')
    figure.savefig(path, dpi=120)

"""What the console shows during training: one bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

from mmengine.dist import is_main_process
from mmengine.hooks import Hook

from mmgpt.registry import HOOKS
from mmgpt.structures import KINDS


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows how far the run is, when it will end, and the newest figures.

    Args:
        interval: iterations between two lines where the output is no terminal.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: int = 50):
        if interval < 1:
            raise ValueError(f'interval must be at least 1, got {interval}')
        self.interval = interval
        self._display: _Display | None = None
        self._start = (0, 0.0)  # iteration and time

    def before_train(self, runner) -> None:
        """Open the bar."""
        self._start = (runner.iter, time.perf_counter())
        if is_main_process():
            print(f'precision: {runner.optim_wrapper.precision}', flush=True)
            if runner.iter:
                print(f'continuing after iteration {runner.iter}', flush=True)
            if sys.stdout.isatty():
                self._display = _Display(runner.max_iters, runner.iter)

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Move the bar, or print a line when one is due."""
        done = runner.iter + 1
        if self._display is not None:
            self._display.show(done, self._left(runner), figures_text(runner.figures))
        elif is_main_process() and (done % self.interval == 0 or done == runner.max_iters):
            percent = 100 * done // runner.max_iters
            line = f'{done:>{len(str(runner.max_iters))}}/{runner.max_iters} {percent:3d} %  {self._left(runner)}'
            print(f'{line}  {figures_text(runner.figures)}', flush=True)

    def after_train(self, runner) -> None:
        """Close the bar."""
        if self._display is not None:
            self._display.close()
            self._display = None

    def on_exit(self, runner) -> None:
        """Close the bar of a run that ended early, too: it hides the cursor."""
        self.after_train(runner)

    def _left(self, runner) -> str:
        """The time left, from the pace of this process."""
        iteration, clock = self._start
        done = runner.iter + 1
        seconds = (time.perf_counter() - clock) / (done - iteration) * (runner.max_iters - done)
        return f'{timedelta(seconds=round(seconds))} left'


class _Display:
    """A bar, and the figures in a line below it.

    Args:
        total: iterations of the run.
        done: iterations done before.
    """

    def __init__(self, total: int, done: int):
        from rich.live import Live
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn

        columns = (BarColumn(), MofNCompleteColumn(), TaskProgressColumn(), TextColumn('{task.fields[left]}'))
        self._bar = Progress(*columns)
        self._task = self._bar.add_task('', total=total, completed=done, left='')
        self._live = Live(self._bar, refresh_per_second=4)
        self._live.start()

    def show(self, done: int, left: str, figures: str) -> None:
        """Show the newest state."""
        from rich.console import Group
        from rich.text import Text

        self._bar.update(self._task, completed=done, left=left)
        self._live.update(Group(self._bar, Text(figures)))

    def close(self) -> None:
        """Leave the last state on the screen."""
        self._live.stop()


def figures_text(figures: dict[str, float]) -> str:
    """The figures of ``LoggerHook`` and ``ValLoop`` in one line.

    Example:
        >>> figures_text({'loss': 0.5, 'loss/text': 0.25, 'loss/image': 0.75, 'lr': 1e-3, 'tokens_per_second': 12345})
        'loss 0.500 (text 0.250, image 0.750)  lr 1.0e-03  12,345 tokens/s'
    """
    parts = []
    if 'loss' in figures:
        kinds = ', '.join(f'{kind} {figures[f"loss/{kind}"]:.3f}' for kind in KINDS if f'loss/{kind}' in figures)
        parts.append(f'loss {figures["loss"]:.3f}' + (f' ({kinds})' if kinds else ''))
    if 'val/loss' in figures:
        parts.append(f'validation {figures["val/loss"]:.3f}')
    if 'lr' in figures:
        parts.append(f'lr {figures["lr"]:.1e}')
    for name, unit in (('tokens_per_second', 'tokens/s'), ('samples_per_second', 'samples/s')):
        if name in figures:
            parts.append(f'{figures[name]:,.0f} {unit}')
    return '  '.join(parts)

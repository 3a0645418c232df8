"""Ends a run in good order where a scheduler asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, get_world_size
from mmengine.hooks import Hook

from mmgpt.registry import HOOKS

STOPPED = 75  # the exit code: sysexits' EX_TEMPFAIL, "try again later"


@HOOKS.register_module()
class StopHook(Hook):
    """On SIGTERM or SIGUSR1 lets the current iteration end, has a checkpoint written, and ends the run.

    Of several processes it is enough that one gets the signal; they stop together at the end of a step. The run's exit
    code is 75 then, and ``--resume auto`` goes on bit for bit.

    Args:
        signals: their names; Slurm sends what ``--signal`` says, such as ``--signal=USR1@120``.
    """

    def __init__(self, signals: Sequence[str] = ('SIGTERM', 'SIGUSR1')):
        if unknown := [name for name in signals if name not in signal.Signals.__members__]:
            raise ValueError(f'signals are named as SIGTERM or SIGUSR1, got {unknown}')
        self.signals = [signal.Signals[name] for name in signals]
        self.caught = 0  # the newest one's number
        self._before: dict[signal.Signals, object] = {}

    def before_train(self, runner) -> None:
        """Listen; only a main thread can."""
        if threading.current_thread() is threading.main_thread():
            self._before = {number: signal.signal(number, self._catch) for number in self.signals}

    def _catch(self, number: int, frame: object) -> None:
        self.caught = number

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Ask the others, and stop where one was asked to."""
        number = self.caught
        if get_world_size() > 1:
            if runner.optim_wrapper.inside_window:
                return
            caught = torch.tensor(number)
            all_reduce(caught, op='max')
            number = int(caught)
        if number and runner.iter + 1 < runner.max_iters:
            runner.stopped_by = signal.Signals(number).name
            runner.train_loop.stop_training = True
            runner.logger.warning(f'{runner.stopped_by}: stopping after iteration {runner.iter + 1}')

    def on_exit(self, runner) -> None:
        """Listen no more; called however the iterations end."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

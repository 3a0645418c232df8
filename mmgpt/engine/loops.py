"""The training loop: one iteration is one micro-batch, and the stream of batches can be entered anywhere."""

from __future__ import annotations

import time
from typing import Any

from mmengine.dist import get_world_size
from mmengine.runner import BaseLoop
from torch import nn

from mmgpt.engine.state import load_rng_state
from mmgpt.registry import LOOPS


@LOOPS.register_module()
class IterLoop(BaseLoop):
    """Trains for ``max_iters`` micro-batches.

    A resumed run enters the sampler's stream where it stopped, by arithmetic and not by loading what was already
    seen, and puts the random number generators back *after* the data loader has drawn its own seed from them.

    Args:
        runner: the runner.
        dataloader: an endless stream of batches; its sampler's ``load_state_dict(dict(position=n))`` enters the
            stream after n samples (of all processes).
        max_iters: micro-batches of the whole run.
    """

    max_epochs = 1  # MMEngine's word for a run that is not counted in epochs
    epoch = 0

    def __init__(self, runner, dataloader, max_iters: int):
        super().__init__(runner, dataloader)
        if not isinstance(max_iters, int) or max_iters < 1:
            raise ValueError(f'max_iters must be an integer of at least 1, got {max_iters!r}')
        self.max_iters = max_iters
        self.iter = 0
        self.stop_training = False
        self.data_seconds = 0.0  # waited for the current batch
        self.train_seconds = 0.0  # of all iterations so far, those before a resume included
        self._rng: dict[str, Any] | None = None
        self._entered = (0, 0)  # iteration and stream position at which this process began

    def stream_state(self, iteration: int) -> dict[str, int]:
        """Where the stream stands after ``iteration`` iterations: what was trained on, not what workers prefetched."""
        start, position = self._entered
        return {'position': position + (iteration - start) * self.dataloader.batch_size * get_world_size()}

    def load_state(self, state: dict[str, Any], rng: dict[str, Any]) -> None:
        """Continue after ``state['iteration']`` iterations.

        Args:
            state: 'iteration', 'train_seconds' and 'stream' (see ``stream_state``).
            rng: this process's generators (see ``mmgpt.engine.state``).
        """
        self.iter = state['iteration']
        self.train_seconds = state['train_seconds']
        self._entered = (self.iter, state['stream']['position'])
        self._rng = rng
        self.dataloader.sampler.load_state_dict(state['stream'])

    def run(self) -> nn.Module:
        """Train, from the iteration of ``load_state_dict`` where there was one."""
        self.runner.call_hook('before_train')
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        if self.iter < self.max_iters:
            self._iterate()
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _iterate(self) -> None:
        stream = iter(self.dataloader)
        if self._rng is not None:
            load_rng_state(self._rng)
            self._rng = None
        clock = time.perf_counter()
        while self.iter < self.max_iters and not self.stop_training:
            batch = next(stream)
            self.data_seconds = time.perf_counter() - clock
            self.run_iter(batch)
            now = time.perf_counter()
            self.train_seconds, clock = self.train_seconds + now - clock, now

    def run_iter(self, batch: dict) -> None:
        """One micro-batch, with MMEngine's hooks around it; ``iter`` grows after them, as in MMEngine."""
        self.runner.call_hook('before_train_iter', batch_idx=self.iter, data_batch=batch)
        outputs = self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
        self.runner.call_hook('after_train_iter', batch_idx=self.iter, data_batch=batch, outputs=outputs)
        self.iter += 1

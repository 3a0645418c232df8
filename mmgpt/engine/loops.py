"""The training loop: one iteration is one micro-batch, and the stream of batches can be entered anywhere."""

from __future__ import annotations

import time
from typing import Any

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
        dataloader: an endless stream of batches. Its ``batch_sampler`` knows where the training stands in it:
            ``skip(batches)``, ``state_dict()``, ``load_state_dict()``; iterating, which workers do ahead of the
            training, does not move it.
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

    def state_dict(self) -> dict[str, Any]:
        """Where the training stands; called by hooks after an iteration."""
        return {
            'iteration': self.iter + 1,
            'train_seconds': self.train_seconds,
            'stream': self.dataloader.batch_sampler.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any], rng: dict[str, Any] | None = None) -> None:
        """Continue where ``state_dict`` was called.

        Args:
            state: what it gave.
            rng: this process's generators at that time (see ``mmgpt.engine.state``); None leaves them as they are.
        """
        self.iter = state['iteration']
        self.train_seconds = state['train_seconds']
        self.dataloader.batch_sampler.load_state_dict(state['stream'])
        self._rng = rng

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
        self.dataloader.batch_sampler.skip(1)
        self.runner.call_hook('after_train_iter', batch_idx=self.iter, data_batch=batch, outputs=outputs)
        self.iter += 1

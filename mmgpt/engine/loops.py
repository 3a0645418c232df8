"""The loops: training, whose stream of batches can be entered anywhere, and the loss on data that is not trained on.

One iteration is one micro-batch.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import torch
from mmengine.dist import all_reduce
from mmengine.runner import BaseLoop
from torch import nn

from mmgpt.data.worker_signals import ending_workers
from mmgpt.engine.hooks.logger import loss_figures
from mmgpt.engine.module import evaluating, to_device
from mmgpt.engine.out_of_memory import explained
from mmgpt.engine.prefetch import made_ahead
from mmgpt.engine.state import load_rng_state, untouched_rng
from mmgpt.registry import LOOPS
from mmgpt.structures import GROUPS, Batch


@LOOPS.register_module()
class IterLoop(BaseLoop):
    """Trains for ``max_iters`` micro-batches.

    A resumed run enters the sampler's stream where it stopped, by arithmetic and not by loading what was already
    seen, and puts the random number generators back *after* the data loader has drawn its own seed from them. A data
    loader without workers makes its batches in a thread beside the training.

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
        try:
            if self.iter < self.max_iters:
                self._iterate()
        finally:
            self.runner.call_hook('on_exit')
        self.runner.call_hook('after_train_epoch')
        self.runner.call_hook('after_train')
        return self.runner.model

    def _iterate(self) -> None:
        stream = iter(self.dataloader)
        if self._rng is not None:
            load_rng_state(self._rng)
            self._rng = None
        with ending_workers(stream) if self.dataloader.num_workers else made_ahead(stream) as batches:
            clock = time.perf_counter()
            while self.iter < self.max_iters and not self.stop_training:
                batch = next(batches)
                self.data_seconds = time.perf_counter() - clock
                self.run_iter(batch)
                now = time.perf_counter()
                self.train_seconds, clock = self.train_seconds + now - clock, now

    def run_iter(self, batch: dict) -> None:
        """One micro-batch, with MMEngine's hooks around it; ``iter`` grows after them, as in MMEngine."""
        self.runner.call_hook('before_train_iter', batch_idx=self.iter, data_batch=batch)
        with explained(batch, self.runner.cfg, f'iteration {self.iter + 1}'):
            outputs = self.runner.model.train_step(batch, optim_wrapper=self.runner.optim_wrapper)
        self.dataloader.batch_sampler.skip(1)
        validation = self.runner.validation
        if validation is not None and validation.is_due(self.iter + 1):
            validation.run()
        self.runner.call_hook('after_train_iter', batch_idx=self.iter, data_batch=batch, outputs=outputs)
        self.iter += 1


@LOOPS.register_module()
class ValLoop(BaseLoop):
    """Measures the loss on all samples of ``val_dataloader`` and logs it as ``val/loss``, ``val/loss/image``, ….

    Training is not touched by it: random number generators, gradients and the training mode are left as they were, and
    no checkpoint holds anything of it.

    Args:
        runner: the runner.
        dataloader: this process's share of the samples, each once (``mmgpt.data.builder.build_val_dataloader``).
        interval: iterations of the training between two times; the last iteration is always followed by one.

    Example:
        >>> held_out = dict(type='MimicIt', instructions='held_out.json')
        >>> val_dataloader = dict(batch_size=8, dataset=dict(sources=[held_out]))
        >>> val_cfg = dict(interval=500)
    """

    def __init__(self, runner: Any, dataloader: Any, interval: int = 500):
        super().__init__(runner, dataloader)
        if not isinstance(interval, int) or interval < 1:
            raise ValueError(f'interval of val_cfg must be an integer of at least 1, got {interval!r}')
        self.interval = interval

    def is_due(self, done: int) -> bool:
        """Whether the loss is measured after so many iterations of the training."""
        return done % self.interval == 0 or done == self.runner.max_iters

    def run(self) -> dict[str, float]:
        """Measure and log; collective.

        Returns:
            the figures, the same on all processes: Σ w·CE / Σ w, and the mean of each kind and language.
        """
        module, device = self.runner.trained_module, self.runner.trained_module.device
        totals = torch.zeros(2 + 2 * len(GROUPS), dtype=torch.float64, device=device)
        precision = self.runner.optim_wrapper.optim_context(module)
        with untouched_rng(), evaluating(module), torch.no_grad(), precision, closing(self._batches()) as batches:
            for batch, counts in batches:
                with explained(batch, self.runner.cfg, 'the validation'):
                    sums = module(to_device(batch, device))
                if not counts:
                    continue
                totals[0] += sums.loss_sum
                totals[1] += sums.weight_sum
                totals[2:] += torch.cat([sums.kind_losses, sums.kind_counts])
        self.runner.strategy.rest(self.runner.model)
        all_reduce(totals)
        loss, weight, *kinds = totals.tolist()
        figures = {f'val/{name}': value for name, value in loss_figures(loss, weight, kinds).items()}
        with self.runner.full_disk_told('the validation'):
            self.runner.visualizer.add_scalars(figures, step=self.runner.iter + 1)
        for name, value in figures.items():
            self.runner.message_hub.update_scalar(name, value)
        self.runner.figures = {**self.runner.figures, **figures}
        return figures

    def _batches(self) -> Iterator[tuple[Batch, bool]]:
        """This process's batches; where the processes share the model as many as any has, the last ones for their sake.

        Raises:
            ValueError: there are processes without any.
        """
        if not self.runner.strategy.sharded:
            with ending_workers(iter(self.dataloader)) as batches:
                yield from ((batch, True) for batch in batches)
            return
        own = torch.tensor([len(self.dataloader), -len(self.dataloader)])
        all_reduce(own, op='max')
        if own[1] == 0:
            raise ValueError('val_dataloader has fewer samples than there are processes: leave it out, or take fewer')
        with ending_workers(iter(self.dataloader)) as batches:
            for batch in batches:
                yield batch, True
        for _ in range(len(self.dataloader), int(own[0])):
            yield batch, False

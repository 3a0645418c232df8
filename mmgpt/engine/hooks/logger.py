"""The figures of training: loss, loss per kind, speed, learning rate, gradient norm."""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from mmengine.dist import all_reduce, is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from mmgpt.registry import HOOKS
from mmgpt.structures import GROUPS


@HOOKS.register_module()
class LoggerHook(Hook):
    """Every ``interval`` iterations writes the figures of those iterations to all visualizer backends.

    ``loss`` is Σ w·CE / Σ w over the interval and all processes, ``loss/image`` … the mean CE of a kind of sample and
    ``loss/zh`` … of a language that samples are tagged with;
    ``tokens_per_second`` counts tokens without padding, ``data_wait`` is the fraction of time spent waiting for data.
    Sums stay on the device until they are written, and an open interval is part of a checkpoint, so that a resumed
    run logs what an uninterrupted one logs. The newest figures are ``runner.figures``.

    Args:
        interval: iterations between two entries.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 10):
        if interval < 1:
            raise ValueError(f'interval must be at least 1, got {interval}')
        self.interval = interval
        self._sums: Tensor | None = None  # float64: loss, weight, tokens, samples, then losses and counts per kind
        self._waited = 0.0
        self._clock = 0.0

    def before_train(self, runner) -> None:
        """Start the clock."""
        self._waited, self._clock = 0.0, time.perf_counter()

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Add the iteration; write when the interval is full or the run ends."""
        sums = outputs['sums']
        device = sums.loss_sum.device
        totals = (sums.loss_sum.detach(), sums.weight_sum, sums.tokens, outputs['samples'])
        totals = torch.stack([torch.as_tensor(value, device=device).double() for value in totals])
        added = torch.cat([totals, sums.kind_losses.double(), sums.kind_counts.double()])
        counts = torch.arange(len(added), device=device)
        counts = (counts == 2) | (counts == 3)  # tokens and samples are seen even where the loss is not finite
        added = torch.where(torch.isfinite(totals[0]) | counts, added, 0.0)
        self._sums = added if self._sums is None else self._sums + added
        self._waited += runner.train_loop.data_seconds
        if self.every_n_train_iters(runner, self.interval) or runner.iter + 1 == runner.max_iters:
            self._write(runner)

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the open interval."""
        checkpoint['logged_sums'] = None if self._sums is None else self._sums.clone()
        if self._sums is not None:
            all_reduce(checkpoint['logged_sums'])

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take up the open interval."""
        device = next(runner.model.parameters()).device
        kept = checkpoint.get('logged_sums')
        self._sums = None if kept is None else kept.to(device) * is_main_process()  # they are those of all processes

    def _write(self, runner) -> None:
        all_reduce(self._sums)
        loss, weight, tokens, samples, *kinds = self._sums.tolist()
        now = time.perf_counter()
        seconds = max(now - self._clock, 1e-9)
        figures = loss_figures(loss, weight, kinds)
        figures['lr'] = runner.optim_wrapper.optimizer.param_groups[0]['lr']
        if runner.optim_wrapper.grad_norm is not None:
            figures['grad_norm'] = float(runner.optim_wrapper.grad_norm)
        figures['tokens_per_second'] = tokens / seconds
        figures['samples_per_second'] = samples / seconds
        figures['data_wait'] = min(self._waited / seconds, 1.0)
        if torch.cuda.is_available():
            figures['memory_gib'] = torch.cuda.max_memory_allocated() / 2**30
        measured = {name: value for name, value in runner.figures.items() if name.startswith('val/')}
        runner.figures = {**measured, **figures}
        runner.visualizer.add_scalars(figures, step=runner.iter + 1)
        for name, value in figures.items():
            runner.message_hub.update_scalar(f'train/{name}', value)
        self._sums, self._waited, self._clock = None, 0.0, now


def loss_figures(loss: float, weight: float, kinds: Sequence[float]) -> dict[str, float]:
    """The mean loss, and that of each kind and each language that was seen.

    Args:
        loss: Σ w·CE.
        weight: Σ w.
        kinds: (2 * len(GROUPS)) the cross-entropies of each group, then the tokens of each.
    """
    sums: dict[str, list[float]] = {}  # of each kind and each language
    for group, group_loss, count in zip(GROUPS, kinds[: len(GROUPS)], kinds[len(GROUPS) :], strict=True):
        for name in filter(None, group if count > 0 else ()):
            total = sums.setdefault(name, [0.0, 0.0])
            total[0], total[1] = total[0] + group_loss, total[1] + count
    means = {f'loss/{name}': total / count for name, (total, count) in sums.items()}
    return {'loss': loss / max(weight, 1e-9), **means}

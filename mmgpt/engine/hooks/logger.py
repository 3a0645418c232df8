"""The figures of training: loss, loss per kind, speed, learning rate, gradient norm."""

from __future__ import annotations

import resource
import time
from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce, is_main_process
from mmengine.hooks import Hook
from torch import Tensor

from mmgpt.engine.flops import LinearFlops, peak_flops
from mmgpt.engine.hooks.curves import note_logs
from mmgpt.registry import HOOKS
from mmgpt.structures import GROUPS


@HOOKS.register_module()
class LoggerHook(Hook):
    """Every ``interval`` iterations writes the figures of those iterations to all visualizer backends.

    ``loss`` is Σ w·CE / Σ w over the interval and all processes, ``loss/image`` … the mean CE of a kind of sample and
    ``loss/zh`` … of a language that samples are tagged with;
    ``tokens_per_second`` counts tokens without padding, ``data_wait`` is the fraction of time spent waiting for data,
    ``mfu`` the part of the device's arithmetic that is used (see ``mmgpt.engine.flops``), ``memory_gib`` the most of
    any process: what PyTorch has allocated on a GPU, else resident memory; of several ``memory_gib/{rank}`` too.
    Sums stay on the device until they are written, and an open interval is part of a checkpoint, so that a resumed
    run logs what an uninterrupted one logs. The newest figures are ``runner.figures``.

    Args:
        interval: iterations between two entries.
        mfu: whether it is counted; a number is the device's FLOP/s, for one that is not known. Compiled layers cannot
            be counted.
    """

    priority = 'BELOW_NORMAL'

    def __init__(self, interval: int = 10, mfu: bool | float = True):
        if interval < 1:
            raise ValueError(f'interval must be at least 1, got {interval}')
        self.interval = interval
        self.mfu = mfu
        self._flops: LinearFlops | None = None
        self._peak = 0.0
        self._sums: Tensor | None = None  # float64: loss, weight, tokens, samples, then losses and counts per kind
        self._waited = 0.0
        self._clock = 0.0

    def before_train(self, runner) -> None:
        """Start the clock and the counters, and note beside the log which logs belong to this run."""
        if self.mfu and not runner.cfg.get('compile'):
            device = runner.trained_module.device.type
            measured = self.mfu is True
            self._peak = peak_flops(device, runner.optim_wrapper.precision) if measured else float(self.mfu)
            self._flops = LinearFlops(runner.bare_model)
        self._waited, self._clock = 0.0, time.perf_counter()
        if is_main_process():
            note_logs(Path(runner.log_dir), runner.log_dirs)

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

    def on_exit(self, runner) -> None:
        """Count no more."""
        if self._flops is not None:
            self._flops.close()
            self._flops = None

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the open interval."""
        checkpoint['logged_sums'] = None if self._sums is None else self._sums.clone()
        if self._sums is not None:
            all_reduce(checkpoint['logged_sums'])

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take up the open interval."""
        device = runner.trained_module.device
        kept = checkpoint.get('logged_sums')
        self._sums = None if kept is None else kept.to(device) * is_main_process()  # they are those of all processes

    def _write(self, runner) -> None:
        all_reduce(self._sums)
        loss, weight, tokens, samples, *kinds = self._sums.tolist()
        now = time.perf_counter()
        seconds = max(now - self._clock, 1e-9)
        figures = loss_figures(loss, weight, kinds)
        factors = (runner.cfg.get('optim_wrapper') or {}).get('lr_factors') or {}
        figures['lr'] = learning_rate(runner.optim_wrapper.optimizer.param_groups, factors)
        norm = runner.optim_wrapper.grad_norm
        if norm is not None and bool(torch.isfinite(norm)):
            figures['grad_norm'] = float(norm)
        figures['tokens_per_second'] = tokens / seconds
        figures['samples_per_second'] = samples / seconds
        figures['data_wait'] = min(self._waited / seconds, 1.0)
        if self._flops is not None:
            figures['mfu'] = self._flops.total / seconds / self._peak
            self._flops.total = 0
        held = all_gather_object(memory_gib())
        figures['memory_gib'] = max(held)
        if len(held) > 1:
            figures |= {f'memory_gib/{rank}': value for rank, value in enumerate(held)}
        measured = {name: value for name, value in runner.figures.items() if name.startswith('val/')}
        runner.figures = {**measured, **figures}
        runner.visualizer.add_scalars(figures, step=runner.iter + 1)
        for name, value in figures.items():
            runner.message_hub.update_scalar(f'train/{name}', value)
        self._sums, self._waited, self._clock = None, 0.0, now


def learning_rate(groups: Sequence[Mapping[str, Any]], factors: Mapping[str, float]) -> float:
    """The learning rate that ``lr_factors`` are factors of: a group's without one, else a group's divided by its own.

    Args:
        groups: the optimiser's, with their parameters' 'names'.
        factors: ``lr_factors`` of the config.
    """
    rates = []
    for group in groups:
        name = next(iter(group.get('names', ())), '')
        rates.append((group['lr'], next((value for key, value in factors.items() if fnmatchcase(name, key)), 1.0)))
    lr, factor = next((rate for rate in rates if rate[1] == 1), next((rate for rate in rates if rate[1]), (0.0, 1.0)))
    return lr / factor


def memory_gib() -> float:
    """The most that PyTorch had allocated on this process's GPU; without one, what the process holds now."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**30
    statm = Path('/proc/self/statm')
    return int(statm.read_text().split()[1]) * resource.getpagesize() / 2**30 if statm.exists() else 0.0


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

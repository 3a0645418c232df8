"""Steps whose loss or gradient is not finite: left out, counted, their samples named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook

from mmgpt.registry import HOOKS
from mmgpt.structures import Batch

SHOWN = 8  # samples named in a message; the file has all


@HOOKS.register_module()
class NonFiniteHook(Hook):
    """Tells of every step that the optimiser left out since it was not finite, and ends the run after too many.

    The weights are those of before such a step, on all processes. Its samples come to ``skipped_steps.jsonl`` beside
    the log: those of the micro-batches whose loss was not finite; where only the gradient was not, all of the step.

    Args:
        limit: so many steps in a row may be left out; one more ends the run. 0 ends it at the first.

    Raises:
        FloatingPointError: there were more; the message names samples.
    """

    priority = 'ABOVE_NORMAL'  # before figures are logged and a checkpoint is written

    def __init__(self, limit: int = 10):
        if limit < 0:
            raise ValueError(f'limit must be at least 0, got {limit}')
        self.limit = limit
        self.count = self.in_a_row = 0  # steps left out, those before a resume included
        self._window: list[tuple[torch.Tensor, list[str]]] = []  # loss and samples of each micro-batch

    def after_train_iter(self, runner, batch_idx: int, data_batch: Batch | None = None, outputs=None) -> None:
        """Remember the micro-batch; at the end of a step look whether it was taken."""
        ids = [id for row in (data_batch or {}).get('sample_ids', ()) for id in row]
        self._window.append((outputs['sums'].loss_sum.detach(), ids))
        if runner.optim_wrapper.inside_window:
            return
        window, self._window = self._window, []
        if not runner.optim_wrapper.skipped:
            self.in_a_row = 0
            return
        self.count, self.in_a_row = self.count + 1, self.in_a_row + 1
        entry = self._entry(runner, window)
        if is_main_process():
            with (Path(runner.log_dir) / 'skipped_steps.jsonl').open('a', encoding='utf-8') as file:
                file.write(json.dumps(entry, ensure_ascii=False) + '\n')
        ids = entry['samples']
        shown = ', '.join(ids[:SHOWN]) + (f' and {len(ids) - SHOWN} more' if len(ids) > SHOWN else '')
        told = f'the {entry["what"]} of step {entry["iteration"]} is not finite (samples {shown or "unknown"})'
        if self.in_a_row > self.limit:
            raise FloatingPointError(
                f'{told}, after {self.in_a_row - 1} such steps in a row, which were left out: lower the learning rate, '
                f'lengthen the warm-up, or look at these samples. All are in {runner.log_dir}/skipped_steps.jsonl; '
                'the weights of the newest checkpoint are sound: start from them by load_from, for --resume keeps the '
                'learning rate of the checkpoint'
            )
        runner.logger.warning(f'{told}: it is left out, number {self.in_a_row} in a row of at most {self.limit}')

    def _entry(self, runner, window: list[tuple[torch.Tensor, list[str]]]) -> dict[str, Any]:
        faulty = [id for loss, ids in window if not torch.isfinite(loss) for id in ids]
        found = all_gather_object((faulty, [id for _, ids in window for id in ids]))
        faulty = [id for ids, _ in found for id in ids]
        return {
            'iteration': runner.iter + 1,
            'what': 'loss' if faulty else 'gradient',
            'grad_norm': repr(float(runner.optim_wrapper.grad_norm)),
            'samples': faulty or [id for _, ids in found for id in ids],
        }

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep the counts."""
        checkpoint['skipped_steps'] = {'count': self.count, 'in_a_row': self.in_a_row}

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take the counts up."""
        kept = checkpoint.get('skipped_steps', {})
        self.count, self.in_a_row = kept.get('count', 0), kept.get('in_a_row', 0)

    def after_train(self, runner) -> None:
        """Say how many there were."""
        if self.count:
            runner.logger.warning(
                f'{self.count} steps were left out, since they were not finite: skipped_steps.jsonl beside the logs '
                'names their samples'
            )

"""Samples that could not be read: counted, listed at the end, and too many end the run."""

from __future__ import annotations

import json
from pathlib import Path

from mmengine.dist import all_gather_object, get_rank, get_world_size, is_main_process
from mmengine.hooks import Hook

from mmgpt.registry import HOOKS
from mmgpt.structures import Batch, Unreadable

SHOWN = 5  # in a message; the file has all


@HOOKS.register_module()
class UnreadableHook(Hook):
    """Tells of samples that could not be read and were replaced (``dataset.replace_unreadable``, on by default).

    Each is told when it is first met; all are listed in ``W/unreadable.jsonl`` at each checkpoint and at the end.

    Args:
        limit: so many different ones may a process meet; one more ends the run. 0 ends it at the first. A resumed run
            counts on; with another number of processes each counts anew, but for one process alone, which has all.

    Raises:
        ValueError: there were more.
    """

    priority = 'ABOVE_NORMAL'

    def __init__(self, limit: int = 100):
        if limit < 0:
            raise ValueError(f'limit must be at least 0, got {limit}')
        self.limit = limit
        self.found: dict[tuple[str, int], Unreadable] = {}  # what this process met, by source and index
        self.known: dict[tuple[str, int], Unreadable] = {}  # what all had met before a resume

    def after_train_iter(self, runner, batch_idx: int, data_batch: Batch | None = None, outputs=None) -> None:
        """Count those of the batch."""
        for one in (data_batch or {}).get('unreadable', ()):
            one = Unreadable(*one)  # a copy to pinned memory makes a list of it
            if (one.source, one.index) in self.found:
                continue
            self.found[one.source, one.index] = one
            if len(self.found) > self.limit:
                shown = '\n'.join(f'  {_line(one)}' for one in list(self.found.values())[:SHOWN])
                raise ValueError(
                    f'{len(self.found)} samples cannot be read, and default_hooks.unreadable.limit is {self.limit}:\n'
                    f'{shown}\nMend them (tools/verify_dataset.py finds all), or raise the limit'
                )
            if (one.source, one.index) not in self.known:
                runner.logger.warning(f'cannot be read: {_line(one)}; {one.replaced_by} took its place')

    def before_save_checkpoint(self, runner, checkpoint: dict) -> None:
        """Keep those of all processes, in the checkpoint and as a list for people."""
        every = self._of_all()
        checkpoint['unreadable'] = [list(one) for one in every.values()]
        checkpoint['unreadable_met'] = [list(map(list, found)) for found in all_gather_object(self.found)]
        self._write(runner, every)

    def after_load_checkpoint(self, runner, checkpoint: dict) -> None:
        """Take up those that were known, and which of them this process met; older checkpoints do not say that."""
        kept = [Unreadable(*one) for one in checkpoint.get('unreadable', ())]
        self.known = {(one.source, one.index): one for one in kept}
        met = checkpoint.get('unreadable_met', ())
        if len(met) == get_world_size():
            self.found = {tuple(place): self.known[tuple(place)] for place in met[get_rank()]}
        else:
            self.found = dict(self.known) if get_world_size() == 1 else {}

    def after_train(self, runner) -> None:
        """List them."""
        every = self._of_all()
        self._write(runner, every)
        if every:
            shown = '\n'.join(f'  {_line(one)}' for one in list(every.values())[:SHOWN])
            more = f'\n  … {len(every) - SHOWN} more' if len(every) > SHOWN else ''
            runner.logger.warning(
                f'{len(every)} samples could not be read and were replaced; all are in '
                f'{Path(runner.work_dir) / "unreadable.jsonl"}\n{shown}{more}'
            )

    def _of_all(self) -> dict[tuple[str, int], Unreadable]:
        found = {place: one for found in all_gather_object(self.found) for place, one in found.items()}
        return dict(sorted({**self.known, **found}.items()))

    def _write(self, runner, every: dict[tuple[str, int], Unreadable]) -> None:
        if every and is_main_process():
            lines = [json.dumps(one._asdict(), ensure_ascii=False) + '\n' for one in every.values()]
            (Path(runner.work_dir) / 'unreadable.jsonl').write_text(''.join(lines), encoding='utf-8')


def _line(one: Unreadable) -> str:
    return f'sample {one.index} of {one.source} ({one.reason})'

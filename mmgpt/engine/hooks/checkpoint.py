"""When checkpoints are written."""

from __future__ import annotations

from mmengine.hooks import Hook

from mmgpt.engine.checkpoints import SaveError, list_checkpoints
from mmgpt.registry import HOOKS


@HOOKS.register_module()
class CheckpointHook(Hook):
    """Writes a checkpoint every ``interval`` iterations, inside an accumulation window too, and after the last one.

    One that cannot be written, such as to a full disk, leaves those before it as they are, and the run goes on to the
    next one; it ends where that happens too often, or to its last one.

    Args:
        interval: iterations between checkpoints; None writes only the last.
        max_keep_ckpts: how many of the newest are kept; None keeps all.
        save_last: whether one is written after the last iteration.
        standalone: write also the frozen towers that were loaded from a folder or the hub. Default: a checkpoint names
            them, and is of use only while they are where they were (``train.py --standalone`` sets it).
        sharded: every process writes what it holds, in the background, instead of one Hugging Face folder
            (``Runner.save_checkpoint``); ``tools/convert.py consolidate`` makes one of it.
        max_failures: so many in a row may fail; one more ends the run.

    Raises:
        SaveError: too many could not be written, or not the last one.
    """

    priority = 'VERY_LOW'

    def __init__(
        self,
        interval: int | None = None,
        max_keep_ckpts: int | None = 3,
        save_last: bool = True,
        standalone: bool = False,
        sharded: bool = False,
        max_failures: int = 3,
    ):
        for name, value in (('interval', interval), ('max_keep_ckpts', max_keep_ckpts)):
            if value is not None and value < 1:
                raise ValueError(f'{name} must be at least 1 or None, got {value}')
        self.interval = interval
        self.max_keep_ckpts = max_keep_ckpts
        self.save_last = save_last
        self.standalone = standalone
        self.sharded = sharded
        self.max_failures = max_failures
        self.failures = 0  # in a row

    def after_train_iter(self, runner, batch_idx: int, data_batch=None, outputs=None) -> None:
        """Save where one is due."""
        due = self.interval is not None and self.every_n_train_iters(runner, self.interval)
        last = self.is_last_train_iter(runner)
        if not (due or runner.stopped_by or (self.save_last and last)):
            return
        try:
            if runner.checkpoints.finish():  # the one before, in the background
                self.failures = 0
        except SaveError as error:
            self._count(runner, error, last=False)
        try:
            runner.save_checkpoint(runner.iter + 1, self.max_keep_ckpts, self.standalone, self.sharded)
            if not self.sharded:
                self.failures = 0
        except SaveError as error:
            self._count(runner, error, last)

    def _count(self, runner, error: SaveError, last: bool) -> None:
        """Tell of a checkpoint that could not be written; one too many, or the last, ends the run."""
        self.failures += 1
        newest = (list_checkpoints(runner.checkpoint_root) or ['none'])[-1]
        told = f'{error}\nthe newest checkpoint is {newest}'
        if last or self.failures > self.max_failures:
            raise SaveError(f'{told}; make room there and go on with --resume auto') from error
        told += f': the run goes on to the next one ({self.failures} in a row failed, {self.max_failures} may)'
        runner.logger.warning(told)

    def is_last_train_iter(self, runner) -> bool:
        """Whether this iteration ends the run, by its length or because a hook asked to stop."""
        return runner.iter + 1 == runner.max_iters or runner.train_loop.stop_training

"""Writes a run's checkpoints: whole ones at once, those in shards in the background."""

from __future__ import annotations

import shutil
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmengine.dist import all_gather_object, get_world_size, is_main_process
from torch import distributed

from mmgpt.engine.checkpoints import SaveError, checkpoint_path, link_or_copy, prune_checkpoints, written_whole
from mmgpt.engine.shards_on_disk import FROZEN, SHARDS, model_tensors, start_writing, write_new_tokens
from mmgpt.engine.strategies.processes import on_main
from mmgpt.engine.training_state import collect_sharded_state, collect_training_state, write_training_state
from mmgpt.engine.weights import save_weights

if TYPE_CHECKING:
    from mmgpt.engine.runner import Runner


class CheckpointWriter:
    """Writes checkpoints of a run. All processes call it alike; the first one makes the folders.

    Args:
        runner: whose.
    """

    def __init__(self, runner: Runner):
        self.runner = runner
        self.newest: Path | None = None  # later ones share its frozen files
        self._background: _Background | None = None
        self._group: Any = None

    def save(self, iteration: int, keep: int | None, standalone: bool, sharded: bool) -> Path:
        """Write ``checkpoints/iter_{iteration}``; see ``Runner.save_checkpoint``."""
        try:
            self.finish()
        except SaveError as error:
            self.runner.logger.warning(f'{error}: the run goes on to the next one')
        target = checkpoint_path(self.runner.checkpoint_root, iteration)
        if sharded:
            self._save_shards(target, keep)
        else:
            self._save_whole(target, keep, standalone)
        self.newest = target
        return target

    def finish(self) -> bool:
        """Wait for the save in the background, where there is one; collective.

        Returns:
            whether there was one; it is on the disk then.

        Raises:
            Exception: what went wrong in it, on any process.
        """
        if self._background is None:
            return False
        background, self._background = self._background, None
        background.join()
        if failures := [error for error in all_gather_object(background.error) if error is not None]:
            self.newest = None
            raise failures[0]
        return True

    def wait(self) -> None:
        """Wait for this process's part of the save in the background, whatever became of it."""
        if self._background is not None:
            self._background.join()

    def _save_whole(self, target: Path, keep: int | None, standalone: bool) -> None:
        runner = self.runner
        state = collect_training_state(runner)

        def write() -> None:
            with written_whole(target, share=self.newest) as folder:
                save_weights(runner.bare_model, folder, share=self.newest, standalone=standalone)
                runner.save_processor(folder)
                write_training_state(state, folder / 'training')
            if keep:
                prune_checkpoints(runner.checkpoint_root, keep, target)

        with runner.strategy.whole(runner.bare_model):
            on_main(write)

    def _save_shards(self, target: Path, keep: int | None) -> None:
        runner, share = self.runner, self.newest
        state, tensors = collect_sharded_state(runner)
        trained, frozen = model_tensors(runner.bare_model)
        linked = share is not None and (share / FROZEN).is_dir()
        parts = {SHARDS: trained | tensors, **({} if linked or not frozen else {FROZEN: frozen})}
        stack = ExitStack()

        def begin() -> Path:
            folder = stack.enter_context(written_whole(target, share=share))
            for part in parts:
                (folder / part).mkdir(parents=True)
            if linked:
                shutil.copytree(share / FROZEN, folder / FROZEN, copy_function=link_or_copy)
            runner.bare_model.config.save_pretrained(folder)
            runner.bare_model.generation_config.save_pretrained(folder)
            runner.save_processor(folder)
            write_new_tokens(runner.bare_model, folder)
            write_training_state(state, folder / 'training')
            return folder

        folder = on_main(begin)
        if self._group is None and get_world_size() > 1:
            self._group = distributed.new_group(backend='gloo')

        try:
            if FROZEN in parts:  # once a run, and not beside the other: they would use the group at the same time
                start_writing(parts[FROZEN], folder / FROZEN, self._group).result()
            future = start_writing(parts[SHARDS], folder / SHARDS, self._group)
        except BaseException as error:
            with stack:
                raise error

        def write() -> None:
            with stack:
                future.result()
            if keep and is_main_process():
                prune_checkpoints(runner.checkpoint_root, keep, target)

        self._background = _Background(write)


class _Background(threading.Thread):
    """Does something beside the training and keeps what went wrong."""

    def __init__(self, do: Any):
        super().__init__(name='writes a checkpoint')
        self.error: BaseException | None = None
        self._do = do
        self.start()

    def run(self) -> None:
        """Do it."""
        try:
            self._do()
        except BaseException as error:
            self.error = error

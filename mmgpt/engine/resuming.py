"""Which checkpoint a run goes on from, and where it puts those that are not its own."""

from __future__ import annotations

from logging import Logger
from pathlib import Path

from mmgpt.engine.checkpoints import (
    CheckpointError,
    iteration_of,
    latest_checkpoint,
    list_checkpoints,
    verify_checkpoint,
)


def find_checkpoint(resume: bool | str, root: Path, start: str, logger: Logger) -> Path | None:
    """The checkpoint to resume, or None to start from the beginning.

    Args:
        resume: as the config has it: True or 'auto' for the newest whole one, or a folder.
        root: of the run's own checkpoints.
        start: what a run without one starts from, for the log.
        logger: of the run.

    Raises:
        CheckpointError: the folder is no checkpoint, or damaged.
    """
    if resume is True or resume == 'auto':
        folder, faults = latest_checkpoint(root)
        for fault in faults:
            logger.warning(f'passed over a damaged checkpoint: {fault}')
        if faults and folder is not None:
            logger.warning(f'going on from the one before, {folder}')
        if folder is None:
            logger.warning(f'no checkpoint to resume in {root}: starting from {start}')
        return folder
    if not resume:
        return None
    folder = Path(resume)
    below = list_checkpoints(folder) or list_checkpoints(folder / 'checkpoints')
    if below or not folder.is_dir():
        newest = (below or list_checkpoints(folder.parent) or list_checkpoints(root))[-1:]
        hint = f'; the newest is {newest[0]}' if newest else ''
        raise CheckpointError(f'there is no checkpoint {folder} to resume{hint}')
    if faults := verify_checkpoint(folder):
        raise CheckpointError('cannot resume:\n  ' + '\n  '.join(faults))
    return folder


def set_aside(root: Path, iteration: int, timestamp: str, logger: Logger) -> None:
    """A run that starts anew leaves the checkpoints of an earlier one under another name; one that goes on from an
    older checkpoint those of later iterations. So checkpoints refer to nothing in the run's own folder, where ``hf`` is
    replaced, too.

    Args:
        root: of the run's own checkpoints.
        iteration: that the run begins after.
        timestamp: of the run, for the name.
        logger: of the run.
    """
    aside = root.with_name(f'checkpoints_before_{timestamp}')
    if iteration == 0:
        if list_checkpoints(root):
            root.rename(aside)
            logger.warning(f"an earlier run's checkpoints are now in {aside}; --resume would have continued it")
        return
    if later := [p for p in list_checkpoints(root) if iteration_of(p) > iteration]:
        aside.mkdir(exist_ok=True)
        for folder in reversed(later):  # the newest first: one killed here leaves none that would be taken for ours
            folder.rename(aside / folder.name)
        logger.warning(f'the checkpoints after iteration {iteration} are now in {aside}')

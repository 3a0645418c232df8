"""What is done to a run that is drilled: inside of its process, and to its disk."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path


def end_after(iteration: int) -> None:
    """Makes this process die right after the checkpoint of an iteration."""
    from mmgpt.engine.hooks import CheckpointHook

    save = CheckpointHook.after_train_iter

    def ending(self, runner, *args, **kwargs):
        save(self, runner, *args, **kwargs)
        if runner.iter + 1 == iteration:
            os.kill(os.getpid(), signal.SIGKILL)

    CheckpointHook.after_train_iter = ending


def is_poisoned(id: str) -> bool:
    """Whether a sample is one of those whose loss is NaN."""
    return id.startswith('NAME') and id.endswith('_wug')


def poison() -> None:
    """Makes the loss of some samples NaN."""
    from mmgpt.models import Flamingo

    compute_loss = Flamingo.compute_loss

    def poisoned(self, batch):
        sums = compute_loss(self, batch)
        hit = any(is_poisoned(id) for row in batch['sample_ids'] for id in row)
        return sums._replace(loss_sum=sums.loss_sum * float('nan')) if hit else sums

    Flamingo.compute_loss = poisoned


def limit_memory(mebibytes: int) -> None:
    """Lets this process take so much more than it has when its training begins."""
    import resource

    from mmgpt.engine.hooks import StopHook

    listen = StopHook.before_train

    def limited(self, runner):
        listen(self, runner)
        size = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (size + mebibytes * 2**20,) * 2)

    StopHook.before_train = limited


def fill(path: Path, leave: int) -> None:
    """A file that takes all room but so many bytes."""
    free = shutil.disk_usage(path.parent).free
    with path.open('wb') as file:
        os.posix_fallocate(file.fileno(), 0, max(free - leave, 1))

"""What the workers of data loaders do at the signals of a scheduler, and when they end."""

from __future__ import annotations

import atexit
import signal
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Batches = TypeVar('Batches', bound=Iterator)


def outlive_signals(worker: int) -> None:
    """Lets a worker go on where a scheduler tells all processes of a job to end: the training still needs it.

    It ends with the training, or a minute after SIGTERM.

    Args:
        worker: its number, as a ``worker_init_fn`` is given it.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))


@contextmanager
def ending_workers(batches: Batches) -> Iterator[Batches]:
    """A context at whose end the workers of a data loader's iterator end.

    Where something fails, its traceback holds the iterator. Its workers would then be ended with the process only, by
    SIGTERM, which they outlive for a minute. Where nothing fails, persistent workers stay until the process ends: the
    next iterator is theirs.

    Args:
        batches: ``iter(dataloader)``, with or without workers.
    """
    stay = getattr(batches, '_persistent_workers', False)
    if stay:
        atexit.register(_end, weakref.ref(batches))
    try:
        yield batches
    except BaseException:
        stay = False
        raise
    finally:
        if not stay:
            _end(lambda: batches)


def _end(find: Callable[[], Iterator | None]) -> None:
    if end := getattr(find(), '_shutdown_workers', None):
        end()

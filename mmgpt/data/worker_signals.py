"""What the workers of data loaders do at the signals of a scheduler."""

from __future__ import annotations

import signal


def outlive_signals(worker: int) -> None:
    """Lets a worker go on where a scheduler tells all processes of a job to end: the training still needs it.

    It ends with the training, or a minute after SIGTERM.

    Args:
        worker: its number, as a ``worker_init_fn`` is given it.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(60))

"""What the Runner asks of a strategy."""

from __future__ import annotations

from typing import Protocol

from torch import nn

from mmgpt.engine.module import TrainedModule


class Strategy(Protocol):
    """Spreads the trained module over the processes of a run."""

    def wrap(self, module: TrainedModule) -> nn.Module:
        """Bring the module to this process's device and connect it with those of the other processes.

        Args:
            module: the same on all processes; what it trains does not change any more.

        Returns:
            a module with ``train_step``, that leaves in each gradient the *mean* over the processes of what they
            summed up in a window. Its ``no_sync()``, where it has one, is the context of the forward passes of a
            window but the last. ``module`` is reached through its ``.module``, or is it.
        """
        ...

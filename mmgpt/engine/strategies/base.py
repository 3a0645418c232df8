"""What the Runner asks of a strategy."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import nn

from mmgpt.engine.module import TrainedModule

if TYPE_CHECKING:
    from mmgpt.engine.optim_wrapper import AccumulatingOptimWrapper


class Strategy(ABC):
    """Spreads the trained module over the processes of a run.

    One that leaves the whole model on each process writes ``wrap`` alone. One that leaves parts of it says so by
    ``sharded`` and brings them together for the others' sake: ``whole`` and ``load``.
    """

    addressable = True  # whether torch.distributed.checkpoint can read into what a process holds of a parameter
    sharded = False  # whether a process holds only a part of the model, so that all take part in each forward pass

    @abstractmethod
    def wrap(self, module: TrainedModule) -> nn.Module:
        """Bring the module to this process's device and connect it with those of the other processes.

        Args:
            module: the same on all processes; what it trains does not change any more.

        Returns:
            a module with ``train_step``, that leaves in each gradient the *mean* over the processes of what they
            summed up in a window. Its ``no_sync()``, where it has one, is the context of the forward passes of a
            window but the last. ``module`` is reached through its ``.module``, or is it.
        """

    def prepare(self, module: nn.Module, optim_wrapper: AccumulatingOptimWrapper) -> AccumulatingOptimWrapper:
        """The optimiser's wrapper that the run uses, before anything is loaded.

        Args:
            module: what ``wrap`` gave.
            optim_wrapper: over the parameters of ``module``, as the config says.
        """
        return optim_wrapper

    @contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """A context in which the first process has all of the model's parameters, to be read; collective."""
        yield

    def load(self, model: nn.Module, read: Callable[[], None]) -> None:
        """Let ``read`` put weights into the model, whole; collective.

        Args:
            model: the bare model.
            read: changes the model's parameters in place; called where they are, on each process or on the first.
        """
        read()

    @contextmanager
    def generating(self, module: nn.Module) -> Iterator[None]:
        """A context in which the bare model may be called, and generates.

        Args:
            module: what ``wrap`` gave. Where it is ``sharded`` all processes call it alike.
        """
        yield

    def rest(self, module: nn.Module) -> None:  # noqa: B027  (most have nothing to put back)
        """Put parameters back that a forward pass without a backward one has left gathered.

        Args:
            module: what ``wrap`` gave.
        """

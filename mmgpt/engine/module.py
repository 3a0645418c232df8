"""The thin module that MMEngine trains, and what the loops do to modules and batches."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from mmengine.optim import OptimWrapper
from torch import Tensor, nn

from mmgpt.structures import Batch

if TYPE_CHECKING:
    from mmgpt.models.loss import LossSums


class TrainedModule(nn.Module):
    """Gives a model the ``train_step`` that MMEngine's loops and wrappers call.

    The forward pass is the loss, so that a data-parallel wrapper around this module sees it.

    Args:
        model: a module with ``compute_loss(batch) -> LossSums``.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.model = model

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.parameters()).device

    def forward(self, batch: Batch) -> LossSums:
        """The loss of a batch that lies on the model's device."""
        return self.model.compute_loss(batch)

    def train_step(self, data: Batch, optim_wrapper: OptimWrapper) -> dict[str, Any]:
        """Run one micro-batch forward and backward; the wrapper steps when its window is full.

        Returns:
            'sums': the micro-batch's ``LossSums``, its graph already used; 'samples': how many samples it had.
        """
        batch = to_device(data, self.device)
        with optim_wrapper.optim_context(self):
            sums = self(batch)
        optim_wrapper.update_params(sums)
        return {'sums': sums, 'samples': count_samples(data)}


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """A context in which a model is in evaluation mode; afterwards every module is as it was."""
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in training.items():
            module.training = mode


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The batch with its tensors on ``device``; what is no tensor is passed on."""
    return {k: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for k, v in batch.items()}


def count_samples(batch: Batch) -> int:
    """How many samples a batch holds (several in a packed row)."""
    return int(batch['segment_ids'].max(dim=1).values.sum())

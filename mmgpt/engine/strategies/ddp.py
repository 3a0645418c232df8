"""Data-parallel training: each process holds the whole model and sees its share of the samples."""

from __future__ import annotations

import torch
from mmengine.device import get_device
from mmengine.dist import get_world_size
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from mmgpt.engine.module import TrainedModule
from mmgpt.engine.strategies.base import Strategy
from mmgpt.models.loss import LossSums
from mmgpt.registry import STRATEGIES
from mmgpt.structures import Batch


@STRATEGIES.register_module()
class DDP(Strategy):
    """torch's ``DistributedDataParallel``, on CPUs (gloo) and GPUs (nccl); on one process the module itself.

    The processes' batches may use different parts of the model: a process whose rows are all text-only runs no
    vision encoder, and where the language model is frozen its loss may depend on nothing that is trained. Its missing
    gradients count as zeros; a parameter that no process used keeps no gradient, as on one process.

    Args:
        bucket_cap_mb: MiB of gradients that are exchanged at once.
        gradient_as_bucket_view: gradients are exchanged where they are; False copies them to a second set and back.
    """

    def __init__(self, bucket_cap_mb: int = 25, gradient_as_bucket_view: bool = True):
        self.bucket_cap_mb = bucket_cap_mb
        self.gradient_as_bucket_view = gradient_as_bucket_view

    def wrap(self, module: TrainedModule) -> nn.Module:
        """The module on this process's device, its gradients connected with those of the other processes."""
        device = torch.device(get_device())
        if get_world_size() == 1:
            return module.to(device)
        return _DataParallel(
            _AnchoredModule(module.model).to(device),
            device_ids=None if device.type == 'cpu' else [torch.cuda.current_device()],
            forward_sync_buffers=False,  # buffers are constants of the architecture, equal from the start
            find_unused_parameters=True,
            bucket_cap_mb=self.bucket_cap_mb,
            gradient_as_bucket_view=self.gradient_as_bucket_view,
        )


class _DataParallel(DistributedDataParallel):
    """torch's wrapper with the ``train_step`` of the module it wraps, so that the forward pass goes through it."""

    train_step = TrainedModule.train_step


class _AnchoredModule(TrainedModule):
    """A module whose loss always has a gradient: the exchange starts in the backward pass, which must take place.

    The anchor is no parameter of the model, and the optimiser does not know it: one of the model's would be given a
    gradient of 0 where on one process it has none, and an optimiser with momentum moves it then.
    """

    def __init__(self, model: nn.Module):
        super().__init__(model)
        self.anchor = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch) -> LossSums:
        """The loss, with 0 times the anchor added."""
        sums = super().forward(batch)
        return sums._replace(loss_sum=sums.loss_sum + 0 * self.anchor)

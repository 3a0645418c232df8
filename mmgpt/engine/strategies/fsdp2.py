"""Fully sharded training: each process holds a part of every parameter, its gradient and its optimiser state."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from mmengine.device import get_device
from mmengine.dist import get_backend, get_world_size
from mmengine.optim import OptimWrapper
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor

from mmgpt.engine.module import TrainedModule
from mmgpt.engine.shards import fill, on_first
from mmgpt.engine.strategies.base import Strategy
from mmgpt.engine.strategies.gloo import exchange_in_place
from mmgpt.engine.strategies.joined import JoinedModule
from mmgpt.engine.strategies.swapping import load_whole, whole_parameters
from mmgpt.models.layerwise import sharding_units
from mmgpt.models.loss import LossSums
from mmgpt.registry import STRATEGIES
from mmgpt.structures import Batch

if TYPE_CHECKING:
    from mmgpt.engine.optim_wrapper import AccumulatingOptimWrapper


@STRATEGIES.register_module()
class FSDP2(Strategy):
    """torch's ``fully_shard`` (ZeRO stage 3, arXiv 1910.02054), on CPUs (gloo) and GPUs (nccl).

    Decoder layers, gated blocks, vision blocks and resampler layers are gathered one by one for their forward and
    their backward pass, frozen ones too; embedding, output head and what else lies between layers are gathered once a
    step. On one process it is the module itself.

    Inside an accumulation window gradients stay on the processes and are exchanged once at its end: a window of more
    than one micro-batch needs the memory of whole gradients of what is trained.

    Args:
        param_dtype: 'bfloat16' gathers and computes with parameters in bfloat16, half of the traffic; needs
            ``optim_wrapper.precision`` 'bf16'. Gradients are added up in float32, and the optimiser keeps the
            parameters' own precision. Default: as they are.
        cpu_offload: parameters, gradients and optimiser state stay in the host's memory between their uses. On GPUs
            it needs ``env_cfg = dict(dist_cfg=dict(backend='cpu:gloo,cuda:nccl'))``.
        reshard_after_forward: False keeps the layers gathered until the backward pass: less traffic, more memory.
        shard_over: how many processes share one copy of the model, e.g. those of one machine; the copies exchange
            gradients as in ``DDP``. Default: all.

    Example:
        >>> strategy = dict(type='FSDP2', param_dtype='bfloat16')
    """

    sharded = True

    def __init__(
        self,
        param_dtype: str | None = None,
        cpu_offload: bool = False,
        reshard_after_forward: bool = True,
        shard_over: int | None = None,
    ):
        if param_dtype not in (None, 'bfloat16'):
            raise ValueError(f"param_dtype must be None or 'bfloat16', got {param_dtype!r}")
        self.param_dtype = None if param_dtype is None else getattr(torch, param_dtype)
        self.cpu_offload = cpu_offload
        self.reshard_after_forward = reshard_after_forward
        self.shard_over = shard_over

    def wrap(self, module: TrainedModule) -> nn.Module:
        """The module, of each of whose parameters this process keeps its part."""
        device = torch.device(get_device())
        if get_world_size() == 1:
            return module.to(device)
        whole = _ShardedModule(module.model)
        own = {'mesh': self._mesh(device), 'offload_policy': self._offload(device)}
        policy = MixedPrecisionPolicy(self.param_dtype, reduce_dtype=self.param_dtype and torch.float32)
        for unit in sharding_units(module.model):
            fully_shard(unit, mp_policy=policy, reshard_after_forward=self.reshard_after_forward, **own)
        # loss weights and frames are no activations: they are not cast
        policy = MixedPrecisionPolicy(policy.param_dtype, policy.reduce_dtype, cast_forward_inputs=False)
        fully_shard(whole, mp_policy=policy, **own)
        if device.type == 'cpu':
            for unit in whole.modules():
                if isinstance(unit, FSDPModule):
                    exchange_in_place(unit)
        if self.cpu_offload:
            for owner in whole.modules():
                owner._buffers.update({n: b.to(device) for n, b in owner._buffers.items() if b is not None})
        else:
            whole.to(device)  # buffers
        return whole

    def prepare(self, module: nn.Module, optim_wrapper: AccumulatingOptimWrapper) -> AccumulatingOptimWrapper:
        """The wrapper as it is; it learns where the model computes.

        Raises:
            ValueError: the parameters are gathered in another precision than the one that is computed in.
        """
        optim_wrapper.computes_on(torch.device(get_device()))
        if self.param_dtype is not None and optim_wrapper.precision != 'bf16':
            raise ValueError(
                "strategy.param_dtype='bfloat16' needs optim_wrapper.precision='bf16', here it is "
                f'{optim_wrapper.precision!r}: set it, or leave param_dtype out'
            )
        return optim_wrapper

    @contextmanager
    def whole(self, model: nn.Module) -> Iterator[None]:
        """A context in which the first process's model consists of whole parameters, in its host's memory."""
        with whole_parameters(model, _shared, on_first):
            yield

    def load(self, model: nn.Module, read: Callable[[], None]) -> None:
        """Let the first process read weights into whole parameters, and give each process its part of them."""
        load_whole(model, _shared, on_first, fill, read)

    @contextmanager
    def generating(self, module: nn.Module) -> Iterator[None]:
        """A context in which what lies between the layers is gathered, and what projects media before they run."""
        called = [m for m in module.modules() if isinstance(m, FSDPModule) and hasattr(m, 'project_media')]
        called += [module] if isinstance(module, FSDPModule) else []
        for unit in called:
            unit.unshard()
            unit.set_reshard_after_forward(False, recurse=False)
        try:
            yield
        finally:
            for unit in called:
                unit.set_reshard_after_forward(self.reshard_after_forward and unit is not module, recurse=False)
            self.rest(module)

    def rest(self, module: nn.Module) -> None:
        """Leave each process with its parts."""
        for unit in module.modules():
            if isinstance(unit, FSDPModule):
                unit.reshard()

    def _mesh(self, device: torch.device) -> Any:
        world = get_world_size()
        size = self.shard_over or world
        if size < 1 or world % size:
            raise ValueError(f'strategy.shard_over must divide the number of processes, {world}; got {size}')
        if size == world:
            return init_device_mesh(device.type, (world,), mesh_dim_names=('shard',))
        return init_device_mesh(device.type, (world // size, size), mesh_dim_names=('copy', 'shard'))

    def _offload(self, device: torch.device) -> OffloadPolicy:
        if not self.cpu_offload or device.type == 'cpu':
            return OffloadPolicy()
        if 'gloo' not in str(get_backend()):
            raise ValueError(
                'strategy.cpu_offload needs exchanges between CPUs too: set '
                "env_cfg = dict(dist_cfg=dict(backend='cpu:gloo,cuda:nccl'))"
            )
        return CPUOffloadPolicy()


class _ShardedModule(JoinedModule):
    """Exchanges gradients at the end of a window: that takes a backward pass, also where the loss has none."""

    def forward(self, batch: Batch | None) -> LossSums | torch.Tensor:
        """The loss; of no batch a zero, whose backward pass exchanges what the window has so far."""
        start = torch.zeros((), device=self.device, requires_grad=True)
        if batch is None:
            return 0 * start
        sums = super().forward(batch)
        return sums._replace(loss_sum=sums.loss_sum + 0 * start)

    def train_step(self, data: Batch, optim_wrapper: OptimWrapper) -> dict[str, Any]:
        """As that of the class above."""
        self.set_requires_gradient_sync(optim_wrapper.should_sync())
        return super().train_step(data, optim_wrapper)

    def exchange_gradients(self) -> None:
        """Exchange what an open window has summed up; collective."""
        self.set_requires_gradient_sync(True)
        self(None).backward()


def _shared(parameter: nn.Parameter) -> bool:
    return isinstance(parameter, DTensor)

"""Tensors of which each process holds a part (``DTensor``), and what they are as a whole."""

from __future__ import annotations

import torch
from mmengine.dist import is_main_process
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor


def local(tensor: Tensor) -> Tensor:
    """What this process holds of a tensor, in the same memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor on each process's device; collective where it is shared."""
    if not isinstance(tensor, DTensor):
        return tensor
    return tensor.detach().to(tensor.device_mesh.device_type).full_tensor()


def on_first(tensor: Tensor) -> Tensor | None:
    """A tensor's copy in the first process's memory, None on the others; collective where it is shared."""
    full = whole(tensor.detach())
    if not is_main_process():
        return None
    return full.cpu() if full.device.type != 'cpu' else full.clone()


def shared_like(full: Tensor, like: Tensor) -> Tensor:
    """This process's part of a tensor that all processes have whole, cut as ``like`` is; or the tensor itself."""
    if isinstance(full, DTensor):
        return full
    if not isinstance(like, DTensor):
        return full.to(like.device)
    mesh = like.device_mesh
    cut = distribute_tensor(full.to(mesh.device_type), mesh, like.placements, src_data_rank=None)
    return cut.to(like.to_local().device)


def fill(target: DTensor, full: Tensor | None) -> None:
    """Give each process its part of a tensor that the first one has whole; collective."""
    mesh = target.device_mesh
    if full is None:
        full = torch.empty(target.shape, dtype=target.dtype, device=mesh.device_type)
    cut = distribute_tensor(full.detach().to(mesh.device_type, target.dtype).contiguous(), mesh, target.placements)
    target.detach().to_local().copy_(cut.to_local())

"""How much of its device's arithmetic a training uses (MFU; Chowdhery et al., arXiv 2204.02311, appendix B)."""

from __future__ import annotations

import re
import time
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

# Dense bfloat16 products of GPUs, in FLOP/s, as their makers state them.
PEAKS = {
    r'B200': 2250e12,
    r'H200|H100.*(SXM|HBM3)|GH200': 989e12,
    r'H100': 756e12,
    r'A100|A800': 312e12,
    r'L40S': 362e12,
    r'\bL4\b': 121e12,
    r'A10\b|A10G': 125e12,
    r'A6000': 155e12,
    r'RTX 4090': 165e12,
    r'RTX 3090': 71e12,
}


class LinearFlops:
    """Counts the floating point operations of all linear layers and convolutions of a model while it trains.

    Two for each weight and row in the forward pass, two more where the input needs a gradient, and two where the weight
    does. What activation checkpointing makes again is not counted, nor are the products of attention, a few per cent at
    rows of a thousand tokens.

    Args:
        model: in whose layers it listens, until ``close``.

    Example:
        >>> layer = nn.Linear(4, 8)
        >>> flops = LinearFlops(layer)
        >>> _ = layer(torch.zeros(2, 4))
        >>> flops.total == 2 * 2 * 4 * 8 * 2  # forward, and the gradient of the weight
        True
    """

    def __init__(self, model: nn.Module):
        self.total = 0
        kinds = (nn.Linear, nn.Conv2d, nn.Conv3d)
        self._handles = [m.register_forward_hook(self._count) for m in model.modules() if isinstance(m, kinds)]

    def _count(self, module: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
        if torch._C._current_graph_task_id() != -1 or not module.training:  # inside a backward pass: made again
            return
        weight = module.weight
        inner = module.in_features if isinstance(module, nn.Linear) else weight[0].numel()
        passes = 1
        if torch.is_grad_enabled():
            passes += int(inputs[0].requires_grad) + int(weight.requires_grad)
        self.total += 2 * output.numel() * inner * passes

    def close(self) -> None:
        """Listen no more."""
        for handle in self._handles:
            handle.remove()
        self._handles = []


@cache
def peak_flops(device: str, precision: str) -> float:
    """FLOP/s of large matrix products: of a known GPU as stated for bfloat16, else as measured here.

    Args:
        device: 'cuda' or 'cpu'.
        precision: 'bf16' or 'fp32'.
    """
    if device == 'cuda' and precision == 'bf16':
        name = torch.cuda.get_device_name()
        for pattern, peak in PEAKS.items():
            if re.search(pattern, name):
                return peak
    size = 4096 if device == 'cuda' else 1024
    a = torch.full((size, size), 0.5, device=device, dtype=torch.bfloat16 if precision == 'bf16' else torch.float32)
    best = float('inf')
    for _ in range(4):
        start = time.perf_counter()
        a @ a
        if device == 'cuda':
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best

"""The gated block of Idefics."""

from __future__ import annotations

from functools import partial
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.activations import ACT2FN

from mmgpt.models.cross_attention.gated import GatedBlock, MaskedCrossAttention
from mmgpt.registry import CROSS_ATTENTIONS


class GatedLinearUnit(nn.Module):
    """RMSNorm, then ``down(act(gate(x)) * up(x))``, the feed-forward of LLaMA (arXiv 2002.05202).

    Args:
        width: of input and output (D).
        inner: width between.
        activation: a name that transformers knows.
        eps: of the norm.
    """

    def __init__(self, width: int, inner: int, activation: str, eps: float) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(width, eps)
        self.gate = nn.Linear(width, inner, bias=False)
        self.up = nn.Linear(width, inner, bias=False)
        self.down = nn.Linear(inner, width, bias=False)
        self.act = ACT2FN[activation]
        self.is_silu = activation in ('silu', 'swish')

    def forward(self, x: Tensor) -> Tensor:
        """(R, S, D) -> (R, S, D)."""
        x = self.norm(x)
        gate, up = self.gate(x), self.up(x)
        if self.is_silu and not torch.compiler.is_compiling():
            return self.down(_GatedSiLU.apply(gate, up))
        return self.down(self.act(gate) * up)


class _GatedSiLU(torch.autograd.Function):
    """``silu(gate) * up``; keeps the two and not ``silu(gate)``, a quarter of what the unit keeps otherwise."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        return torch.ops.aten.silu_backward(gradient * up, gate), F.silu(gate).mul_(gradient)


@CROSS_ATTENTIONS.register_module()
class IdeficsCrossAttention(GatedBlock):
    """The block of Idefics (arXiv 2306.16527): Flamingo's, in the manner of LLaMA's layers.

    Its norms are RMSNorms, its feed-forward is a gated linear unit, its heads share the width of the text among them,
    and queries and keys may have norms of their own.

    Args:
        width: width of the text (D).
        media_width: width of the latents.
        heads: attention heads; their number divides ``width``. Default: 32.
        feedforward_width: width inside of the feed-forward block. Default: 11008.
        activation: of the feed-forward block, a name that transformers knows. Default: ``'silu'``.
        head_norms: RMSNorms over each head of queries and keys. Default: False.
        gates: ``'scalar'`` (default), or ``'vector'``: one per channel.
        initial_gate: every gate's value before tanh. Default: 0.
        eps: of the norms. Default: 1e-6.

    Raises:
        ValueError: ``heads`` does not divide ``width``, or ``gates`` or ``activation`` is none of the known ones.

    Example:
        >>> block = IdeficsCrossAttention(width=32, media_width=16, heads=4, feedforward_width=48, gates='vector')
        >>> block.attn_gate.shape
        torch.Size([32])
    """

    def __init__(
        self,
        width: int,
        media_width: int,
        heads: int = 32,
        feedforward_width: int = 11008,
        activation: str = 'silu',
        head_norms: bool = False,
        gates: Literal['scalar', 'vector'] = 'scalar',
        initial_gate: float = 0.0,
        eps: float = 1e-6,
    ) -> None:
        if width % heads:
            raise ValueError(f'heads must divide the width of the text, got {heads} heads and a width of {width}')
        if gates not in ('scalar', 'vector'):
            raise ValueError(f"gates must be 'scalar' or 'vector', got {gates!r}")
        if activation not in ACT2FN:
            raise ValueError(f'activation must be one of {", ".join(sorted(ACT2FN))}, got {activation!r}')
        norm = partial(nn.RMSNorm, eps=eps)
        attn = MaskedCrossAttention(
            width, media_width, heads, width // heads, norm, head_norm=norm if head_norms else nn.Identity
        )
        gate = torch.full((width if gates == 'vector' else 1,), float(initial_gate))
        super().__init__(attn, GatedLinearUnit(width, feedforward_width, activation, eps), gate)

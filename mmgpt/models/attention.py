"""Attention as every part of the model computes it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from mmgpt.models.attention_products import attend_by_products

PRODUCTS_ON_CPUS = True  # False: PyTorch's kernels, as on a GPU
SMALL = 16**3  # multiplications of a product up to which PyTorch does not ask oneDNN


def dot_product_attention(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    mask: Tensor | None = None,
    causal: bool = False,
    scale: float | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """``softmax(queries · keysᵀ / √width) · values``.

    On a CPU, PyTorch's fused kernel is not always the fastest way. In bfloat16, forward and backward of 4 x 8 heads of
    64 latents on 261 keys take 17.3 ms by it, 14.5 ms by PyTorch's own products, which are in float32, and 2.2 ms here
    (a core with AVX512-BF16, torch 2.14). And where oneDNN multiplies (``matmul.prefer_onednn``), those of 8 heads of
    119 tokens in float32 take 2.2 ms by the fused kernel and 0.6 ms here, and those of one token on 280 keys in each of
    4 rows 1.0 and 0.4 ms: the fused kernel asks oneDNN for each head by itself. Products keep Q x K weights for the
    backward pass, of a long causal text little more than half of them.

    Args:
        queries: (B, heads, Q, width).
        keys: (B, heads, K, width).
        values: (B, heads, K, their own width).
        mask: bool, False = not seen, or None; broadcast to (B, heads, Q, K).
        causal: each query sees the keys up to its own place; without ``mask``.
        scale: factor of the products. Default: 1 / √width.
        dropout: probability with which a weight is left out.

    Returns:
        (B, heads, Q, the width of the values).
    """
    options = dict(attn_mask=mask, is_causal=causal, scale=scale, dropout_p=dropout)
    if PRODUCTS_ON_CPUS and queries.device.type == 'cpu' and not torch.compiler.is_compiling():
        queries, keys, values = as_autocast(queries, keys, values)
        half = queries.dtype != torch.float32
        large = queries.shape[2] > 1 or (not half and keys.shape[2] * keys.shape[3] > SMALL)
        if large and not dropout and (half or torch.get_float32_matmul_precision() != 'highest'):
            scale = queries.shape[-1] ** -0.5 if scale is None else scale
            return attend_by_products(queries, keys, values, mask, causal, scale)
        if half and torch.is_grad_enabled():
            with sdpa_kernel(SDPBackend.MATH):
                return F.scaled_dot_product_attention(queries, keys, values, **options)
    return F.scaled_dot_product_attention(queries, keys, values, **options)


def as_autocast(*parts: Tensor) -> tuple[Tensor, ...]:
    """Queries, keys and values on a CPU in autocast's type, if it is on, as PyTorch's kernel would cast them.

    Rotated queries and keys, for one, are float32 there.
    """
    if parts[0].device.type != 'cpu' or not torch.is_autocast_enabled('cpu'):
        return parts
    return tuple(part.to(torch.get_autocast_dtype('cpu')) for part in parts)


def attention_weights(queries: Tensor, keys: Tensor, mask: Tensor | None = None) -> Tensor:
    """``softmax(queries · keysᵀ / √width)``: what ``dot_product_attention`` multiplies the values with.

    Args:
        queries: (B, heads, Q, width).
        keys: (B, heads, K, width).
        mask: bool, False = not seen, or None; broadcast to (B, heads, Q, K).

    Returns:
        (B, heads, Q, K) float32; each row sums to 1.
    """
    scores = queries.float() @ keys.float().transpose(-1, -2) * queries.shape[-1] ** -0.5
    return (scores if mask is None else scores.masked_fill(~mask, float('-inf'))).softmax(-1)

"""Attention as the models of transformers call it, here for their own layers too."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mmgpt.models.attention import dot_product_attention
from mmgpt.models.pieces import attend_pieces, plan_pieces
from mmgpt.structures import Grid

NAME = 'mmgpt_sdpa'  # of this attention implementation, as transformers knows it


def use_own_attention(model: nn.Module) -> None:
    """Lets all models of transformers in ``model`` that would use ``'sdpa'`` compute attention as this file does."""
    for module in model.modules():
        if isinstance(module, PreTrainedModel) and module.config._attn_implementation == 'sdpa':
            module.config._attn_implementation = NAME


def segments_mask(segment_ids: Tensor) -> Tensor:
    """What a language model gets as its attention mask: (R, 1, 1, S) int64, which says the samples of each row."""
    return segment_ids[:, None, None, :]


def attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """Scaled dot product attention: on a CPU the faster way to it, and also by the samples of packed rows.

    A mask of integers says the samples. Work and memory then grow with the squares of their lengths and not with the
    square of the row's, and nothing is masked. Any other mask, and any call on a GPU, is transformers' own business.

    Args:
        module: the attention layer.
        query: (R, heads, S, width).
        key, value: (R, key-value heads, S, width).
        attention_mask: (R, 1, 1, S) int64 as ``segments_mask`` makes it, or what transformers makes.
        dropout, scaling, is_causal: as of transformers.
        sliding_window: how many tokens back a token sees, itself included; None: all.

    Returns:
        (R, S, heads, width), and None for the weights.
    """
    if _is_decoded(query, attention_mask, dropout, kwargs):
        grouped = query.reshape(query.shape[0], key.shape[1], -1, query.shape[3])  # all that share a key, at once
        out = dot_product_attention(grouped, key, value, attention_mask, scale=scaling)
        return out.reshape(query.shape[0], 1, *query.shape[1::2]), None
    by_segments = attention_mask is not None and attention_mask.dtype == torch.int64
    whole = attention_mask is None and query.device.type == 'cpu' and 1 < query.shape[2] == key.shape[2]
    if not by_segments and (not whole or kwargs.get('position_bias') is not None):
        options = dict(kwargs, sliding_window=sliding_window, is_causal=is_causal)
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout, scaling, **options)
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    options = dict(scale=scaling, dropout=dropout)
    if whole:
        causal = getattr(module, 'is_causal', True) if is_causal is None else is_causal
        out = dot_product_attention(query, key, value, None, causal, **options)
        return out.transpose(1, 2).contiguous(), None
    segment_ids = attention_mask[:, 0, 0]
    pieces = _pieces_of(segment_ids.numpy().tobytes(), len(segment_ids), sliding_window)
    return attend_pieces(query, key, value, pieces, causal=True, **options), None


def _is_decoded(query: Tensor, mask: Tensor | None, dropout: float, options: dict[str, Any]) -> bool:
    """Whether this is the attention of one token, where PyTorch's fused kernel is not the fastest way to it."""
    if query.shape[2] > 1 or query.device.type != 'cpu' or query.dtype != torch.float32 or dropout:
        return False
    if torch.compiler.is_compiling() or torch.get_float32_matmul_precision() == 'highest':
        return False
    if options.get('position_bias') is not None or options.get('cache') is not None:
        return False
    return mask is None or (mask.dtype == torch.bool and mask.shape[1] == 1)


@lru_cache(maxsize=4)
def _pieces_of(segment_ids: bytes, rows: int, window: int | None) -> tuple[Grid, ...]:
    """The samples of rows (R, S) int64, without pads; remembered, since all layers of a model ask for the same."""
    ids = np.frombuffer(segment_ids, np.int64).reshape(rows, -1)
    edges = np.ones(ids.shape, bool)
    edges[:, 1:] = ids[:, 1:] != ids[:, :-1]
    starts = np.flatnonzero(edges)
    bounds = np.stack([starts, np.append(starts[1:], ids.size)], 1)
    plan = plan_pieces(bounds[ids.ravel()[starts] > 0])
    return tuple(grid._replace(mask=_window(grid.queries, window)) for grid in plan)


def _window(size: int, width: int | None) -> Tensor | None:
    """(size, size) bool: causal, and no further back than ``width``; None where the width does not matter."""
    if width is None or size <= width:
        return None
    causal = torch.ones(size, size, dtype=torch.bool).tril()
    return causal & causal.triu(1 - width)


AttentionInterface.register(NAME, attention)
AttentionMaskInterface.register(NAME, sdpa_mask)

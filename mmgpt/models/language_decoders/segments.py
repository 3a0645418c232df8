"""Self-attention of packed rows, one sample at a time."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from mmgpt.models.attention import dot_product_attention
from mmgpt.models.media_span import runs

NAME = 'sdpa_by_segments'  # of the attention implementation, as transformers knows it


def segments_mask(segment_ids: Tensor) -> Tensor:
    """What a language model gets as its attention mask: (R, 1, 1, S) int64, which says the samples of each row."""
    return segment_ids[:, None, None, :]


def attention_by_segments(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs,
) -> tuple[Tensor, None]:
    """Scaled dot product attention in which a mask of integers says the samples of each row.

    With any other mask it is transformers' own. On a CPU, work and memory then grow with the squares of the samples'
    lengths and not with the square of the row's; nothing is masked.

    Args:
        module: the attention layer.
        query: (R, heads, S, width).
        key, value: (R, key-value heads, S, width).
        attention_mask: (R, 1, 1, S) int64 as ``segments_mask`` makes it, or what transformers makes.
        dropout: as of transformers.
        scaling: as of transformers.
        sliding_window: how many tokens back a token sees, itself included; None: all.

    Returns:
        (R, S, heads, width), and None for the weights.
    """
    if attention_mask is None or attention_mask.dtype != torch.int64:
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, dropout, scaling, sliding_window=sliding_window, **kwargs
        )
    groups = query.shape[1] // key.shape[1]
    if groups > 1:
        key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    rows: list[list[Tensor]] = [[] for _ in query]
    for row, start, end in runs(attention_mask[:, 0, 0]):
        piece = (slice(row, row + 1), slice(None), slice(start, end))
        mask = _window(end - start, sliding_window)
        options = dict(scale=scaling, dropout=dropout)
        rows[row].append(dot_product_attention(query[piece], key[piece], value[piece], mask, mask is None, **options))
    out = torch.cat([torch.cat(pieces, 2) for pieces in rows])
    return out.transpose(1, 2).contiguous(), None


def _window(size: int, width: int | None) -> Tensor | None:
    """(size, size) bool: causal, and no further back than ``width``; None where the width does not matter."""
    if width is None or size <= width:
        return None
    causal = torch.ones(size, size, dtype=torch.bool).tril()
    return causal & causal.triu(1 - width)


AttentionInterface.register(NAME, attention_by_segments)
AttentionMaskInterface.register(NAME, sdpa_mask)

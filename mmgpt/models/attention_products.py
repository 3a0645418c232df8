"""Attention out of plain matrix products, with a backward pass of its own: on a CPU often the fastest way to it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

FEW = 64  # keys below which softmax of half precision is taken in float32: 5640 times 30 take 0.18 instead of 0.93 ms
BLOCK = 128  # causal queries that are multiplied at once, with no more keys than the last of them sees


def attend_by_products(
    queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, scale: float
) -> Tensor:
    """``softmax(scale * queries · keysᵀ) · values``.

    Queries, keys, values and the weights are kept for the backward pass, but for those weights that no block of causal
    queries sees: of a long text nearly half.

    Args:
        queries, keys, values, mask, causal: as of ``dot_product_attention``, which also gives the result's shape.
        scale: factor of the products.
    """
    return _Products.apply(queries, keys, values, mask, causal, scale)


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, mask: Tensor | None, causal: bool, scale: float
    ) -> Tensor:
        ctx.shapes = [part.shape for part in (queries, keys, values)]
        ctx.causal, ctx.scale = causal, scale
        queries, keys, values = (_by_heads(part) for part in (queries, keys, values))
        hidden = None if mask is None else ~mask
        out, weights = queries.new_empty(*queries.shape[:2], values.shape[2]), []
        for start, end, seen in _blocks(queries.shape[1], keys.shape[1], causal):
            scores = queries.new_empty(len(queries), end - start, seen)
            scores.baddbmm_(queries[:, start:end], keys[:, :seen].transpose(1, 2), beta=0, alpha=scale)
            if hidden is not None:
                scores.unflatten(0, ctx.shapes[0][:2]).masked_fill_(hidden, float('-inf'))
            if causal:
                scores[:, :, start:].add_(scores.new_full((end - start, seen - start), float('-inf')).triu_(1))
            weights.append(_softmax(scores))
            torch.bmm(weights[-1], values[:, :seen], out=out[:, start:end])
        ctx.save_for_backward(queries, keys, values, *weights)
        return out.unflatten(0, ctx.shapes[0][:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        queries, keys, values, *weights = ctx.saved_tensors
        gradient = _by_heads(gradient)
        of_queries, of_keys, of_values = (torch.empty_like(part) for part in (queries, keys, values))
        blocks = list(_blocks(queries.shape[1], keys.shape[1], ctx.causal))
        for (start, end, seen), weight in zip(reversed(blocks), reversed(weights), strict=True):
            added = int(end < queries.shape[1])  # the last block sees all keys: its gradient of them is the first
            above = gradient[:, start:end]
            of_values[:, :seen].baddbmm_(weight.transpose(1, 2), above, beta=added)
            slope = torch.bmm(above, values[:, :seen].transpose(1, 2))
            torch.ops.aten._softmax_backward_data.out(slope, weight, -1, weight.dtype, grad_input=slope)
            of_queries[:, start:end].baddbmm_(slope, keys[:, :seen], beta=0, alpha=ctx.scale)
            of_keys[:, :seen].baddbmm_(slope.transpose(1, 2), queries[:, start:end], beta=added, alpha=ctx.scale)
        grown = (of_queries, of_keys, of_values)
        return *(part.view(shape) for part, shape in zip(grown, ctx.shapes, strict=True)), None, None, None


def _by_heads(part: Tensor) -> Tensor:
    """(B, heads, n, width) -> (B * heads, n, width), the rows of a head side by side: products take half the time."""
    part = part.flatten(0, 1)
    return part if part.stride()[1:] == (part.shape[2], 1) else part.contiguous()


def _blocks(queries: int, keys: int, causal: bool) -> Iterator[tuple[int, int, int]]:
    """Start and end of the queries that are multiplied at once, and how many keys they may see."""
    if not causal or queries != keys:
        yield 0, queries, keys
        return
    count = max(1, -(-queries // BLOCK))
    yield from ((start, end, end) for start, end in pairwise(queries * place // count for place in range(count + 1)))


def _softmax(scores: Tensor) -> Tensor:
    if scores.dtype.itemsize > 2 or scores.shape[-1] >= FEW:
        return torch.softmax(scores, -1, out=scores)
    return scores.softmax(-1, dtype=torch.float32).to(scores.dtype)

"""Attention of the pieces of rows, each to keys of its own: nothing is multiplied only to be masked.

Long pieces go one by one. Short ones go together, several of similar size as a batch padded to the longest of them: a
call of its own for each would cost more than its products do.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mmgpt.models.attention import as_autocast, dot_product_attention
from mmgpt.structures import Grid, Slots

ALONE = 128 * 128  # queries times keys from which a piece goes by itself


def plan_pieces(queries: Sequence[tuple[int, int]], keys: Sequence[tuple[int, int]] | None = None) -> tuple[Grid, ...]:
    """Which pieces go together.

    Args:
        queries: start and end of each piece in the flattened rows; they do not overlap.
        keys: start and end of what each piece sees in the flattened rows of keys. Default: the same.

    Example:
        >>> plan = plan_pieces([(0, 2), (2, 5), (5, 305)])
        >>> [(grid.pieces, grid.queries, grid.keys) for grid in plan]
        [(2, 3, 3), (1, 300, 300)]
    """
    asking = np.asarray(queries).reshape(-1, 2)
    seen = asking if keys is None else np.asarray(keys).reshape(-1, 2)
    sizes = np.stack([asking[:, 1] - asking[:, 0], seen[:, 1] - seen[:, 0]], 1)
    groups: dict[tuple[int, ...], list[int]] = {}
    for piece, (asked, found) in enumerate(sizes.tolist()):
        alike = (piece,) if asked * found >= ALONE else (asked.bit_length(), found.bit_length())
        groups.setdefault(alike, []).append(piece)
    grids = []
    for group in groups.values():
        longest = map(int, sizes[group].max(0))
        asked = _slots(asking[group])
        grids.append(Grid(len(group), *longest, tuple(group), asked, asked if keys is None else _slots(seen[group])))
    return tuple(grids)


def _slots(bounds: np.ndarray) -> Slots:
    """Of pieces from start to end (n, 2) in the flattened rows."""
    if len(bounds) == 1:
        return Slots(slice(*bounds[0].tolist()), None)
    lengths = bounds[:, 1] - bounds[:, 0]
    longest = int(lengths.max())
    within = np.arange(longest)
    real = within < lengths[:, None]
    places = torch.from_numpy((bounds[:, :1] + within)[real])
    return Slots(places, None if real.all() else torch.from_numpy(np.flatnonzero(real)))


def attend_pieces(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    pieces: tuple[Grid, ...],
    causal: bool = False,
    **options: Any,
) -> Tensor:
    """The attention of each piece to its own keys; 0 for tokens of no piece.

    Args:
        queries: (R, heads, S, width).
        keys: (R, heads, K, width).
        values: (R, heads, K, their own width).
        pieces: of ``plan_pieces``. A grid whose pieces differ in the number of their keys needs a mask, unless it is
            causal and they see themselves.
        causal: each query sees the keys up to its own place in its piece, where its grid has no mask.
        options: of ``dot_product_attention``.

    Returns:
        (R, S, heads, the width of the values).
    """
    queries, keys, values = as_autocast(queries, keys, values)  # less to be moved
    rows, heads, length, _ = queries.shape
    shape = (rows, length, heads, values.shape[3])
    if not pieces:
        return queries.new_zeros(shape)
    asking = _Gathered.apply(queries, [(grid.asking, grid.pieces, grid.queries) for grid in pieces])
    seen = [(grid.seen, grid.pieces, grid.keys) for grid in pieces]
    parts = zip(asking, _Gathered.apply(keys, seen), _Gathered.apply(values, seen), strict=True)
    out = [
        dot_product_attention(*part, grid.mask, causal and grid.mask is None, **options)
        for grid, part in zip(pieces, parts, strict=True)
    ]
    return _Scattered.apply(shape, [grid.asking for grid in pieces], *out)


def gather(whole: Tensor, slots: Slots, pieces: int, longest: int) -> Tensor:
    """Tokens of the rows (t, …) in their slots of a grid (pieces, longest, …), 0 in those that are padding."""
    if isinstance(slots.places, slice):
        return whole[slots.places].unsqueeze(0)
    part = whole.index_select(0, slots.places)
    if slots.filled is not None:
        part = whole.new_zeros(pieces * longest, *whole.shape[1:]).index_copy_(0, slots.filled, part)
    return part.unflatten(0, (pieces, longest))


def scatter(grid: Tensor, slots: Slots, whole: Tensor) -> None:
    """What ``gather`` undoes: writes a grid (pieces, longest, …) to the places of its tokens in the rows (t, …)."""
    if isinstance(slots.places, slice):
        whole[slots.places] = grid[0]
        return
    part = grid.flatten(0, 1)
    whole.index_copy_(0, slots.places, part if slots.filled is None else part.index_select(0, slots.filled))


class _Gathered(torch.autograd.Function):
    """(R, heads, S, width) -> (pieces, heads, longest, width) of each grid, in memory of its own.

    The gradient is moved back, which PyTorch would do by adding. A view would keep the memory of all the others.
    """

    @staticmethod
    def forward(ctx: Any, whole: Tensor, grids: Sequence[tuple[Slots, int, int]]) -> tuple[Tensor, ...]:
        ctx.shape, ctx.grids = whole.transpose(1, 2).shape, grids
        flat = whole.transpose(1, 2).flatten(0, 1)
        parts = (gather(flat, *grid).transpose(1, 2) for grid in grids)
        return tuple(part.clone(memory_format=torch.contiguous_format) for part in parts)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        flat = gradients[0].new_zeros(ctx.shape).flatten(0, 1)
        for (slots, *_), gradient in zip(ctx.grids, gradients, strict=True):
            scatter(gradient.transpose(1, 2), slots, flat)
        return flat.view(ctx.shape).transpose(1, 2), None


class _Scattered(torch.autograd.Function):
    """(pieces, heads, longest, width) of each grid -> (R, S, heads, width), 0 for tokens of no piece."""

    @staticmethod
    def forward(ctx: Any, shape: Sequence[int], slots: Sequence[Slots], *grids: Tensor) -> Tensor:
        ctx.slots, ctx.shapes = slots, [grid.shape for grid in grids]
        flat = grids[0].new_zeros(shape).flatten(0, 1)
        for grid, each in zip(grids, slots, strict=True):
            scatter(grid.transpose(1, 2), each, flat)
        return flat.view(shape)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        flat = gradient.flatten(0, 1)
        parts = [gather(flat, slots, shape[0], shape[2]) for slots, shape in zip(ctx.slots, ctx.shapes, strict=True)]
        return None, None, *(part.transpose(1, 2) for part in parts)

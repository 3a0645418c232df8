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

from mmgpt.models.attention import as_autocast, dot_product_attention
from mmgpt.structures import Grid, Pieces, Route

ALONE = 128 * 128  # queries times keys from which a piece goes by itself


def plan_pieces(queries: Sequence[tuple[int, int]], keys: Sequence[tuple[int, int]] | None = None) -> Pieces:
    """Which pieces go together.

    Args:
        queries: start and end of each piece in the flattened rows; they do not overlap.
        keys: start and end of what each piece sees in the flattened rows of keys. Default: the same.

    Example:
        >>> plan = plan_pieces([(0, 2), (2, 5), (5, 305)])
        >>> [(grid.pieces, grid.queries, grid.keys) for grid in plan.grids]
        [(2, 3, 3), (1, 300, 300)]
    """
    asking = np.asarray(queries).reshape(-1, 2)
    seen = asking if keys is None else np.asarray(keys).reshape(-1, 2)
    sizes = np.stack([asking[:, 1] - asking[:, 0], seen[:, 1] - seen[:, 0]], 1)
    groups: dict[tuple[int, ...], list[int]] = {}
    for piece, (asked, found) in enumerate(sizes.tolist()):
        alike = (piece,) if asked * found >= ALONE else (asked.bit_length(), found.bit_length())
        groups.setdefault(alike, []).append(piece)
    members = list(groups.values())
    grids = tuple(Grid(len(group), *map(int, sizes[group].max(0)), tuple(group)) for group in members)
    route = _route(asking, members)
    return Pieces(grids, route, route if keys is None else _route(seen, members))


def _route(bounds: np.ndarray, groups: list[list[int]]) -> Route:
    """Where each token of the pieces lies in the grids of their groups, one grid after the other."""
    order = [piece for group in groups for piece in group]
    starts, lengths = bounds[order, 0], bounds[order, 1] - bounds[order, 0]
    bases, size = [], 0
    for group in groups:
        width = int((bounds[group, 1] - bounds[group, 0]).max())
        bases.append(size + width * np.arange(len(group)))
        size += width * len(group)
    within = np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    places = np.repeat(starts, lengths) + within
    slots = np.repeat(np.concatenate([*bases, np.zeros(0, np.int64)]), lengths) + within
    straight = len(places) == size and np.array_equal(places, slots)
    return Route(torch.from_numpy(places), torch.from_numpy(slots), size, straight)


def attend_pieces(
    queries: Tensor,
    keys: Tensor,
    values: Tensor,
    pieces: Pieces,
    causal: bool = False,
    **options: Any,
) -> Tensor:
    """The attention of each piece to its own keys; 0 for tokens of no piece.

    Args:
        queries: (R, heads, S, width).
        keys, values: (R, heads, K, width).
        pieces: of ``plan_pieces``. A grid whose pieces differ in the number of their keys needs a mask, unless it is
            causal and they see themselves.
        causal: each query sees the keys up to its own place in its piece, where its grid has no mask.
        options: of ``dot_product_attention``.

    Returns:
        (R, S, heads, width).
    """
    queries, keys, values = as_autocast(queries, keys, values)  # less to be moved
    rows, heads, length = queries.shape[:3]
    asking = to_grids(queries.transpose(1, 2).flatten(0, 1), pieces.queries)
    seen = [to_grids(whole.transpose(1, 2).flatten(0, 1), pieces.keys) for whole in (keys, values)]
    asking = asking.split([grid.pieces * grid.queries for grid in pieces.grids])
    seen = [whole.split([grid.pieces * grid.keys for grid in pieces.grids]) for whole in seen]
    out = []
    for grid, *parts in zip(pieces.grids, asking, *seen, strict=True):
        parts = (part.unflatten(0, (grid.pieces, -1)).transpose(1, 2) for part in parts)
        attended = dot_product_attention(*parts, grid.mask, causal and grid.mask is None, **options)
        out.append(attended.transpose(1, 2).flatten(0, 1))
    if not out:
        return queries.new_zeros(rows, length, heads, queries.shape[3])
    return from_grids(torch.cat(out), pieces.queries, rows * length).unflatten(0, (rows, length))


def to_grids(whole: Tensor, route: Route) -> Tensor:
    """(tokens of the rows, …) -> (slots of the grids, …), 0 in slots that are padding."""
    if route.straight and len(whole) == route.size:
        return whole
    return _Moved.apply(whole, route.places, route.slots, route.size)


def from_grids(grids: Tensor, route: Route, tokens: int) -> Tensor:
    """What ``to_grids`` undoes: (slots, …) -> (tokens of the rows, …), 0 for tokens of no piece."""
    if route.straight and tokens == route.size:
        return grids
    return _Moved.apply(grids, route.slots, route.places, tokens)


class _Moved(torch.autograd.Function):
    """Rows of a matrix at other places of a new one. The gradient is moved back, which PyTorch would do by adding."""

    @staticmethod
    def forward(ctx: Any, whole: Tensor, sources: Tensor, targets: Tensor, size: int) -> Tensor:
        ctx.save_for_backward(sources, targets)
        ctx.size = len(whole)
        return _moved(whole, sources, targets, size)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        sources, targets = ctx.saved_tensors
        return _moved(gradient, targets, sources, ctx.size), None, None, None


def _moved(whole: Tensor, sources: Tensor, targets: Tensor, size: int) -> Tensor:
    return whole.new_zeros(size, *whole.shape[1:]).index_copy_(0, targets, whole.index_select(0, sources))

"""How tensors that do not fit a model are listed in messages."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from torch import Tensor


def misfits(
    missing: Iterable[str],
    unexpected: Iterable[str],
    shapes: Iterable[tuple[str, Sequence[int], Sequence[int]]] = (),
) -> list[str]:
    """A line for each tensor that does not fit.

    Args:
        missing: names that only the model has.
        unexpected: names that only the file has.
        shapes: name, shape in the file and shape in the model of those that differ, as ``other_shapes`` gives them.
    """
    lines = [f'missing: {name}' for name in sorted(missing)] + [f'unexpected: {name}' for name in sorted(unexpected)]
    return lines + [f'{name}: {tuple(there)} in the file, {tuple(here)} in the model' for name, there, here in shapes]


def other_shapes(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor]
) -> list[tuple[str, Sequence[int], Sequence[int]]]:
    """Name and both shapes of what ``state`` and the model's ``own`` tensors have of different shapes."""
    return [(n, state[n].shape, own[n].shape) for n in own if n in state and state[n].shape != own[n].shape]


def shown(lines: Iterable[str], limit: int = 20) -> str:
    """Lines under a message, the first ``limit`` of them."""
    lines = list(lines)
    return '\n  '.join(['', *lines[:limit], *([f'… and {len(lines) - limit} more'] if len(lines) > limit else [])])

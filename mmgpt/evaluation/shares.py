"""Sharing the questions of an evaluation over the processes of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from mmengine.dist import all_gather_object, get_rank, get_world_size

T = TypeVar('T')
A = TypeVar('A')


def in_shares(items: Sequence[T], answer: Callable[[Sequence[T]], Sequence[A]], batch_size: int = 1) -> list[A]:
    """Answers every item on one of the processes; collective, on one process it answers them all.

    The items are cut into the batches of a single process, and process ``r`` of ``n`` takes every ``n``-th batch from
    the ``r``-th on. So what stands together in a batch, and with it an answer, does not depend on the number of
    processes.

    Args:
        items: the same on all processes.
        answer: gives an answer for each item of a batch; plain data.
        batch_size: items that are answered together.

    Returns:
        on every process, the answers of all items in their order.

    Raises:
        ValueError: ``answer`` gave more or fewer answers than it was asked for.

    Example:
        >>> in_shares('abc', lambda batch: [letter.upper() for letter in batch], batch_size=2)
        ['A', 'B', 'C']
    """
    own = []
    for start in range(get_rank() * batch_size, len(items), get_world_size() * batch_size):
        batch = items[start : start + batch_size]
        answers = list(answer(batch))
        if len(answers) != len(batch):
            raise ValueError(f'{len(batch)} items were asked, {len(answers)} answers came')
        own.append((start, answers))
    batches = sorted(batch for share in all_gather_object(own) for batch in share)
    return [given for _, answers in batches for given in answers]

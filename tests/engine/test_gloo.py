"""Exchanges between CPUs give what gloo's own give."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import distributed as dist

from mmgpt.engine.strategies.gloo import Broadcasts, Reductions

from .processes import in_processes


def exchanged() -> Any:
    """Of three processes: what each gathers and what it gets of sums, and what gloo says of it."""
    group, rank, size = dist.group.WORLD, dist.get_rank(), dist.get_world_size()
    found = []
    for dtype in (torch.float32, torch.bfloat16, torch.uint8):
        own = torch.arange(5).add(10 * rank).to(dtype)
        ours, theirs = torch.empty(2, 5 * size, dtype=dtype)
        Broadcasts()(ours, own, group)
        dist.all_gather(list(theirs.chunk(size)), own)
        found.append((ours.tolist(), theirs.tolist()))
        place = torch.zeros(5 * size, dtype=dtype)  # as fully_shard does: a process's part stands in its place
        place.chunk(size)[rank].copy_(own)
        Broadcasts()(place, place.chunk(size)[rank], group)
        found.append((place.tolist(), theirs.tolist()))
    for op, divided in ((dist.ReduceOp.SUM, 1), (dist.ReduceOp.AVG, size)):
        gradients = torch.arange(5.0 * size) * (rank + 1)
        ours, whole = torch.empty(5), gradients.clone()
        dist.all_reduce(whole)
        Reductions()(ours, gradients, group, op)
        found.append((ours.tolist(), whole.chunk(size)[rank].div(divided).tolist()))
    with pytest.raises(ValueError, match='summed or averaged'):
        Reductions()(ours, gradients, group, dist.ReduceOp.MAX)
    return found


def test_each_process_gets_what_gloo_gives_it():
    for found in in_processes(exchanged, 3):
        assert all(ours == theirs for ours, theirs in found)

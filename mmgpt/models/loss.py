"""The loss of a batch as sums, so that the engine can divide once per optimiser step."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from mmgpt.structures import GROUPS, IGNORE_INDEX

LOGITS_AT_ONCE = 2**25  # elements of a chunk of logits: 128 MiB in float32


class LossSums(NamedTuple):
    """What ``Flamingo.compute_loss`` gives. Sums add up over micro-batches and processes; divide at the end."""

    loss_sum: Tensor  # () with gradient: the sum of weight * cross-entropy over the supervised tokens
    weight_sum: Tensor  # (): the sum of their weights
    kind_losses: Tensor  # (len(GROUPS),) the sum of cross-entropies of each kind of sample, without weights or gradient
    kind_counts: Tensor  # (len(GROUPS),) supervised tokens of each kind
    tokens: Tensor  # (): tokens that are no pads


class Targets(NamedTuple):
    """The supervised positions of a batch; n of them."""

    select: Tensor  # (R, S - 1) bool: the hidden state here predicts the next token
    labels: Tensor  # (n,)
    weights: Tensor | None  # (n,)
    kinds: Tensor | None  # (n,) into GROUPS


def supervised(
    labels: Tensor, segment_ids: Tensor | None, weights: Tensor | None = None, kinds: Tensor | None = None
) -> Targets:
    """Which hidden states predict which labels.

    Args:
        labels: (R, S) unshifted, ``IGNORE_INDEX`` = not trained.
        segment_ids: (R, S); the first token of a sample is never predicted from the sample before it.
        weights: (R, S) of the labels. Default: all 1.
        kinds: (R, K) the kind of segment k + 1, as in ``Batch``. Default: not known.
    """
    following = labels[:, 1:]
    select = following != IGNORE_INDEX
    if segment_ids is not None:
        select = select & (segment_ids[:, 1:] == segment_ids[:, :-1])
    kind = None
    if kinds is not None:
        segment = torch.ones_like(following) if segment_ids is None else segment_ids[:, 1:]
        kind = kinds.gather(1, (segment - 1).clamp(min=0))[select]
    return Targets(select, following[select], None if weights is None else weights[:, 1:][select], kind)


def cross_entropy_sums(
    states: Tensor, head: Callable[[Tensor], Tensor], vocabulary: int, targets: Targets, tokens: Tensor
) -> LossSums:
    """The sums over n supervised positions.

    Args:
        states: (n, D) what enters ``head``.
        head: (n, D) -> logits (n, V). Where all logits at once would be large it runs chunk by chunk and again in the
            backward pass, so that they are never all in memory.
        vocabulary: V.
        targets: as ``supervised`` gives them.
        tokens: () passed on.
    """
    rows = max(1, LOGITS_AT_ONCE // vocabulary)
    if len(states) <= rows:
        losses = _losses(states, targets.labels, head)
    else:
        losses = torch.cat(
            [
                checkpoint(_losses, part, label, head, use_reentrant=False)
                for part, label in zip(states.split(rows), targets.labels.split(rows))
            ]
        )
    plain = losses.detach()
    kind_losses, kind_counts = plain.new_zeros(len(GROUPS)), plain.new_zeros(len(GROUPS))
    if targets.kinds is not None:
        kind_losses = kind_losses.index_add(0, targets.kinds, plain)
        kind_counts = kind_counts.index_add(0, targets.kinds, torch.ones_like(plain))
    weights = torch.ones_like(plain) if targets.weights is None else targets.weights.to(plain.dtype)
    return LossSums((losses * weights).sum(), weights.sum(), kind_losses, kind_counts, tokens)


def _losses(states: Tensor, labels: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    return F.cross_entropy(head(states).float(), labels, reduction='none')

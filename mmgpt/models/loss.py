"""The loss of a batch as sums, so that the engine can divide once per optimiser step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmgpt.structures import GROUPS, IGNORE_INDEX

LOGITS_AT_ONCE = (2**25, 2**22)  # elements of a chunk of logits on a GPU and on a CPU, whose caches are smaller


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

    def predicted_by(self, states: Tensor) -> Tensor:
        """Those (n, D) of all hidden states (R, S, D) that predict a label."""
        places = F.pad(self.select, (0, 1)).flatten().nonzero().squeeze(1)
        return states.flatten(0, 1).index_select(0, places)  # a mask's gradient takes ten times as long on a CPU


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
    states: Tensor,
    head: Callable[[Tensor], Tensor],
    vocabulary: int,
    targets: Targets,
    tokens: Tensor,
    parameters: Sequence[nn.Parameter] = (),
) -> LossSums:
    """The sums over n supervised positions.

    Args:
        states: (n, D) what enters ``head``.
        head: (n, D) -> logits (n, V). It runs chunk by chunk, and each chunk's gradient is made at once, so that the
            logits of only one chunk are ever in memory and none is made twice.
        vocabulary: V.
        targets: as ``supervised`` gives them.
        tokens: () passed on.
        parameters: those of ``head`` that are trained. Where gradients are off, none is made.
    """
    if not torch.is_grad_enabled():
        states, parameters = states.detach(), ()
    weights = None if targets.weights is None else targets.weights.float()
    rows = max(1, LOGITS_AT_ONCE[states.device.type == 'cpu'] // vocabulary)
    total, plain = _CrossEntropySum.apply(states, targets.labels, weights, head, rows, *parameters)
    kind_losses, kind_counts = plain.new_zeros(len(GROUPS)), plain.new_zeros(len(GROUPS))
    if targets.kinds is not None:
        kind_losses = kind_losses.index_add(0, targets.kinds, plain)
        kind_counts = kind_counts.index_add(0, targets.kinds, torch.ones_like(plain))
    weight_sum = plain.new_tensor(float(len(plain))) if weights is None else weights.sum()
    return LossSums(total, weight_sum, kind_losses, kind_counts, tokens)


class _CrossEntropySum(torch.autograd.Function):
    """Σ weight * cross-entropy, and the cross-entropies (n,) without gradient.

    The sum's gradient is linear in what comes from above, a scalar, so that the forward pass can make all but that.
    """

    @staticmethod
    def forward(ctx, states, labels, weights, head, rows, *parameters):
        wanted = [states.requires_grad, *(True for _ in parameters)]
        grown: list[Tensor | None] = [None] * len(wanted)
        if any(wanted):
            grown[0] = torch.empty_like(states)
        losses = []
        for start in range(0, max(len(states), 1), rows):
            part = slice(start, start + rows)
            with torch.set_grad_enabled(any(wanted)):
                piece = states[part].detach().requires_grad_(any(wanted))
                logits = head(piece)
            apart = logits is not piece and logits.dtype == torch.float32
            slope = logits.detach() if apart else logits.detach().to(torch.float32, copy=True)
            loss, slope = _loss_and_slope(slope, labels[part])
            losses.append(loss)
            if any(wanted):
                if weights is not None:
                    slope *= weights[part, None]
                found = torch.autograd.grad(logits, (piece, *parameters), slope.to(logits.dtype), allow_unused=True)
                grown[0][part] = found[0]
                for place, more in enumerate(found[1:], 1):
                    grown[place] = more if grown[place] is None or more is None else grown[place] + more
            del logits, slope  # before the next ones are made
        ctx.save_for_backward(*(gradient if want else None for gradient, want in zip(grown, wanted)))
        plain = torch.cat(losses)
        ctx.mark_non_differentiable(plain)
        return (plain if weights is None else plain * weights).sum(), plain

    @staticmethod
    def backward(ctx, above, _):
        states, *parameters = (
            None if gradient is None else gradient * above.to(gradient.dtype) for gradient in ctx.saved_tensors
        )
        return states, None, None, None, None, *parameters


def _loss_and_slope(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropies (n,) of float32 logits (n, V), and their gradient (n, V): softmax minus one-hot.

    The logits are by far the largest tensor of a step: on a CPU the gradient takes their place.
    """
    labels = labels.unsqueeze(1)
    wanted, greatest = logits.gather(1, labels), logits.amax(1, keepdim=True)
    shares = torch.softmax(logits, 1, out=logits if logits.device.type == 'cpu' else None)
    losses = greatest - wanted - shares.amax(1, keepdim=True).log()  # the greatest share is 1 / Σ exp(logit - greatest)
    return losses.squeeze(1), shares.scatter_add_(1, labels, torch.full_like(wanted, -1))

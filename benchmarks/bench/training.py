"""A training step of each kind that is compared."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager, nullcontext
from functools import cache, partial

import torch
import torch.nn.functional as F

from bench.models import ADDED, gradients_by_our_names, trained
from bench.samples import IGNORE, Made, packed, padded, targets


def loss_of_idefics(model, samples: list[Made]) -> torch.Tensor:
    """The sum over trained tokens; its own loss leaves out the added tokens' logits, so it is made here."""
    batch = placed(padded(samples, model.config.vocab_size + ADDED - 1), model)
    labels = batch.pop('labels')
    logits = model(**batch, use_cache=False).logits[:, :-1].float()
    return F.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), ignore_index=IGNORE, reduction='sum')


def loss_of_ours(model, samples: list[Made], features: torch.Tensor | None = None) -> torch.Tensor:
    """The same sum, of one packed row."""
    return model.compute_loss(placed(packed(samples, features), model)).loss_sum


def placed(batch: dict[str, torch.Tensor], model) -> dict[str, torch.Tensor]:
    """A batch where the model is."""
    return {name: value.to(next(model.parameters()).device) for name, value in batch.items()}


class Steps:
    """Optimiser steps over batches, one after the other, under one setting.

    Args:
        model: whose trained parameters are stepped.
        losses: samples of a batch -> the sums of losses to add up; several are run one after the other.
        batches: each a list of samples.
        precision: ``'fp32'``, or ``'bf16'`` by autocast.
        onednn: float32 products of a CPU by oneDNN, as our Runner sets it; else as PyTorch does by itself.
    """

    def __init__(
        self,
        model,
        losses: Callable[[list[Made]], list[Callable[[], torch.Tensor]]],
        batches: list[list[Made]],
        precision: str = 'fp32',
        onednn: bool = False,
    ) -> None:
        self.losses, self.batches = losses, batches
        self.precision, self.onednn = precision, onednn
        self.device = next(model.parameters()).device.type
        # fused, as fast for one as for the other; a tiny step, so that all rounds do the same work
        self.optimizer = torch.optim.AdamW(trained(model), lr=1e-8, fused=True)

    def __call__(self) -> None:
        """All batches once."""
        for samples in self.batches:
            self.step(samples)

    def step(self, samples: list[Made]) -> None:
        """One batch."""
        self.optimizer.zero_grad()
        with products(self.onednn):
            for loss in self.losses(samples):
                with torch.autocast(self.device, torch.bfloat16) if self.precision == 'bf16' else nullcontext():
                    value = loss()
                (value / targets(samples)).backward()
            self.optimizer.step()
        if self.device == 'cuda':
            torch.cuda.synchronize()


def cases(name: str, peer, loss: Callable, own, batches: list[list[Made]], precision: str) -> dict[str, Steps]:
    """The steps that are compared, ours and a peer's.

    Args:
        name: of the peer.
        peer, own: the two models, with the same weights.
        loss: (peer, samples) -> the peer's sum.
        batches: each a list of samples.
        precision: see ``Steps``.
    """
    with torch.no_grad():
        features = {id(batch): encoded(own, batch) for batch in batches}

    def together(batch):
        return [partial(loss, peer, batch)]

    def singly(batch):
        return [partial(loss, peer, [sample]) for sample in batch]

    def row(batch):
        return [partial(loss_of_ours, own, batch)]

    def cached(batch):
        return [partial(loss_of_ours, own, batch, features[id(batch)])]

    make = partial(Steps, batches=batches, precision=precision)
    return {
        f'{name}, padded': make(peer, together),
        f'{name}, one by one': make(peer, singly),
        'ours, stock': make(own, row),
        'ours': make(own, row, onednn=True),
        'ours, cached': make(own, cached, onednn=True),
        f'{name}, padded, oneDNN': make(peer, together, onednn=True),
        f'{name}, one by one, oneDNN': make(peer, singly, onednn=True),
    }


def encoded(model, batch: list[Made]) -> torch.Tensor | None:
    """What the vision encoder makes of the pictures of a batch; None where there are none."""
    pixels = torch.cat([sample.pixels for sample in batch])
    return model.vision_encoder(pixels) if len(pixels) else None


@contextmanager
def products(onednn: bool):
    """Float32 products by oneDNN inside, where our models would choose it."""
    torch.set_float32_matmul_precision('medium' if onednn and _gains() else 'highest')
    try:
        yield
    finally:
        torch.set_float32_matmul_precision('highest')


@cache
def _gains() -> bool:
    from mmgpt.models.matmul import prefer_onednn

    return prefer_onednn()


def difference(
    ours, peer, samples: list[Made], loss_of_peer=loss_of_idefics, gradients=gradients_by_our_names
) -> dict[str, float]:
    """How far the two are apart on a batch: of the loss, and the greatest of any gradient's element.

    Args:
        ours, peer: with the same weights.
        samples: of the batch.
        loss_of_peer: the peer and samples -> the sum of its losses.
        gradients: both -> the peer's gradients by our names.

    Raises:
        ValueError: not the same parts are trained.
    """
    found = {}
    for model, loss in ((peer, loss_of_peer), (ours, loss_of_ours)):
        model.zero_grad()
        value = loss(model, samples) / targets(samples)
        value.backward()
        found[model] = value.item()
    theirs = gradients(ours, peer)
    own = {name: parameter.grad for name, parameter in ours.named_parameters() if parameter.requires_grad}
    if theirs.keys() != own.keys():
        raise ValueError(f'different parts are trained: {sorted(theirs.keys() ^ own.keys())[:5]}')
    gap = max(float((theirs[name] - own[name]).abs().max()) for name in own)
    for model in (ours, peer):
        model.zero_grad()
    return {'loss': abs(found[ours] - found[peer]), 'gradient': gap, 'loss_itself': found[ours]}

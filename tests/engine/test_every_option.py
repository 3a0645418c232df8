"""A training step with every option that saves time or memory is the plain step."""

from __future__ import annotations

from contextlib import nullcontext

import pytest
import torch

from mmgpt.engine.frozen_features import FrozenFeatures
from mmgpt.engine.prefetch import made_ahead
from mmgpt.models import loss as loss_module
from mmgpt.models.layerwise import checkpoint_activations, compile_layers
from mmgpt.models.new_tokens import train_new_rows
from mmgpt.structures import GROUPS
from tests.engine import test_packing
from tests.engine.test_packing import model, numbered
from tests.models import tiny

loader = test_packing.loader
ROWS = {
    'language_model.model.embed_tokens.weight': 'new_token_rows.rows',
    'language_model.lm_head.weight': 'new_token_rows.head_rows',
}


def half(on: bool):
    return torch.autocast('cpu', torch.bfloat16) if on else nullcontext()


def plain_step(tokenizer, loader, samples, precise):
    """Each sample in a batch of its own, everything computed as it stands: losses, their weighted sum, gradients."""
    made = model('llama', tokenizer).train()
    made.vision_encoder.requires_grad_(False)
    losses, total = [], 0.0
    for sample in samples:
        with half(not precise):
            sums = made.compute_loss(loader.collate_fn(loader.dataset.__getitems__([sample])))
        sums.loss_sum.backward()
        losses.append(sums.kind_losses.sum())
        total += sums.loss_sum.item()
    return torch.stack(losses), total, {name: p.grad for name, p in made.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ('backend', 'precise'),
    [
        ('eager', True),
        pytest.param('inductor', True, marks=pytest.mark.slow),
        pytest.param('eager', False, marks=pytest.mark.slow),
    ],
)
def test_every_option_at_once_changes_no_loss_and_no_gradient(
    backend,
    precise,
    loader,
    tokenizer,
    tmp_path,
    monkeypatch,
):
    """Packed rows, pictures encoded once and kept, batches made ahead, layers compiled and recomputed, logits by
    chunks, rows of added tokens alone, oneDNN: against one sample a batch without any of them."""
    rows = next(iter(loader.batch_sampler))
    samples = [address for row in rows for address in row]
    assert 1 < len(rows) < len(samples) <= len(GROUPS)
    expected = plain_step(tokenizer, loader, samples, precise)

    made = model('llama', tokenizer).train()
    made.vision_encoder.requires_grad_(False)
    added = list(range(len(tokenizer) - 3, len(tokenizer)))
    assert made.config.media_token_id in added
    train_new_rows(made, added)
    features = FrozenFeatures(made.vision_encoder, {}, loader.dataset, tmp_path / 'features', '20MB')
    checkpoint_activations(made)
    compile_layers(made, backend=backend)
    chunks = []
    gradient = loss_module._loss_and_slope
    monkeypatch.setattr(loss_module, 'LOGITS_AT_ONCE', (7 * len(tokenizer),) * 2)
    monkeypatch.setattr(loss_module, '_loss_and_slope', lambda *a: (chunks.append(len(a[0])), gradient(*a))[1])
    torch._dynamo.reset()
    batches = (loader.collate_fn(loader.dataset.__getitems__(rows)) for _ in range(2))
    with tiny.onednn(), made_ahead(batches) as ahead:
        for batch in ahead:
            features.complete(batch)
            assert 'frames' not in batch
            made.zero_grad(set_to_none=True)
            with half(not precise):
                sums = made.compute_loss(numbered(batch))
            sums.loss_sum.backward()
            found = {name: p.grad for name, p in made.named_parameters() if p.grad is not None}
            compare(sums, found, *expected, added, precise)
    assert 0 < features.encoded <= features.asked / 2  # what the first batch showed was kept for the second
    assert len(chunks) > 4
    assert max(chunks) <= 7
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] > 1


def compare(sums, found, expected, total, gradients, added, precise) -> None:
    """Losses to 1e-5 and gradients to 1e-4; in bfloat16 but for its rounding."""
    losses, near = (1e-5, 1e-4) if precise else (0.02, 0.2)
    each = sums.kind_losses[: len(expected)]
    assert (each - expected).abs().max() <= losses * expected.abs().max()
    assert sums.loss_sum.item() == pytest.approx(total, rel=losses)
    names = {ROWS.get(name, name) for name in gradients}
    assert found.keys() == names
    rounding = (1e-7 if precise else 1e-3) * max(gradient.norm() for gradient in gradients.values())
    for name, gradient in gradients.items():
        own = found[ROWS.get(name, name)]
        whole = gradient[added] if name in ROWS else gradient
        assert (own - whole).norm() <= near * whole.norm() + rounding, name

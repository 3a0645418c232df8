"""Attention out of products, and its gradients, equal what PyTorch's own attention and autograd give."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from mmgpt.models import attention_products as module
from mmgpt.models.attention_products import attend_by_products

SCALE = 0.3


def tensors(queries, keys, dtype=torch.float64, batch=2, heads=3, width=8):
    generator = torch.Generator().manual_seed(0)
    shapes = [(batch, size, heads, width) for size in (queries, keys, keys)]  # strided, as projections come
    made = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    return [tensor.transpose(1, 2).requires_grad_() for tensor in made]


def both(inputs, mask=None, causal=False):
    """Result and gradients by products, and by PyTorch in float64."""
    out = attend_by_products(*inputs, mask, causal, SCALE)
    above = torch.randn(out.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    expected = F.scaled_dot_product_attention(*exact, attn_mask=mask, is_causal=causal, scale=SCALE)
    found = torch.autograd.grad(out, inputs, above.to(out.dtype))
    return [out, *found], [expected, *torch.autograd.grad(expected, exact, above)]


@pytest.mark.parametrize('size', [1, 7, 20, 33])
@pytest.mark.parametrize('block', [1, 8, 128])
def test_causal_attention_is_the_same_in_blocks_of_any_size(size, block, monkeypatch):
    monkeypatch.setattr(module, 'BLOCK', block)
    for found, expected in zip(*both(tensors(size, size), causal=True)):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize(('queries', 'keys'), [(5, 9), (9, 5), (1, 4)])
def test_causal_attention_to_other_keys(queries, keys):
    for found, expected in zip(*both(tensors(queries, keys), causal=True)):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('shape', [(2, 3, 5, 9), (2, 1, 5, 9), (1, 1, 5, 9), (2, 1, 1, 9)])
def test_a_mask_is_broadcast(shape):
    mask = torch.rand(shape, generator=torch.Generator().manual_seed(2)) < 0.6
    mask[..., 0] = True
    for found, expected in zip(*both(tensors(5, 9), mask)):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize('keys', [5, module.FEW])
@pytest.mark.parametrize('causal', [False, True])
def test_half_precision_errs_by_its_rounding(keys, causal):
    for found, expected in zip(*both(tensors(keys, keys, torch.bfloat16), causal=causal)):
        assert found.dtype == torch.bfloat16
        torch.testing.assert_close(found.double(), expected, atol=0.03, rtol=0.03)


def test_blocks_keep_no_weights_that_nobody_sees(monkeypatch):
    kept = {}
    for block in (128, 8):
        monkeypatch.setattr(module, 'BLOCK', block)
        seen = kept[block] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t, seen=seen: (seen.append(t), t)[1], lambda t: t):
            attend_by_products(*tensors(64, 64), None, True, SCALE)
    elements = {block: sum(tensor.numel() for tensor in found[3:]) for block, found in kept.items()}
    assert elements[8] / elements[128] == pytest.approx((1 + 1 / 8) / 2)


def test_what_memory_held_before_is_not_seen(monkeypatch):
    """Products are written to memory that nobody filled."""
    inputs = tensors(16, 16, torch.float32)

    def results():
        out = attend_by_products(*inputs, None, True, SCALE)
        return [out, *torch.autograd.grad(out.square().sum(), inputs)]

    expected = results()
    for owner, name in ((torch.Tensor, 'new_empty'), (torch, 'empty_like')):
        make = getattr(owner, name)
        monkeypatch.setattr(owner, name, lambda *args, make=make, **options: make(*args, **options).fill_(torch.nan))
    for found, wanted in zip(results(), expected):
        assert torch.equal(found, wanted)


def test_values_of_a_width_of_their_own():
    queries, keys, values = tensors(9, 9)
    values = torch.cat([values, values[..., :3]], 3).detach().requires_grad_()
    for found, expected in zip(*both([queries, keys, values], causal=True)):
        torch.testing.assert_close(found, expected)


def test_no_tokens():
    for found, expected in zip(*both(tensors(0, 0), causal=True)):
        assert found.shape == expected.shape

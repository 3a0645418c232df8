"""Attention of pieces of rows equals masked attention of the rows, whatever their lengths."""

from __future__ import annotations

import pytest
import torch

from mmgpt.models import pieces as module
from mmgpt.models.attention import dot_product_attention
from mmgpt.models.media import look
from mmgpt.models.pieces import attend_pieces, gather, plan_pieces, scatter
from tests.models import tiny

SHORT = [(0, 3), (3, 4), (4, 10), (13, 20), (20, 40)]  # the tokens 10 to 12 belong to none
ROWS, LENGTH, HEADS, WIDTH = 2, 20, 3, 4


def tensors(count, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(ROWS, HEADS, LENGTH, WIDTH, generator=generator, dtype=dtype) for _ in range(count)]


def masked(bounds):
    """(R, 1, S, S) bool: a token sees those of its own piece up to itself; (R, S): it belongs to one."""
    number = torch.zeros(ROWS * LENGTH, dtype=torch.long)
    for piece, (start, end) in enumerate(bounds, 1):
        number[start:end] = piece
    number = number.view(ROWS, LENGTH)
    mask = (number[:, :, None] == number[:, None, :]) & (number > 0)[:, :, None]
    return (mask & torch.ones(LENGTH, LENGTH).tril().bool()).unsqueeze(1), number > 0


@pytest.fixture(params=['highest', 'medium'])
def precision(request):
    """By PyTorch's kernel, and by products."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(request.param)
    yield
    torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize('alone', [1, 50, module.ALONE])
def test_pieces_attend_as_a_mask_would_let_them(alone, precision, monkeypatch):
    monkeypatch.setattr(module, 'ALONE', alone)
    plan = plan_pieces(SHORT)
    assert sum(grid.pieces for grid in plan) == len(SHORT)
    assert (len(plan) == len(SHORT)) == (alone == 1)
    inputs = [tensor.requires_grad_() for tensor in tensors(3)]
    out = attend_pieces(*inputs, plan, causal=True)
    mask, real = masked(SHORT)
    seen = mask | ~real[:, None, :, None]  # no empty softmax
    expected = dot_product_attention(*inputs, seen).transpose(1, 2) * real[..., None, None]
    torch.testing.assert_close(out, expected)
    weights = tensors(1)[0].transpose(1, 2)
    found, wanted = (torch.autograd.grad((made * weights).sum(), inputs) for made in (out, expected))
    for one, other in zip(found, wanted):
        torch.testing.assert_close(one, other)


def test_values_of_a_width_of_their_own(precision):
    queries, keys, values = tensors(3)
    double = attend_pieces(queries, keys, torch.cat([values, 2 * values], 3), plan_pieces(SHORT), causal=True)
    single = attend_pieces(queries, keys, values, plan_pieces(SHORT), causal=True)
    torch.testing.assert_close(double, torch.cat([single, 2 * single], 3))


def test_each_piece_sees_keys_of_its_own(precision):
    seen = [(0, 8), (8, 12), (30, 37), (20, 24), (24, 28)]
    queries, keys, values = tensors(3)
    plan = plan_pieces(SHORT, seen)
    assert len(plan) < len(SHORT)
    counts = torch.tensor([end - start for start, end in seen])
    own = [torch.arange(grid.keys) < counts[list(grid.members), None] for grid in plan]
    grids = (grid._replace(mask=mask[:, None, None].expand(-1, 1, grid.queries, -1)) for grid, mask in zip(plan, own))
    out = attend_pieces(queries, keys, values, tuple(grids)).flatten(0, 1)
    flat = [tensor.transpose(1, 2).flatten(0, 1) for tensor in (queries, keys, values)]
    for piece, (asking, looked_at) in enumerate(zip(SHORT, seen)):
        parts = (tensor[slice(*b)].transpose(0, 1)[None] for tensor, b in zip(flat, (asking, looked_at, looked_at)))
        torch.testing.assert_close(
            out[slice(*asking)], dot_product_attention(*parts)[0].transpose(0, 1), msg=str(piece)
        )
    assert not out[10:13].any()


def test_what_is_scattered_lies_where_it_was_gathered():
    whole = torch.randn(40, 2)
    plan = plan_pieces(SHORT)
    assert any(grid.asking.filled is not None for grid in plan)
    back = torch.zeros_like(whole)
    for grid in plan:
        gathered = gather(whole, grid.asking, grid.pieces, grid.queries)
        for piece, found in zip(grid.members, gathered):
            start, end = SHORT[piece]
            assert torch.equal(found[: end - start], whole[start:end])
            assert not found[end - start :].any()
        scatter(gathered + 1, grid.asking, back)
    expected = whole + 1
    expected[10:13] = 0
    assert torch.equal(back, expected)


def test_short_pieces_are_not_kept_twice():
    """Beside a long one of the same row: a view would keep the memory of all."""
    bounds = [(0, 300), *((start, start + 50) for start in range(300, 600, 50))]
    inputs = [torch.randn(1, 600, 4, 8, dtype=torch.bfloat16).transpose(1, 2).requires_grad_() for _ in range(3)]
    plan = plan_pieces(bounds)
    assert [grid.pieces for grid in plan] == [1, 6]
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: (kept.append(tensor), tensor)[1], lambda tensor: tensor
    ):
        attend_pieces(*inputs, plan, causal=True)
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in kept}
    weights = [tensor for tensor in kept if tensor.shape[-1] != 8]
    assert weights
    moved = sum(storages.values()) - sum(tensor.untyped_storage().nbytes() for tensor in weights)
    assert moved == sum(whole.nbytes for whole in inputs)


def test_a_packed_row_is_looked_at_without_a_mask_of_its_whole():
    """Which would grow with the square of the row; one who looks on gets the weights of all of it."""
    model, batch = tiny.model(), tiny.training_batch(list(tiny.ROWS), packed=True)
    ids, segments = batch['input_ids'], batch['segment_ids']
    width, count = model.resampler.width, int((ids == tiny.MARK).sum())
    latents = torch.randn(1, count, 3, width, generator=torch.Generator().manual_seed(0))
    text = torch.randn(*ids.shape, model.decoder.width, generator=torch.Generator().manual_seed(1))
    found = []
    for whole_rows in (True, False):
        media = look(model.config, ids, segments, latents, whole_rows=whole_rows)._replace(weights={})
        assert (media.mask is None, media.pieces is None) == (not whole_rows, whole_rows)
        layer, block = next(iter(model.gated_blocks.items()))
        found.append((block(text, media, int(layer)), media.weights[int(layer)]))
    for packed, masked in zip(*found):
        torch.testing.assert_close(packed, masked, atol=2e-5, rtol=1e-4)

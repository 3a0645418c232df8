import pytest
import torch

from mmgpt.models.cross_attention import GatedCrossAttention, media_span, span_mask
from mmgpt.structures import Media
from tests.models.published import TOLERANCE, numbers, weights

MARK = 9
# attend mode -> (stored case, prefix of its numbers)
PUBLISHED = {
    'previous': [('b_xattn_only1', 'of'), ('b_xattn_only1', 'mm.prev1')],
    'next': [('b_xattn_only1', 'mm.prev0')],
    'all_previous': [('b_xattn_only0', 'of'), ('b_xattn_only0', 'mm.prev1')],
    'all_next': [('b_xattn_only0', 'mm.prev0')],
}
ROWS = 4  # the fifth stored row has a mark without a medium: there the published code looks at all media alike


def block_of(stored) -> GatedCrossAttention:
    block = GatedCrossAttention(width=32, media_width=24)
    block.load_state_dict(weights(stored))
    return block


@pytest.mark.parametrize(('attend', 'case'), [(mode, case) for mode, cases in PUBLISHED.items() for case in cases])
def test_equals_the_published_block(attend, case):
    stored, prefix = numbers(case[0]), case[1]
    ids = stored['input_ids'][:ROWS]
    assert torch.equal(ids == MARK, stored['media_locations'][:ROWS])
    span = media_span(ids, None, MARK, attend)
    sees = span[..., 1] > span[..., 0]
    # where the published all_... modes leak to tokens that may see nothing, ours gives zero on purpose
    same = sees if attend.startswith('all') else torch.ones_like(sees)
    block = block_of(stored)
    x = stored['x'][:ROWS].clone().requires_grad_()
    latents = stored['media'][:ROWS].clone().requires_grad_()
    out = block(x, Media(latents, span, torch.ones_like(sees)), layer=0)
    torch.testing.assert_close(out[same], stored[f'{prefix}.output'][:ROWS][same], atol=TOLERANCE, rtol=0)
    attention = block.attn(x, *block.project_media(latents), span, span_mask(span, *latents.shape[1:3]))
    torch.testing.assert_close(attention[same], stored[f'{prefix}.attn_only'][:ROWS][same], atol=TOLERANCE, rtol=0)
    assert not attention[~sees].any()

    (out * stored['grad_seed'][:ROWS]).sum().backward()
    expected = stored[f'{prefix}.grad_x'][:ROWS]
    torch.testing.assert_close(x.grad[same], expected[same], atol=TOLERANCE, rtol=0)
    rows = same.all(1)  # a row that leaks has other gradients of its media
    assert rows.any() or attend.startswith('all')
    expected = stored[f'{prefix}.grad_media'][:ROWS]
    torch.testing.assert_close(latents.grad[rows], expected[rows], atol=TOLERANCE, rtol=0)


@pytest.fixture
def block():
    torch.manual_seed(0)
    block = GatedCrossAttention(width=16, media_width=12, heads=2, head_width=8)
    torch.nn.init.normal_(block.attn_gate)
    torch.nn.init.normal_(block.ff_gate)
    return block


def test_a_new_block_changes_nothing():
    block = GatedCrossAttention(width=16, media_width=12, heads=2, head_width=8)
    x = torch.randn(2, 5, 16)
    span = torch.tensor([0, 2]).expand(2, 5, 2)
    media = Media(torch.randn(2, 2, 3, 12), span, torch.ones(2, 5, dtype=torch.bool))
    assert torch.equal(block(x, media, 0), x)


def test_without_a_medium_in_its_span_attention_is_exactly_zero_whatever_the_media_hold(block):
    x = torch.randn(1, 4, 16, requires_grad=True)
    latents = torch.full((1, 2, 3, 12), 1e20, requires_grad=True)
    span = torch.zeros(1, 4, 2, dtype=torch.long)
    gated = torch.ones(1, 4, dtype=torch.bool)
    out = block(x, Media(latents, span, gated), 0)
    nothing = block(x, Media(None, span, gated), 0)
    assert torch.equal(out, nothing)
    out.sum().backward()
    assert not latents.grad.any()
    assert x.grad.isfinite().all()


def test_a_token_outside_gated_passes_through_unchanged(block):
    x = torch.randn(1, 4, 16)
    gated = torch.tensor([[True, False, True, False]])
    span = torch.tensor([0, 1]).expand(1, 4, 2)
    out = block(x, Media(torch.randn(1, 1, 3, 12), span, gated), 0)
    assert torch.equal(out[~gated], x[~gated])
    assert not torch.isclose(out[gated], x[gated]).all(-1).any()


def test_projected_media_give_the_same_as_latents(block):
    x, latents = torch.randn(2, 4, 16), torch.randn(2, 2, 3, 12)
    span = torch.tensor([[[0, 1], [1, 2], [0, 2], [0, 0]]]).expand(2, 4, 2)
    media = Media(latents, span, torch.ones(2, 4, dtype=torch.bool))
    projected = media._replace(latents=None, keys_values={7: block.project_media(latents)}, mask=span_mask(span, 2, 3))
    assert torch.equal(block(x, media, 7), block(x, projected, 7))


def test_width_of_the_text_is_kept_in_half_precision(block):
    x = torch.randn(1, 2, 16, dtype=torch.bfloat16)
    span = torch.tensor([0, 1]).expand(1, 2, 2)
    media = Media(torch.randn(1, 1, 3, 12, dtype=torch.bfloat16), span, torch.ones(1, 2, dtype=torch.bool))
    assert block.bfloat16()(x, media, 0).dtype == torch.bfloat16


def test_told_weights_are_those_that_the_block_computes_with(block):
    x, latents = torch.randn(2, 4, 16), torch.randn(2, 2, 3, 12)
    span = torch.tensor([[[0, 1], [1, 2], [0, 2], [0, 0]]]).expand(2, 4, 2)
    media = Media(latents, span, torch.ones(2, 4, dtype=torch.bool))
    watched = media._replace(weights={})
    assert torch.equal(block(x, watched, 5), block(x, media, 5))
    weights = watched.weights[5]
    keys, values = block.project_media(latents)
    own = block.attn(x, keys, values, span, span_mask(span, 2, 3))
    torch.testing.assert_close(block.attn.to_out((weights @ values).transpose(1, 2).flatten(2)), own)
    torch.testing.assert_close(weights.sum(-1), torch.tensor([1.0, 1.0, 1.0, 0.0]).expand(2, 2, 4))
    assert not weights[:, :, 0, 3:].any()
    assert not weights[:, :, 1, :3].any()

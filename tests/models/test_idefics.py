"""Idefics, against transformers' own."""

import pytest
import torch
from torch import nn

from mmgpt.models.adapters import linear_layers
from mmgpt.models.cross_attention import IdeficsCrossAttention
from mmgpt.models.cross_attention.idefics import GatedLinearUnit
from mmgpt.models.resamplers import AllPatches
from mmgpt.structures import IGNORE_INDEX, Media
from tests.models.idefics import SIZE, VARIANTS, VOCABULARY, counterpart, image_attention_mask, oracle, rows

MARK = 7
TOLERANCE = 2e-5
IMAGES = {
    'no image': [[], []],
    'one image': [[3], [5]],
    'several images': [[1, 4, 8], [2, 3, 10]],
    'unequal rows': [[1, 4, 8], []],
}


def both_logits(theirs, ours, marks, attention_mask=None):
    ids, images = rows(marks, MARK)
    images = images.to(theirs.dtype)
    given = {'input_ids': ids, 'attention_mask': attention_mask}
    seen = image_attention_mask(ids, MARK, images.shape[1])
    expected = theirs(**given, pixel_values=images, image_attention_mask=seen).logits
    pixels = {'pixel_values': images.unsqueeze(2)} if any(marks) else {}
    if any(marks):
        exists = torch.arange(images.shape[1]) < torch.tensor([len(places) for places in marks])[:, None]
        pixels['frame_mask'] = exists.unsqueeze(-1)
    return ours(**given, **pixels).logits, expected


@pytest.mark.parametrize('variant', VARIANTS)
@torch.no_grad()
def test_logits(variant):
    theirs = oracle(variant)
    ours = counterpart(theirs, MARK)
    for name, marks in IMAGES.items():
        got, expected = both_logits(theirs, ours, marks)
        torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0, msg=lambda text, name=name: f'{name}: {text}')


@torch.no_grad()
def test_any_attention_to_two_images_is_an_interval():
    """The masks of transformers' own tests: every token sees none, one or both, at random; pads lie anywhere."""
    theirs = oracle('as published')
    ours = counterpart(theirs, MARK)
    generator = torch.Generator().manual_seed(4)
    ids, images = rows([[], []], MARK)
    images = torch.cat((images, images + 1), 1)
    seen = torch.randint(0, 2, (*ids.shape, 2), generator=generator)
    mask = torch.randint(0, 2, ids.shape, generator=generator)
    mask[:, 0] = 1
    expected = theirs(
        input_ids=ids, attention_mask=mask, pixel_values=images, image_attention_mask=seen, use_cache=False
    ).logits
    latents = ours.resampler(ours.vision_encoder(images.flatten(0, 1)).unsqueeze(1)).unflatten(0, images.shape[:2])
    span = torch.stack((1 - seen[..., 0], 1 + seen[..., 1]), -1).masked_fill(~seen.any(-1, keepdim=True), 0)
    positions = (mask.cumsum(1) - 1).masked_fill(mask == 0, 1)
    media = Media(latents, span, torch.ones_like(mask, dtype=torch.bool))
    got = ours(input_ids=ids, attention_mask=mask, position_ids=positions, media=media, use_cache=False).logits
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_pictures_of_another_size_interpolate_the_positions():
    theirs = oracle()
    ours = counterpart(theirs, MARK)
    images = torch.randn(1, 1, 3, SIZE + 2, SIZE + 2)
    ids, _ = rows([[2]], MARK)
    seen = image_attention_mask(ids, MARK, 1)
    expected = theirs(
        input_ids=ids, pixel_values=images, image_attention_mask=seen, interpolate_pos_encoding=True
    ).logits
    got = ours(input_ids=ids, pixel_values=images.unsqueeze(2)).logits
    torch.testing.assert_close(got, expected, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize('use_cache', [True, False])
@pytest.mark.parametrize('variant', ['qk norms', 'as published'])
def test_greedy_ids_of_a_left_padded_batch(variant, use_cache):
    theirs = oracle(variant, initializer_range=0.3)
    ours = counterpart(theirs, MARK)
    ids, images = rows([[4, 8], [6]], MARK)
    mask = torch.ones_like(ids)
    mask[1, :3] = 0
    how = dict(max_new_tokens=8, eos_token_id=None, pad_token_id=0, do_sample=False, use_cache=use_cache)
    how |= dict(input_ids=ids, attention_mask=mask)
    seen = image_attention_mask(ids, MARK, 2)
    expected = theirs.generate(**how, pixel_values=images, image_attention_mask=seen, suppress_tokens=[MARK])
    exists = torch.tensor([[True, True], [True, False]])
    got = ours.generate(**how, pixel_values=images.unsqueeze(2), frame_mask=exists.unsqueeze(-1))
    assert torch.equal(got, expected)
    assert len(set(got[0, ids.shape[1] :].tolist())) > 2


def test_loss_and_gradients():
    theirs = oracle('resampler', freeze_text_layers=False, freeze_vision_layers=False)
    ours = counterpart(theirs, MARK)
    ids, images = rows([[1, 6], [3, 4]], MARK)
    labels = ids.masked_fill(ids == MARK, IGNORE_INDEX)
    seen = image_attention_mask(ids, MARK, 2)
    expected = theirs(input_ids=ids, pixel_values=images, image_attention_mask=seen, labels=labels).loss
    loss = ours(input_ids=ids, pixel_values=images.unsqueeze(2), labels=labels).loss
    torch.testing.assert_close(loss, expected, atol=TOLERANCE, rtol=0)
    loss.backward()
    expected.backward()
    block, other = ours.gated_blocks['1'], theirs.model.gated_cross_attn_layers[1]
    pairs = [
        (block.attn_gate, other.alpha_cross_attn),
        (block.attn.norm.weight, other.input_layernorm.weight),
        (block.ff.gate.weight, other.mlp.gate_proj.weight),
        (ours.resampler.latents, theirs.model.perceiver_resampler.latents),
        *zip(ours.vision_encoder.tower.parameters(), theirs.model.vision_model.parameters(), strict=True),
    ]
    for mine, reference in pairs[:-2]:  # the final norm of the tower is not used
        torch.testing.assert_close(mine.grad, reference.grad, atol=TOLERANCE, rtol=1e-3)
        assert mine.grad.any()


def test_a_training_batch_is_packed():
    ours = counterpart(oracle('as published'), MARK)
    ids, images = rows([[1, 6], [3]], MARK)
    pixels = images.flatten(0, 1)[:3]
    labels = ids.masked_fill(ids == MARK, IGNORE_INDEX)
    apart = ours.compute_loss(
        {'input_ids': ids, 'labels': labels, 'frames': pixels, 'media_frames': torch.tensor([[[0], [1]], [[2], [-1]]])}
    )
    segments = torch.tensor([[1] * ids.shape[1] + [2] * ids.shape[1]])
    packed = ours.compute_loss(
        {
            'input_ids': ids.reshape(1, -1),
            'labels': labels.reshape(1, -1),
            'segment_ids': segments,
            'frames': pixels,
            'media_frames': torch.tensor([[[0], [1], [2]]]),
        }
    )
    torch.testing.assert_close(packed.loss_sum, apart.loss_sum, atol=1e-4, rtol=0)


def test_blocks_lie_before_the_first_layer_and_every_nth_after_it():
    assert list(counterpart(oracle('as published'), MARK).gated_blocks) == ['0', '2']


def test_adapters_find_the_layers_of_the_block():
    ours = counterpart(oracle(cross_layer_interval=5), MARK)
    attention = ['gated_blocks.0.attn.to_q', 'gated_blocks.0.attn.to_kv', 'gated_blocks.0.attn.to_out']
    assert linear_layers(ours, 'cross_attention') == attention
    feedforward = ['gated_blocks.0.ff.gate', 'gated_blocks.0.ff.up', 'gated_blocks.0.ff.down']
    assert linear_layers(ours, 'gated_feedforward') == feedforward


@pytest.mark.parametrize('gates', ['scalar', 'vector'])
def test_a_new_block_changes_nothing(gates):
    block = IdeficsCrossAttention(width=16, media_width=12, heads=2, feedforward_width=24, head_norms=True, gates=gates)
    x = torch.randn(1, 3, 16)
    span = torch.tensor([[[0, 0], [0, 1], [0, 1]]])
    media = Media(torch.randn(1, 1, 4, 12), span, torch.ones(1, 3, dtype=torch.bool))
    assert torch.equal(block(x, media, 0), x)
    nn.init.constant_(block.attn_gate, 1.0)
    changed = (block(x, media, 0) != x).any(-1)[0]
    assert changed.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ({'heads': 3}, 'heads must divide'),
        ({'heads': 2, 'gates': 'both'}, "'scalar' or 'vector'"),
        ({'heads': 2, 'activation': 'silo'}, 'activation must be one of'),
    ],
)
def test_wrong_arguments_of_the_block(arguments, message):
    with pytest.raises(ValueError, match=message):
        IdeficsCrossAttention(width=16, media_width=12, feedforward_width=8, **arguments)


def test_a_model_without_a_resampler_takes_one_picture_per_mark():
    with pytest.raises(ValueError, match='each picture its own <image> mark'):
        AllPatches(8)(torch.randn(2, 3, 4, 8))


def test_the_vision_tower_starts_from_a_published_model(tmp_path):
    theirs = oracle(num_hidden_layers=1)
    theirs.save_pretrained(tmp_path)
    encoder = counterpart(theirs, MARK).vision_encoder
    fresh = type(encoder)(encoder.tower.config.to_diff_dict())
    fresh.load_weights(str(tmp_path))
    pixels = torch.randn(1, 3, SIZE, SIZE)
    torch.testing.assert_close(fresh(pixels), encoder(pixels))
    with pytest.raises(ValueError, match='do not fit the config'):
        type(encoder)({**encoder.tower.config.to_diff_dict(), 'num_hidden_layers': 2}).load_weights(str(tmp_path))
    assert theirs.config.vocab_size == VOCABULARY


@pytest.mark.parametrize('activation', ['silu', 'gelu'])
def test_the_feed_forward_is_down_of_act_of_gate_times_up(activation):
    unit = GatedLinearUnit(6, 10, activation, 1e-6).double()
    x = torch.randn(2, 3, 6, dtype=torch.double, generator=torch.Generator().manual_seed(0), requires_grad=True)
    normed = unit.norm(x)
    expected = unit.down(getattr(torch.nn.functional, activation)(unit.gate(normed)) * unit.up(normed))
    inputs = (x, *unit.parameters())
    for found, wanted in zip(torch.autograd.grad(unit(x).sum(), inputs), torch.autograd.grad(expected.sum(), inputs)):
        torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(unit(x), expected)


def test_the_feed_forward_keeps_three_tensors_of_its_inner_width():
    """Those of gate and up, and their product, which ``down`` needs."""
    unit, kept = GatedLinearUnit(6, 10, 'silu', 1e-6), {}
    with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.setdefault(t.data_ptr(), t), t)[1], lambda t: t):
        unit(torch.randn(2, 4, 6))
    assert sum(tensor.numel() == 2 * 4 * 10 for tensor in kept.values()) == 3

import pytest
import torch

from mmgpt.models.resamplers import PerceiverResampler
from tests.models.published import TOLERANCE, numbers, weights

PUBLISHED = {
    'a_perceiver_f1': dict(width=24, depth=3, num_latents=16),
    'a_perceiver_default': dict(width=16),
    'a_perceiver_f3_embs': dict(width=24, depth=2, num_latents=16, max_media=4, max_frames=5),
}


@pytest.mark.parametrize('name', PUBLISHED)
def test_equals_the_published_resampler(name):
    stored = numbers(name)
    resampler = PerceiverResampler(**PUBLISHED[name])
    resampler.load_state_dict(weights(stored))
    rows, media = stored['input'].shape[:2]
    features = stored['input'].clone().requires_grad_()
    index = torch.arange(media).repeat(rows)
    out = resampler(features.flatten(0, 1), None, index).unflatten(0, (rows, media))
    torch.testing.assert_close(out, stored['output'], atol=TOLERANCE, rtol=0)
    (out * stored['grad_seed']).sum().backward()
    parameters = dict(resampler.named_parameters(), input=features)
    compared = [key.removeprefix('grad.') for key in stored if key.startswith('grad.')]
    assert {'input', 'latents'} <= set(compared)
    for key in compared:
        expected = stored[f'grad.{key}']
        torch.testing.assert_close(parameters[key].grad, expected, atol=TOLERANCE * expected.abs().max(), rtol=0)


def test_frames_that_do_not_exist_change_nothing():
    torch.manual_seed(0)
    resampler = PerceiverResampler(width=16, depth=2, num_latents=4, heads=2, head_width=8, max_frames=4)
    features = torch.randn(2, 3, 5, 16)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    out = resampler(features, mask)
    torch.testing.assert_close(out[:1], resampler(features[:1, :2]))
    torch.testing.assert_close(out[1:], resampler(features[1:]))
    features[0, 2] = 1e4
    assert torch.equal(resampler(features, mask), out)


def test_number_of_patches_and_frames_is_free():
    resampler = PerceiverResampler(width=16, depth=1, num_latents=4, heads=2, head_width=8)
    for shape in ((1, 1, 1, 16), (3, 2, 7, 16), (0, 1, 4, 16)):
        assert resampler(torch.randn(shape)).shape == (shape[0], 4, 16)


def test_too_many_frames_and_media_are_refused():
    resampler = PerceiverResampler(width=16, depth=1, num_latents=4, max_frames=2, max_media=2)
    with pytest.raises(ValueError, match=r'3 frames.*embeddings for 2'):
        resampler(torch.randn(1, 3, 4, 16))
    with pytest.raises(ValueError, match=r'3 media.*embeddings for 2'):
        resampler(torch.randn(1, 1, 4, 16), None, torch.tensor([2]))


def test_without_latents_there_is_no_resampler():
    with pytest.raises(ValueError, match='num_latents must be at least 1, got 0'):
        PerceiverResampler(width=8, num_latents=0)


def test_told_weights_are_those_that_a_layer_computes_with():
    torch.manual_seed(0)
    attention = PerceiverResampler(width=16, depth=1, num_latents=4, heads=2, head_width=8, head_norms=True).layers[0][
        0
    ]
    features, latents = torch.randn(2, 6, 16), torch.randn(2, 4, 16)
    mask = torch.ones(2, 1, 1, 10, dtype=torch.bool)
    mask[1, ..., 2:6] = False
    weights = attention.weights(features, latents, mask)
    values = attention._project(features, latents)[2]
    out = attention.to_out((weights @ values).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, attention(features, latents, mask))
    assert not weights[1, ..., 2:6].any()


def test_latents_are_made_of_patches_of_frames_that_exist():
    torch.manual_seed(0)
    resampler = PerceiverResampler(width=16, depth=3, num_latents=4, heads=2, head_width=8, max_frames=4)
    features = torch.randn(2, 3, 5, 16)
    mask = torch.tensor([[True, True, False], [True, True, True]])
    shares = resampler.patch_weights(features, mask)
    assert shares.shape == (2, 4, 3, 5)
    torch.testing.assert_close(shares.sum((2, 3)), torch.ones(2, 4))
    assert not shares[0, :, 2].any()
    torch.testing.assert_close(shares[:1, :, :2], resampler.patch_weights(features[:1, :2]))


def test_with_one_layer_latents_are_made_of_what_they_look_at():
    torch.manual_seed(0)
    resampler = PerceiverResampler(width=16, depth=1, num_latents=4, heads=2, head_width=8)
    features = torch.randn(1, 1, 5, 16)
    weights = resampler.layers[0][0].weights(features[0], resampler.latents[None], None).mean(1)[..., :5]
    expected = weights / weights.sum(-1, keepdim=True)
    torch.testing.assert_close(resampler.patch_weights(features)[:, :, 0], expected)


def test_a_second_layer_that_looks_at_latents_only_hands_on_what_those_were_made_of():
    torch.manual_seed(0)
    resampler = PerceiverResampler(width=16, depth=2, num_latents=2, heads=1, head_width=16)
    features = torch.randn(1, 1, 3, 16)
    first = resampler.patch_weights(features)
    with torch.no_grad():
        resampler.layers[1][0].norm_media.weight.zero_()
        resampler.layers[1][0].norm_media.bias.fill_(0.0)  # the keys of patches are 0, those of latents far above
        resampler.layers[1][0].to_q.weight.copy_(50 * torch.eye(16))
        resampler.layers[1][0].to_kv.weight[:16].copy_(50 * torch.eye(16))
        resampler.layers[1][1][0].weight.zero_()
    alone = PerceiverResampler(width=16, depth=1, num_latents=2, heads=1, head_width=16)
    alone.layers, alone.latents = resampler.layers[:1], resampler.latents
    torch.testing.assert_close(resampler.patch_weights(features), alone.patch_weights(features), atol=1e-3, rtol=0)
    assert not torch.allclose(first, alone.patch_weights(features), atol=1e-3)

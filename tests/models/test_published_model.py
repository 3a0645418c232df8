"""A whole OpenFlamingo, its published numbers against ours."""

import pytest
import torch

from tests.models.published import TOLERANCE, numbers, open_flamingo, renamed, settings

CASES = ['one_image.right', 'two_images.right', 'unequal.right', 'unequal.left']


@pytest.fixture(scope='module')
def model():
    return open_flamingo()


@pytest.fixture(scope='module')
def stored():
    return numbers('c_of_llama/cases')


def inputs(stored, case):
    return dict(
        input_ids=stored[f'{case}.input_ids'],
        attention_mask=stored[f'{case}.attention_mask'],
        pixel_values=stored[f'{case}.vision_x'],
    )


@pytest.mark.parametrize('case', CASES)
@torch.no_grad()
def test_logits_and_loss(model, stored, case):
    out = model(**inputs(stored, case), labels=stored[f'{case}.labels'])
    real = stored[f'{case}.attention_mask'] == 1
    torch.testing.assert_close(out.logits[real], stored[f'{case}.logits'][real], atol=TOLERANCE, rtol=0)
    if real[:, 0].all():  # with pads on the left the published loss counts what pads predict
        torch.testing.assert_close(out.loss, stored[f'{case}.loss'][0], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize('case', CASES[:3])
@torch.no_grad()
def test_vision_tokens_and_latents(model, stored, case):
    pixels = stored[f'{case}.vision_x']
    features = model.vision_encoder(pixels.flatten(0, 2))
    torch.testing.assert_close(features, stored[f'{case}.clip_tokens'], atol=TOLERANCE, rtol=0)
    latents = model.encode_pixels(stored[f'{case}.input_ids'], pixels)
    expected = stored[f'{case}.latents']
    exists = latents.flatten(2).any(-1)  # the published code also resamples the padding
    assert exists.sum(1).tolist() == (stored[f'{case}.input_ids'] == settings()['media_token_id']).sum(1).tolist()
    torch.testing.assert_close(latents[exists], expected[exists], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_patches_after_the_final_norm_are_an_option(stored):
    model, normalised = open_flamingo(normalize_patches=True), numbers('c_of_llama/cases_oc330')
    case = 'unequal.right'
    out = model(**inputs(stored, case))
    real = stored[f'{case}.attention_mask'] == 1
    torch.testing.assert_close(out.logits[real], normalised[f'{case}.logits'][real], atol=TOLERANCE, rtol=0)
    features = model.vision_encoder(stored[f'{case}.vision_x'].flatten(0, 2))
    torch.testing.assert_close(features, normalised[f'{case}.clip_tokens'], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize('use_cache', [True, False])
@pytest.mark.parametrize('case', ['one_image.right', 'two_images.right', 'unequal.left'])
def test_greedy_ids_and_scores(model, stored, case, use_cache):
    expected = stored[f'{case}.gen_ids.cache0']
    scores = stored[f'{case}.gen_scores.cache0']
    out = model.generate(
        **inputs(stored, case),
        max_new_tokens=scores.shape[1],
        eos_token_id=None,
        pad_token_id=settings()['pad_token_id'],
        use_cache=use_cache,
        output_scores=True,
        return_dict_in_generate=True,
    )
    ours = torch.stack(out.scores, 1)
    assert torch.equal(out.sequences, expected)
    mark = settings()['media_token_id']
    assert (ours[..., mark] == -torch.inf).all()  # ours never gives an <image> mark
    ours[..., mark] = scores[..., mark]
    torch.testing.assert_close(ours, scores, atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize('use_cache', [True, False])
def test_beam_ids(model, stored, use_cache):
    expected = stored['two_images.right.gen_ids.beam3']
    length = expected.shape[1] - stored['two_images.right.input_ids'].shape[1]
    out = model.generate(
        **inputs(stored, 'two_images.right'),
        num_beams=3,
        max_new_tokens=length,
        eos_token_id=None,
        pad_token_id=settings()['pad_token_id'],
        use_cache=use_cache,
    )
    assert torch.equal(out, expected)


def test_gradients(model, stored):
    """Norms of the gradients of the mean loss over the batch of unequal rows, for every trained parameter."""
    model.zero_grad()
    model(**inputs(stored, 'unequal.right'), labels=stored['unequal.right.labels']).loss.backward()
    ours = dict(model.named_parameters())
    for key, norm in settings()['grad_norms_unequal'].items():
        assert ours[renamed(key)].grad.norm().item() == pytest.approx(norm, rel=1e-3, abs=1e-6), key
    model.zero_grad(set_to_none=True)

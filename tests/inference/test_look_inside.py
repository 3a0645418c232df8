import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.inference.look_inside import look_inside, word_numbers
from tests.hub import tiny
from tests.hub.tiny import assistant, user


def inside(messages, answer='A dog lies.'):
    return look_inside(*tiny.model_and_processor(), [*messages, assistant(answer)])


@pytest.mark.parametrize('kind', ['image', 'two images', 'context', 'video', 'set', 'system'])
def test_the_attention_of_a_token_is_shared_out_over_what_it_sees(kind):
    found = inside(tiny.conversations()[kind])
    assert ''.join(found.pieces).strip() == 'A dog lies.'
    assert len(found.gates) == len(found.layers) == 2
    total = sum(medium.weights.sum((2, 3, 4)) for medium in found.media)
    torch.testing.assert_close(total, torch.ones(len(found.pieces), 2))
    for medium in found.media[:-1]:  # the answer sees the medium before it alone
        assert not medium.weights.any()
    grid = (len(found.pieces), 2, len(found.media[-1].frames), 2, 2)
    assert found.media[-1].weights.shape == grid


def test_all_media_are_shared_out_where_all_are_seen():
    _, processor = tiny.model_and_processor()
    model = tiny.build(tiny.prompter(), attend='all_previous')
    found = look_inside(model, processor, [*tiny.conversations()['two images'], assistant('A dog.')])
    shares = torch.stack([medium.weights.sum((2, 3, 4)) for medium in found.media])
    torch.testing.assert_close(shares.sum(0), torch.ones(len(found.pieces), 2))
    assert (shares > 0).all()


def test_a_text_without_pictures_has_gates_and_no_maps():
    found = inside(tiny.conversations()['text'])
    assert found.media == ()
    assert found.gates == ((pytest.approx(np.tanh(1)),) * 2,) * 2


def test_text_that_sees_the_next_picture_saw_none_when_it_answered():
    _, processor = tiny.model_and_processor()
    model = tiny.build(tiny.prompter(), attend='next')
    found = look_inside(model, processor, [*tiny.conversations()['image'], assistant('A dog.')])
    assert not found.media[0].weights.any()


def test_the_model_is_as_before_and_answers_the_same():
    model, processor = tiny.model_and_processor()
    messages = tiny.conversations()['two images']
    inputs = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True, return_dict=True)
    before = model(**inputs).logits
    hooks = [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]
    inside(messages)
    assert torch.equal(model(**inputs).logits, before)
    assert hooks == [len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules()]


@pytest.mark.parametrize(
    'messages', [[user('What?')], [user('What?'), assistant(' ')], [user('What?'), assistant('A'), user('And?')]]
)
def test_without_an_answer_there_is_nothing_to_look_into(messages):
    with pytest.raises(ValueError, match='no answer to look into'):
        look_inside(*tiny.model_and_processor(), messages)


def test_a_resampler_that_cannot_tell_is_named():
    model = tiny.build(tiny.prompter())
    model.resampler.forward, model.resampler = model.resampler.forward, nn.Identity()
    with pytest.raises(ValueError, match='Identity cannot tell'):
        look_inside(model, tiny.model_and_processor()[1], [*tiny.conversations()['image'], assistant('A dog.')])


def test_words_are_the_mean_of_their_tokens():
    found = inside(tiny.conversations()['image'], 'A zebra, seven.')
    words = found.words()
    assert [word.strip() for word in words.pieces] == ['A', 'zebra,', 'seven.']
    assert ''.join(words.pieces) == ''.join(found.pieces)
    numbers = np.array(word_numbers(found.pieces))
    expected = found.media[0].weights[numbers == 1].mean(0)
    torch.testing.assert_close(words.media[0].weights[1], expected)


def test_signs_of_several_tokens_stay_whole():
    found = inside(tiny.conversations()['image'], '七 é七')
    assert '' in found.pieces  # a sign of three bytes, none of which the tokenizer joins
    assert [word.strip() for word in found.words().pieces] == ['七', 'é', '七']


class Brightness(nn.Module):
    """Patches of 8 x 8 pixels; channel 0 tells a bright one, channel 1 a dark one."""

    mean, std = (0.0,) * 3, (1.0,) * 3

    def __init__(self):
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, frames):
        bright = F.avg_pool2d(frames.mean(1, keepdim=True), 8).flatten(1)
        return F.pad(torch.stack((bright, 1 - bright), -1), (0, 14)) * 5


def looks_for_brightness():
    """A model made by hand: its latents look for bright patches, and its words for latents that found one."""
    model = tiny.build(tiny.prompter(), attend='all_previous')
    model.vision_encoder = Brightness()
    with torch.no_grad():
        model.resampler.frame_embs.zero_()
        model.resampler.latents.zero_()
        model.resampler.latents[:, 2] = 1
        layer = model.resampler.layers[0][0]
        for matrix in (layer.to_q.weight, layer.to_kv.weight, layer.to_out.weight):
            matrix.zero_()
        layer.to_q.weight[[0, 8], 2] = 10
        layer.to_kv.weight[[0, 8], 0] = 10  # keys of both heads
        layer.to_kv.weight[[16, 24], 0] = 10  # values
        layer.to_out.weight[0, [0, 8]] = 1
        model.resampler.layers[0][1][-1].weight.zero_()
        for block in model.gated_blocks.values():
            block.attn.norm.weight.zero_()
            block.attn.norm.bias.fill_(1)
            block.attn.to_q.weight.zero_()
            block.attn.to_q.weight[[0, 8]] = 1
            block.attn.to_kv.weight.zero_()
            block.attn.to_kv.weight[[0, 8], 0] = 10
    return model


def dark(bright=None):
    pixels = np.zeros((16, 16, 3), dtype=np.uint8)
    if bright is not None:
        row, column = bright
        pixels[8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize('place', [(0, 0), (0, 1), (1, 0), (1, 1)])
@pytest.mark.parametrize('which', [0, 1, 2])
def test_the_map_points_at_the_patch_that_the_model_looks_for(place, which):
    model, processor = looks_for_brightness(), tiny.model_and_processor()[1]
    assert isinstance(processor, FlamingoProcessor)
    pictures = [dark(place if number == which else None) for number in range(3)]
    images = [{'type': 'image', 'image': picture} for picture in pictures]
    found = look_inside(model, processor, [user('Where?', *images), assistant('There.')])
    assert (found.media[which].weights[:, :, 0, place[0], place[1]] > 0.95).all()

    video = {'type': 'video', 'video': pictures}
    found = look_inside(model, processor, [user('Where?', video), assistant('There.')])
    assert (found.media[0].weights[:, :, which, place[0], place[1]] > 0.95).all()

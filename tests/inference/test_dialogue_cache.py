"""Answers with what earlier turns computed are those without."""

import pytest
import torch

from mmgpt.inference.dialogue_cache import DialogueCache
from tests.models import tiny
from tests.models.tiny import MARK

ARGUMENTS = dict(max_new_tokens=5, eos_token_id=None, pad_token_id=tiny.PAD, do_sample=False)
ONE, TWO, THREE = ([33, MARK, 34, 35], [36, MARK, 37], [38, 39, 40])


@pytest.fixture(scope='module', params=['llama', 'mpt', 'mistral'])
def model(request):
    return tiny.model(request.param)


@pytest.fixture(params=['previous', 'all_previous', 'next', 'all_next'])
def attend(request, model, monkeypatch):
    monkeypatch.setattr(model.config, 'attend', request.param)
    return request.param


class Dialogue:
    """Texts with pictures by number; each is asked with and without what the turns before computed."""

    def __init__(self, model):
        self.model = model
        self.cache = DialogueCache(model)
        self.encoded = []
        model.vision_encoder.register_forward_hook(lambda m, args, out: self.encoded.append(len(args[0])))

    def ask(self, ids, pictures=(), **arguments):
        inputs = {'input_ids': torch.tensor([ids])}
        if pictures:
            shape = (1, 3, tiny.SIZE, tiny.SIZE)
            made = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in pictures]
            inputs['pixel_values'] = torch.stack(made)[None]
        expected = self.model.generate(**inputs, **ARGUMENTS, use_cache=True, **arguments)
        self.encoded.clear()
        assert torch.equal(self.cache.generate(**inputs, **ARGUMENTS, **arguments), expected)
        return expected[0].tolist()


def test_turn_after_turn(model, attend):
    dialogue = Dialogue(model)
    said = dialogue.ask([1, *ONE], [1])
    assert dialogue.cache.reused == 0
    before = len(said) - 1  # the last token was never run through the model
    said = dialogue.ask([*said, *THREE], [1])
    assert dialogue.encoded == []
    assert dialogue.cache.reused == before
    before = len(said) - 1
    said = dialogue.ask([*said, *TWO], [1, 2])
    assert dialogue.encoded == [1]
    assert dialogue.cache.reused == (0 if attend.endswith('next') else before)


def test_another_end_of_the_text(model, attend):
    """An answer that is written otherwise, a turn that is undone, the beginning alone."""
    dialogue = Dialogue(model)
    first = [1, *ONE]
    said = dialogue.ask([*first, *TWO], [1, 2])
    dialogue.ask([*said[:-2], 41, *THREE], [1, 2])
    dialogue.ask([*first, *THREE], [1])
    assert dialogue.encoded == []
    dialogue.ask([*first, *THREE, *TWO], [1, 3])
    assert dialogue.encoded == [1]
    dialogue.ask(first, [1])
    dialogue.ask(first, [1])
    assert dialogue.cache.reused in (0, len(first) - 1)


def test_another_picture_in_the_same_text(model, attend):
    dialogue = Dialogue(model)
    text = [1, *ONE, *TWO, *THREE]
    dialogue.ask(text, [1, 2])
    dialogue.ask(text, [1, 3])
    assert dialogue.encoded == [1]
    assert dialogue.cache.reused <= text.index(MARK, 3)
    dialogue.ask(text, [4, 3])
    assert dialogue.encoded == [1]  # the other one is known at that place
    dialogue.ask(text, [3, 4])
    assert dialogue.encoded == [2]  # places count: a resampler may tell them apart


@pytest.mark.parametrize('without_media', ['skip', 'zero_attention'])
def test_pictures_that_come_and_go(model, without_media, monkeypatch):
    monkeypatch.setattr(model.config, 'without_media', without_media)
    dialogue = Dialogue(model)
    said = dialogue.ask([1, *THREE])
    dialogue.ask([*said, *ONE], [1])
    assert dialogue.cache.reused == (0 if without_media == 'skip' else len(said) - 1)
    said = dialogue.ask([*said, *THREE])
    dialogue.ask([*said, *THREE])
    assert dialogue.cache.reused == len(said) - 1


def test_beams_reuse_the_pictures(model):
    dialogue = Dialogue(model)
    said = dialogue.ask([1, *ONE], [1], num_beams=2)
    assert dialogue.cache.reused == 0
    dialogue.ask([*said, *TWO], [1, 2])


def test_a_failed_generation_is_not_gone_on_with(model):
    class Broken:
        def put(self, value):
            raise RuntimeError('on purpose')

    dialogue = Dialogue(model)
    said = dialogue.ask([1, *ONE], [1])
    pixels = torch.randn(1, 1, 1, 3, tiny.SIZE, tiny.SIZE)
    with pytest.raises(RuntimeError, match='on purpose'):
        dialogue.cache.generate(torch.tensor([[1, *ONE]]), pixels, streamer=Broken(), **ARGUMENTS)
    dialogue.ask([*said, *THREE], [1])
    assert dialogue.cache.reused == 0


def test_a_cache_of_more_than_keys_and_values_is_computed_anew():
    dialogue = Dialogue(tiny.model('lfm2'))
    said = dialogue.ask([1, *ONE], [1])
    dialogue.ask([*said, *THREE], [1])
    assert dialogue.encoded == []
    assert dialogue.cache.reused == 0

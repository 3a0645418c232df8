"""What is kept stays within its limits, and is found by what it holds."""

import pytest
import torch
from transformers import DynamicCache

from mmgpt.inference.prefixes import EncodedMedia, Prefix, Prefixes, Prompt, shared_length
from mmgpt.models.cache_name import CACHE
from mmgpt.models.cache_rows import num_bytes
from tests.models import tiny


@pytest.fixture(scope='module')
def model():
    return tiny.model('llama')


def prompt(kind: str, seed: int = 7) -> Prompt:
    row = tiny.row(kind, seed)
    return Prompt.of(row['input_ids'], row.get('pixel_values'), row.get('frame_mask'))


@torch.inference_mode()
def gone_through(model, kind, seed=7, adapters=()) -> Prefix:
    row, cache = tiny.row(kind, seed), DynamicCache(config=model.config.text_config)
    model(**row, use_cache=True, **{CACHE: cache})
    return Prefix(cache, row['input_ids'][0], prompt(kind, seed).digests, adapters)


def test_media_are_encoded_as_the_model_does_each_once(model):
    kinds = ['several images', 'video', 'text', 'image', 'several images']
    encoded, calls = EncodedMedia(model), []
    hook = model.vision_encoder.register_forward_hook(lambda m, args, out: calls.append(len(args[0])))
    made = encoded.encode([prompt(kind) for kind in kinds])
    hook.remove()
    assert sum(calls) == 2 + 3 + 1
    for kind, latents in zip(kinds, made, strict=True):
        row = tiny.row(kind)
        row.pop('attention_mask')
        if kind == 'text':
            assert latents is None
        else:
            with torch.no_grad():
                torch.testing.assert_close(latents, model.encode_pixels(**row), atol=1e-5, rtol=1e-4)


def test_the_memory_of_media_is_limited(model):
    one = EncodedMedia(model).encode([prompt('image')])[0]
    size = one.numel() * one.element_size()
    encoded = EncodedMedia(model, max_bytes=3 * size)
    for seed in range(6):
        assert encoded.encode([prompt('image', seed)])[0] is not None
        assert len(encoded._latents) <= 3
    assert encoded.encode([prompt('several images')] * 3)[2].shape[1] == 2  # more at a time than it may keep


def test_the_memory_of_texts_is_limited_and_the_last_used_stay(model):
    size = num_bytes(gone_through(model, 'image').cache)
    kept = Prefixes(model.config, max_bytes=3 * size)
    for seed in range(3):
        kept.keep(gone_through(model, 'image', seed))
    assert kept.find(prompt('image', 0), ())[0] is not None  # used
    kept.keep(gone_through(model, 'image', 3))
    assert kept.bytes <= 3 * size
    found = [kept.find(prompt('image', seed), ())[1] for seed in range(4)]
    assert [length > 2 for length in found] == [True, False, True, True]
    kept.clear()
    assert kept.bytes == 0


def test_the_longest_is_found_and_replaces_its_beginning(model):
    kept = Prefixes(model.config)
    whole = gone_through(model, 'several images')
    kept.keep(whole)
    kept.keep(whole)
    assert kept.bytes == num_bytes(whole.cache)
    longer = prompt('several images')._replace(ids=torch.cat((whole.ids, torch.tensor([20, 21]))))
    assert kept.find(longer, ()) == (whole, len(whole.ids))
    assert kept.find(longer, ('birds',))[0] is None


def test_one_token_is_always_computed(model):
    prefix = gone_through(model, 'image')
    assert shared_length(model.config, prefix, prompt('image'), ()) == len(prefix.ids) - 1

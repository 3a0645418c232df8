"""Rows of caches put together and taken out are decoded as each would be alone."""

import pytest
import torch
from transformers import DynamicCache

from mmgpt.models.cache_name import CACHE
from mmgpt.models.cache_rows import is_joinable, join_rows, num_bytes, shared, take_rows
from tests.models import tiny

EQUAL = dict(atol=2e-5, rtol=1e-4)


@pytest.fixture(scope='module', params=['llama', 'mpt', 'opt', 'mistral', 'gemma3_text'])
def model(request):
    return tiny.model(request.param)


@pytest.fixture(params=['skip', 'zero_attention'])
def without_media(request, model, monkeypatch):
    monkeypatch.setattr(model.config, 'without_media', request.param)


@torch.inference_mode()
def run(model, ids, mask, cache, **media):
    positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -ids.shape[1] :]
    out = model(ids, mask, positions, use_cache=True, **media, **{CACHE: cache})
    return out.logits[:, -1]


def filled(model, kind):
    row = tiny.row(kind)
    cache = DynamicCache(config=model.config.text_config)
    ids, mask = row.pop('input_ids'), row.pop('attention_mask')
    run(model, ids, mask, cache, **row)
    return cache, mask


def alone(model, kind, tokens):
    """The logits after each token."""
    cache, mask = filled(model, kind)
    made = []
    for token in tokens:
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        made.append(run(model, torch.tensor([[token]]), mask, cache))
    return torch.cat(made)


def test_joined_rows_and_those_that_stay(model, without_media):
    kinds, tokens = list(tiny.ROWS), [20, 31, 22, 33, 24]
    expected = {kind: alone(model, kind, tokens) for kind in kinds}
    caches, masks = zip(*(filled(model, kind) for kind in kinds))
    assert all(map(is_joinable, caches))
    length = max(mask.shape[1] for mask in masks)
    mask = torch.cat([torch.nn.functional.pad(one, (length - one.shape[1], 0)) for one in masks])
    cache = join_rows(caches)
    for step, token in enumerate(tokens[:2]):
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        logits = run(model, torch.full((len(kinds), 1), token), mask, cache)
        for row, kind in enumerate(kinds):
            torch.testing.assert_close(logits[row], expected[kind][step], **EQUAL)
    # some leave, with the columns that were pads for the rest; one comes twice, in another order
    stay = [3, 0, 3]
    pads = int(mask.shape[1] - mask[stay].sum(1).max())
    assert pads > 0
    cache, mask = take_rows(cache, torch.tensor(stay), pads), mask[stay, pads:]
    for step, token in enumerate(tokens[2:], 2):
        mask = torch.nn.functional.pad(mask, (0, 1), value=1)
        logits = run(model, torch.full((3, 1), token), mask, cache)
        for row, i in enumerate(stay):
            torch.testing.assert_close(logits[row], expected[kinds[i]][step], **EQUAL)


def test_text_alone_skips_the_gated_blocks_again_once_the_others_left(model):
    caches = [filled(model, 'text')[0], filled(model, 'image')[0]]
    joined = join_rows(caches)
    assert joined.media is not None
    assert take_rows(joined, torch.tensor([0])).media is None


def test_a_shared_cache_goes_on_without_changing_the_other(model):
    cache, mask = filled(model, 'several images')
    size, length = num_bytes(cache), cache.get_seq_length()
    other = shared(cache)
    run(model, torch.tensor([[20]]), torch.nn.functional.pad(mask, (0, 1), value=1), other)
    assert (cache.get_seq_length(), num_bytes(cache)) == (length, size)
    assert other.get_seq_length() == length + 1

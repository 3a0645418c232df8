"""A cache that goes on with text and new media gives what the whole text gives."""

import copy

import pytest
import torch

from tests.models import tiny
from tests.models.tiny import MARK

FAMILIES = ('llama', 'mpt', 'opt', 'qwen3')
EQUAL = dict(atol=2e-5, rtol=1e-4)
# the turns of each row: ids, and the number of their marks is that of their media
DIALOGUES = {
    'one after one': [[1, 20, MARK, 21, 22], [33, MARK, 34], [35, 36], [MARK, 37]],
    'several at once': [[1, MARK, 21, MARK, 22], [33, 34, MARK, 31, MARK, MARK, 30], [35]],
    'text first': [[1, 20, 21], [33, MARK, 34], [35, MARK, 36]],
}


@pytest.fixture(scope='module', params=FAMILIES)
def model(request):
    return tiny.model(request.param)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def pictures(turn, seed):
    generator = torch.Generator().manual_seed(seed)
    count = turn.count(MARK)
    return torch.randn(1, count, 1, 3, tiny.SIZE, tiny.SIZE, generator=generator) if count else None


def whole(turns, media):
    there = [m for m in media if m is not None]
    inputs = {'input_ids': torch.tensor([[token for turn in turns for token in turn]])}
    return inputs | ({'pixel_values': torch.cat(there, 1)} if there else {})


# a row without media that skipped the gated blocks cannot get any: see the test of what is refused
CONTINUED = [(name, 'zero_attention') for name in DIALOGUES] + [(n, 'skip') for n in DIALOGUES if n != 'text first']


@pytest.mark.parametrize('attend', ['previous', 'all_previous'])
@pytest.mark.parametrize(('name', 'without_media'), CONTINUED)
def test_each_turn_equals_the_whole(model, name, attend, without_media, monkeypatch):
    monkeypatch.setattr(model.config, 'attend', attend)
    monkeypatch.setattr(model.config, 'without_media', without_media)
    turns = DIALOGUES[name]
    media = [pictures(turn, seed) for seed, turn in enumerate(turns)]
    expected = model(**whole(turns, media)).logits
    cache, made = None, []
    for turn, pixels in zip(turns, media, strict=True):
        out = model(torch.tensor([turn]), pixel_values=pixels, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
        made.append(out.logits)
    torch.testing.assert_close(torch.cat(made, 1), expected, **EQUAL)


@pytest.mark.parametrize('attend', ['previous', 'all_previous'])
def test_a_batch_with_other_numbers_of_media_in_each_row(model, attend, monkeypatch):
    """Rows are padded on the left in each turn; one has no new medium, one had none."""
    if model.config.text_config.model_type == 'mpt':
        pytest.skip('its biases count the pads between the turns')
    monkeypatch.setattr(model.config, 'attend', attend)
    monkeypatch.setattr(model.config, 'without_media', 'zero_attention')
    rows = [
        ([1, MARK, 21, MARK, 22, 23, 24], [33, 34, MARK, 35]),
        ([1, 20, 21], [MARK, 34, MARK, MARK, 36, 37]),
        ([1, 20, MARK, 21, 22], [33, 34]),
    ]
    media = [[pictures(turn, 10 * i + j) for j, turn in enumerate(row)] for i, row in enumerate(rows)]
    masks, cache = [], None
    for j in range(2):
        length = max(len(row[j]) for row in rows)
        count = max(row[j].count(MARK) for row in rows)
        ids, mask = torch.zeros(3, length, dtype=torch.long), torch.zeros(3, length, dtype=torch.long)
        pixels = torch.full((3, count, 1, 3, tiny.SIZE, tiny.SIZE), 50.0)
        for i, row in enumerate(rows):
            ids[i, length - len(row[j]) :], mask[i, length - len(row[j]) :] = torch.tensor(row[j]), 1
            if media[i][j] is not None:
                pixels[i, : media[i][j].shape[1]] = media[i][j][0]
        masks.append(mask)
        attention = torch.cat(masks, 1)
        places = (attention.cumsum(1) - 1).clamp(min=0)[:, -length:]
        keywords = {'position_ids': places} if model.config.text_config.model_type in ('llama', 'qwen3') else {}
        out = model(ids, attention, past_key_values=cache, pixel_values=pixels, use_cache=True, **keywords)
        cache = out.past_key_values
    for i, row in enumerate(rows):
        expected = model(**whole(row, media[i])).logits[0, -len(row[1]) :]
        torch.testing.assert_close(out.logits[i][masks[-1][i] == 1], expected, **EQUAL)


@pytest.mark.parametrize('cache_kind', ['growing', 'static'])
def test_generation_goes_on_with_a_filled_cache(model, cache_kind):
    from transformers import DynamicCache, StaticCache

    turns = [[1, 20, MARK, 21], [33, MARK, 34]]
    media = [pictures(turn, seed) for seed, turn in enumerate(turns)]
    text = model.config.text_config
    cache = DynamicCache(config=text) if cache_kind == 'growing' else StaticCache(config=text, max_cache_len=40)
    arguments = dict(max_new_tokens=5, eos_token_id=None, pad_token_id=tiny.PAD, do_sample=False)
    ids = torch.tensor([turns[0]])
    ids = model.generate(ids, pixel_values=media[0], past_key_values=cache, **arguments)
    ids = torch.cat((ids, torch.tensor([turns[1]])), 1)
    expected = model.generate(ids, pixel_values=torch.cat(media, 1), **arguments)
    assert torch.equal(model.generate(ids, pixel_values=media[1], past_key_values=cache, **arguments), expected)


def test_only_what_can_still_be_seen_is_kept(model, monkeypatch):
    inputs = tiny.row('several images')
    for attend, media in (('previous', 1), ('all_previous', 2), ('next', 0)):
        monkeypatch.setattr(model.config, 'attend', attend)
        kept = model(**inputs, use_cache=True).past_key_values.media
        assert kept.mask is None
        assert kept.marks.tolist() == [2]
        assert (kept.keys_values is None) == (media == 0)
        for keys, _ in (kept.keys_values or {}).values():
            assert keys.shape[2] == media * 3  # latents


def test_new_media_count_on_from_the_earlier_ones():
    resampler = dict(type='PerceiverResampler', depth=1, num_latents=3, heads=2, head_width=8, max_media=8)
    model = tiny.model('llama', resampler=resampler)
    turns = DIALOGUES['several at once']
    media = [pictures(turn, seed) for seed, turn in enumerate(turns)]
    expected = model(**whole(turns, media)).logits[:, -len(turns[2]) :]
    cache = None
    for turn, pixels in zip(turns, media, strict=True):
        out = model(torch.tensor([turn]), pixel_values=pixels, past_key_values=cache, use_cache=True)
        cache = out.past_key_values
    torch.testing.assert_close(out.logits, expected, **EQUAL)


@pytest.mark.parametrize('attend', ['next', 'all_next'])
def test_text_that_would_have_looked_ahead_is_refused(model, attend, monkeypatch):
    monkeypatch.setattr(model.config, 'attend', attend)
    turn = [1, MARK, 20]
    cache = model(torch.tensor([turn]), pixel_values=pictures(turn, 0), use_cache=True).past_key_values
    with pytest.raises(ValueError, match=f"attend='{attend}'.*pass the whole prompt again"):
        model(torch.tensor([[MARK]]), pixel_values=pictures([MARK], 1), past_key_values=cache)


def test_a_row_that_skipped_the_gated_blocks_is_refused(model):
    batch = tiny.padded([tiny.row('image'), tiny.row('text')])
    cache = model(**batch, use_cache=True).past_key_values
    pixels = torch.randn(2, 1, 1, 3, tiny.SIZE, tiny.SIZE)
    with pytest.raises(ValueError, match=r"row 1 .*without_media='skip'"):
        model(torch.tensor([[MARK], [MARK]]), pixel_values=pixels, past_key_values=cache)
    text = model(torch.tensor([[1, 20]]), use_cache=True).past_key_values
    with pytest.raises(ValueError, match=r"row 0 .*without_media='skip'"):
        model(torch.tensor([[MARK]]), pixel_values=pixels[:1], past_key_values=text)


def test_a_cache_is_taken_by_both_names_and_only_one_of_two():
    model = tiny.model()
    cache = model(torch.tensor([[1, 20]]), use_cache=True, return_dict=False)[1]
    tail = torch.tensor([[21]])
    copies = [copy.deepcopy(cache) for _ in range(2)]
    logits = [model(tail, **{name: copy}).logits for name, copy in zip(('cache', 'past_key_values'), copies)]
    assert torch.equal(*logits)
    assert not torch.equal(logits[0], model(tail).logits)
    with pytest.raises(ValueError, match='pass one of them'):
        model(tail, cache=cache, past_key_values=copies[0])

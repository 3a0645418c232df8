"""What must hold for every composed model, whatever its weights: each with open gates unless it says otherwise."""

import copy
import threading
from contextlib import nullcontext

import pytest
import torch

from mmgpt.structures import Media
from tests.models import tiny

KINDS = list(tiny.ROWS)
MODES = ('previous', 'next', 'all_previous', 'all_next')
EQUAL = dict(atol=2e-5, rtol=1e-4)


FASTER = [pytest.param(f'{family}, oneDNN', marks=pytest.mark.slow) for family in ('llama', 'mpt')]


@pytest.fixture(scope='module', params=[*tiny.FAMILIES, *tiny.FURTHER, *FASTER])
def model(request):
    """Also with products and attention as a CPU trains and answers by itself where oneDNN is the faster library."""
    family, _, library = request.param.partition(', ')
    with tiny.onednn() if library else nullcontext():
        yield tiny.model(family)


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.no_grad():
        yield


def logits_of(model, inputs):
    return model(**inputs).logits


def looks(model, inputs) -> bool:
    """Whether the media of the inputs change the logits at all: without it the properties below say nothing."""
    other = dict(inputs, pixel_values=inputs['pixel_values'] + 1)
    return not torch.allclose(logits_of(model, inputs), logits_of(model, other), atol=1e-3)


@pytest.mark.parametrize('kind', KINDS[1:])
def test_the_media_are_looked_at(model, kind):
    assert looks(model, tiny.row(kind))


@pytest.mark.parametrize('without_media', ['skip', 'zero_attention'])
@pytest.mark.parametrize('family', [*tiny.FAMILIES, *tiny.FURTHER])
def test_closed_gates_equal_the_bare_language_model(family, without_media):
    model = tiny.model(family, gates=False, without_media=without_media)
    for kind in KINDS:
        inputs = tiny.row(kind)
        bare = model.language_model(input_ids=inputs['input_ids']).logits
        assert torch.equal(logits_of(model, inputs), bare)


@pytest.mark.parametrize('attend', MODES)
@pytest.mark.parametrize('kind', KINDS)
def test_cache_equals_no_cache(model, kind, attend, monkeypatch):
    monkeypatch.setattr(model.config, 'attend', attend)
    inputs = tiny.row(kind)
    length = inputs['input_ids'].shape[1]
    arguments = dict(max_new_tokens=6, eos_token_id=None, pad_token_id=tiny.PAD)
    arguments |= dict(return_dict_in_generate=True, output_logits=True)
    cached = model.generate(**inputs, **arguments, use_cache=True)
    whole = model.generate(**inputs, **arguments, use_cache=False)
    assert torch.equal(cached.sequences, whole.sequences)
    assert cached.sequences.shape[1] == length + 6
    torch.testing.assert_close(torch.stack(cached.logits), torch.stack(whole.logits), **EQUAL)
    teacher = dict(inputs, input_ids=cached.sequences, attention_mask=None)
    expected = logits_of(model, teacher)[:, length - 1 : -1]
    torch.testing.assert_close(torch.stack(cached.logits, 1), expected, **EQUAL)


def test_continuing_a_cache_by_several_tokens_equals_the_whole(model):
    inputs = tiny.row('several images')
    tail = torch.tensor([[33, 34, 35]])
    prompt = model(**inputs, use_cache=True)
    continued = model(input_ids=tail, past_key_values=prompt.past_key_values).logits
    whole = dict(inputs, input_ids=torch.cat((inputs['input_ids'], tail), 1), attention_mask=None)
    torch.testing.assert_close(continued, logits_of(model, whole)[:, -3:], **EQUAL)


@pytest.mark.parametrize('side', ['left', 'right'])
@pytest.mark.parametrize('without_media', ['skip', 'zero_attention'])
def test_batch_equals_single_and_padded_media_change_nothing(model, side, without_media, monkeypatch):
    monkeypatch.setattr(model.config, 'without_media', without_media)
    rows = [tiny.row(kind) for kind in KINDS]
    batch = tiny.padded(rows, side)
    logits = logits_of(model, batch)
    for i, one in enumerate(rows):
        torch.testing.assert_close(logits[i][batch['attention_mask'][i] == 1], logits_of(model, one)[0], **EQUAL)


@pytest.mark.parametrize('attend', MODES)
def test_padded_media_and_frames_change_nothing_at_all(model, attend, monkeypatch):
    monkeypatch.setattr(model.config, 'attend', attend)
    rows = [tiny.row(kind) for kind in KINDS]
    zeros, noise = (tiny.padded(rows, noise=noise) for noise in (False, True))
    assert torch.equal(logits_of(model, zeros), logits_of(model, noise))


@pytest.mark.parametrize('beams', [1, 3])
def test_generated_batch_equals_single(model, beams):
    rows = [tiny.row(kind) for kind in KINDS]
    arguments = dict(max_new_tokens=5, num_beams=beams, eos_token_id=None, pad_token_id=tiny.PAD)
    together = model.generate(**tiny.padded(rows), **arguments, use_cache=True)
    for i, one in enumerate(rows):
        alone = model.generate(**one, **arguments, use_cache=True)
        assert torch.equal(together[i, -5:], alone[0, -5:])


def test_static_cache_equals_the_growing_one(model):
    batch = tiny.padded([tiny.row(kind) for kind in KINDS])
    arguments = dict(max_new_tokens=5, eos_token_id=None, pad_token_id=tiny.PAD, use_cache=True)
    growing = model.generate(**batch, **arguments)
    assert torch.equal(model.generate(**batch, **arguments, cache_implementation='static'), growing)


def test_several_samples_of_one_prompt_see_its_media(model):
    inputs = tiny.row('several images')
    arguments = dict(max_new_tokens=3, eos_token_id=None, pad_token_id=tiny.PAD, output_logits=True, use_cache=True)
    arguments |= dict(do_sample=True, num_return_sequences=3, return_dict_in_generate=True)
    out = model.generate(**inputs, **arguments)
    expected = logits_of(model, inputs)[0, -1]
    assert out.sequences.shape[0] == 3
    for logits in out.logits[0]:
        torch.testing.assert_close(logits, expected, **EQUAL)


def test_a_sample_without_media_equals_the_bare_model_inside_a_mixed_batch(model):
    batch = tiny.padded([tiny.row('video'), tiny.row('text'), tiny.row('several images')])
    bare = model.language_model(input_ids=batch['input_ids'], attention_mask=batch['attention_mask']).logits
    logits = logits_of(model, batch)
    real = batch['attention_mask'][1] == 1
    assert torch.equal(logits[1][real], bare[1][real])
    assert not torch.allclose(logits[0], bare[0], atol=1e-3)


def test_zero_attention_runs_the_feed_forward_of_a_sample_without_media(model, monkeypatch):
    inputs = tiny.row('text')
    bare = model.language_model(input_ids=inputs['input_ids']).logits
    assert torch.equal(logits_of(model, inputs), bare)
    monkeypatch.setattr(model.config, 'without_media', 'zero_attention')
    assert not torch.allclose(logits_of(model, inputs), bare, atol=1e-3)


@pytest.mark.parametrize('attend', MODES)
def test_attention_of_a_token_that_may_see_no_medium_is_exactly_zero(model, attend, monkeypatch):
    monkeypatch.setattr(model.config, 'attend', attend)
    batch = tiny.padded([tiny.row(kind) for kind in KINDS])
    seen = []
    blocks = list(model.gated_blocks.values())
    handles = [b.attn.register_forward_hook(lambda m, args, out: seen.append((args[3], out))) for b in blocks]
    logits_of(model, batch)
    for handle in handles:
        handle.remove()
    assert len(seen) == len(blocks)
    for span, attention in seen:
        sees = span[..., 1] > span[..., 0]
        assert not attention[~sees].any()
        assert attention[sees].abs().sum(-1).all()


def test_supervised_logits_are_the_language_models_own(model):
    ids = torch.tensor([[1, 20, 21, 22, 23, 24]])
    hidden = model.decoder.hidden_states(input_ids=ids)
    own = model.language_model(input_ids=ids).logits
    assert model.decoder.traits.head_outside
    torch.testing.assert_close(model.decoder.supervised_logits(hidden[0]), own[0], **EQUAL)


def test_image_marks_are_never_generated(model, monkeypatch):
    head = model.get_output_embeddings()
    biased = copy.deepcopy(model)
    biased.get_output_embeddings().register_forward_hook(
        lambda m, args, out: out.index_fill(-1, torch.tensor([tiny.MARK]), 1e4)
    )
    assert head is not biased.get_output_embeddings()
    for arguments in (dict(), dict(do_sample=True, top_k=1), dict(num_beams=2), dict(suppress_tokens=[33])):
        out = biased.generate(
            **tiny.row('image'), **arguments, max_new_tokens=4, eos_token_id=None, pad_token_id=tiny.PAD
        )
        assert (out == tiny.MARK).sum() == 1
    assert biased.generation_config.suppress_tokens is None  # the user's settings are left as they were


def test_media_are_encoded_once_and_projected_once_per_generation(model):
    encoded, projected = [], []
    handles = [model.vision_encoder.register_forward_hook(lambda m, args, out: encoded.append(len(args[0])))]
    for block in model.gated_blocks.values():
        handles.append(block.attn.to_kv.register_forward_hook(lambda *_: projected.append(1)))
    inputs = tiny.row('several images')
    arguments = dict(max_new_tokens=5, num_beams=3, eos_token_id=None, pad_token_id=tiny.PAD)
    model.generate(**inputs, **arguments, use_cache=True)
    for handle in handles:
        handle.remove()
    assert encoded == [2]
    assert len(projected) == len(model.gated_blocks)


def test_streamed_tokens_are_the_generated_ones(model):
    class Streamer:
        def __init__(self):
            self.tokens = []

        def put(self, value):
            self.tokens += value.flatten().tolist()

        def end(self):
            self.ended = True

    streamer = Streamer()
    arguments = dict(max_new_tokens=5, eos_token_id=None, pad_token_id=tiny.PAD)
    out = model.generate(**tiny.row('image'), **arguments, streamer=streamer)
    assert streamer.tokens == out[0].tolist()
    assert streamer.ended


@pytest.mark.parametrize('make', [lambda m: copy.deepcopy(m), lambda m: tiny.model(m.config.text_config.model_type, 5)])
def test_two_models_share_nothing(model, make):
    inputs = tiny.row('several images')
    before = logits_of(model, inputs)
    other = make(model)
    for parameter in other.parameters():
        parameter.add_(0.1)
    changed = logits_of(other, inputs)
    assert torch.equal(logits_of(model, inputs), before)
    assert not torch.allclose(changed, before, atol=1e-3)
    for parameter in model.gated_blocks.parameters():
        assert all(parameter is not p for p in other.parameters())
    assert torch.equal(logits_of(other, inputs), changed)


def test_two_threads_share_nothing(model):
    inputs = [tiny.row(kind, seed) for kind in KINDS for seed in (1, 2)]
    expected = [logits_of(model, one) for one in inputs]
    wrong = []

    def run(offset: int) -> None:
        with torch.no_grad():
            for step in range(24):
                i = (offset + step) % len(inputs)
                if not torch.allclose(logits_of(model, inputs[i]), expected[i], atol=1e-5):
                    wrong.append(i)

    threads = [threading.Thread(target=run, args=(offset,)) for offset in (0, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_an_exception_leaves_nothing_behind(model):
    inputs = tiny.row('image')
    before = logits_of(model, inputs)
    bare = logits_of(model, tiny.row('text'))
    layer = model.decoder.layers[-1]

    def fail(*_):
        raise RuntimeError('on purpose')

    handle = layer.register_forward_hook(fail)
    with pytest.raises(RuntimeError, match='on purpose'):
        logits_of(model, inputs)
    handle.remove()
    assert torch.equal(logits_of(model, tiny.row('text')), bare)
    assert torch.equal(logits_of(model, inputs), before)


@pytest.mark.parametrize('part', ['vision_encoder', 'resampler'])
@pytest.mark.parametrize(
    'change', [lambda made: made[:1], lambda made: made[0], lambda made: made[..., :4]], ids=['few', 'flat', 'narrow']
)
def test_features_of_another_shape_are_refused(part, change, monkeypatch):
    model = tiny.model()
    inputs = tiny.row('several images')
    module = getattr(model, part)
    forward = module.forward
    monkeypatch.setattr(module, 'forward', lambda *args: change(forward(*args)))
    with pytest.raises(ValueError, match=rf'{type(module).__name__} gave .* expected \(\d+, any, {module.width}\)'):
        logits_of(model, inputs)


def test_encoded_media_and_ready_media_may_be_passed(model):
    inputs = tiny.row('video')
    expected = logits_of(model, inputs)
    latents = model.encode_pixels(inputs['input_ids'], inputs['pixel_values'], inputs['frame_mask'])
    assert torch.equal(model(input_ids=inputs['input_ids'], media=latents).logits, expected)
    span = torch.zeros(1, 6, 2, dtype=torch.long)
    span[:, 2:, 1] = 1
    media = Media(latents, span, torch.ones(1, 6, dtype=torch.bool))
    torch.testing.assert_close(model(input_ids=inputs['input_ids'], media=media).logits, expected, **EQUAL)


def test_inputs_embeds_and_tuples(model):
    inputs = tiny.row('image')
    embedded = model.get_input_embeddings()(inputs['input_ids'])
    out = model(**inputs, inputs_embeds=embedded, return_dict=False)
    torch.testing.assert_close(out[0], logits_of(model, inputs), **EQUAL)


def test_last_logits_only(model):
    inputs = tiny.row('image')
    torch.testing.assert_close(model(**inputs, logits_to_keep=1).logits, logits_of(model, inputs)[:, -1:], **EQUAL)


@pytest.mark.parametrize(
    ('marks', 'media', 'message'),
    [
        (2, 1, '2 <image> marks and 1 media'),
        (1, 2, '1 <image> marks and 2 media'),
        (1, 0, '1 <image> marks and no media'),
    ],
)
def test_marks_and_media_must_agree(model, marks, media, message):
    ids = torch.tensor([[1] + [tiny.MARK] * marks + [20]])
    pixels = torch.randn(1, media, 1, 3, tiny.SIZE, tiny.SIZE) if media else None
    for call, arguments in ((model, {}), (model.generate, {'max_new_tokens': 1})):
        with pytest.raises(ValueError, match=message):
            call(input_ids=ids, pixel_values=pixels, **arguments)


def test_a_gap_between_media_is_refused(model):
    inputs = tiny.row('several images')
    pixels = inputs['pixel_values'][:, [0, 0, 1]]
    with pytest.raises(ValueError, match='gap between two media'):
        model(input_ids=inputs['input_ids'], pixel_values=pixels, frame_mask=torch.tensor([[[1], [0], [1]]]).bool())


def test_marks_that_continue_a_cache_need_media(model):
    prompt = model(**tiny.row('image'), use_cache=True)
    with pytest.raises(ValueError, match='1 <image> marks and no media'):
        model(input_ids=torch.tensor([[tiny.MARK]]), past_key_values=prompt.past_key_values)

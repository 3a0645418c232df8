"""The loss of a batch, its gradients, packing, activation checkpointing and compilation."""

import copy
from contextlib import nullcontext

import pytest
import torch

from mmgpt.models import loss as loss_module
from mmgpt.models.attention import dot_product_attention
from mmgpt.models.language_decoders import MPT, CausalLM, probe
from mmgpt.models.layerwise import checkpoint_activations
from mmgpt.models.new_tokens import train_new_rows
from mmgpt.models.vision_encoders.normalisation import normalise
from mmgpt.structures import IGNORE_INDEX
from tests.models import tiny

KINDS = list(tiny.ROWS)
EQUAL = dict(atol=2e-5, rtol=1e-4)


@pytest.fixture(
    scope='module',
    params=[*tiny.FAMILIES, 'granite', pytest.param('llama, every option', marks=pytest.mark.slow)],
)
def model(request):
    """The last one recomputes activations, trains rows of added tokens only and multiplies by oneDNN."""
    family, _, options = request.param.partition(', ')
    made = tiny.model(family)
    with tiny.onednn() if options else nullcontext():
        if options:
            train_new_rows(made, [tiny.MARK])
            checkpoint_activations(made)
            made.train()
        yield made


def gradients(model, sums) -> torch.Tensor:
    model.zero_grad(set_to_none=True)
    sums.loss_sum.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def test_loss_is_the_one_of_the_whole_models_logits(model):
    batch = tiny.training_batch(KINDS)
    sums = model.compute_loss(batch)
    total = count = 0.0
    for r, kind in enumerate(KINDS):
        real = batch['segment_ids'][r] == 1
        frames = batch['media_frames'][r]
        frames = frames[(frames >= 0).any(-1)]
        inputs = {'input_ids': batch['input_ids'][r][real][None], 'labels': batch['labels'][r][real][None]}
        if len(frames):
            inputs['pixel_values'] = batch['frames'][frames.clamp(min=0)][None]
            inputs['frame_mask'] = (frames >= 0)[None]
        n = int((inputs['labels'] != IGNORE_INDEX).sum())
        mean = model(**inputs).loss
        total, count = total + mean * n, count + n
        place = {'text': 0, 'video': 2}.get(kind, 1)
        assert kind == 'text' or sums.kind_counts[place] >= n
    torch.testing.assert_close(sums.loss_sum, total, **EQUAL)
    assert sums.weight_sum == count == sums.kind_counts.sum()
    torch.testing.assert_close(sums.kind_losses.sum(), sums.loss_sum.detach(), **EQUAL)
    assert sums.tokens == sum(len(ids) for ids, _ in tiny.ROWS.values())


@pytest.mark.parametrize('whole_rows', [False, True])
def test_packed_rows_equal_padded_ones(model, whole_rows):
    """Whether attention takes the samples one by one, or whole rows with masks."""
    assert model.decoder.traits.packing is not None
    model.decoder.whole_rows = whole_rows
    padded = model.compute_loss(tiny.training_batch(KINDS))
    expected = gradients(model, padded)
    packed = model.compute_loss(tiny.training_batch(KINDS, packed=True))
    torch.testing.assert_close(packed.loss_sum, padded.loss_sum, **EQUAL)
    for one, other in zip(packed[1:], padded[1:]):
        torch.testing.assert_close(one, other, **EQUAL)
    difference = (gradients(model, packed) - expected).norm() / expected.norm()
    assert difference < 1e-5


@pytest.mark.parametrize('attend', ['previous', 'next'])
@pytest.mark.parametrize('packed', [False, True])
def test_samples_that_choose_train_as_models_of_that_mode(attend, packed):
    """Of separate rows and of a packed one: the loss, and the gradient with which a model's own mode trains them."""
    kinds = ['several images', 'text', 'image', 'several images', 'image', 'several images']
    choices = [1, 1, 0, 0, 1, -1]
    modes = [{-1: attend, 0: 'previous', 1: 'next'}[choice] for choice in choices]
    rows = tiny.training_batch(kinds)
    parts, expected = [], torch.tensor(0.0)
    for r, mode in enumerate(modes):
        row = {key: value if key == 'frames' else value[r : r + 1] for key, value in rows.items()}
        one = tiny.model(attend=mode)
        sums = one.compute_loss(row)
        expected = expected + sums.loss_sum
        one.zero_grad()
        sums.loss_sum.backward()
        parts.append({n: p.grad for n, p in one.named_parameters() if p.grad is not None})

    model = tiny.model(attend=attend)
    plain = model.compute_loss(rows).loss_sum
    batch = tiny.training_batch(kinds, packed=packed)
    batch['attend_next'] = torch.tensor([choices]) if packed else torch.tensor(choices)[:, None]
    sums = model.compute_loss(batch)
    torch.testing.assert_close(sums.loss_sum, expected, **EQUAL)
    assert (sums.loss_sum - plain).abs() > 0.01  # the choice matters
    sums.loss_sum.backward()
    for name, parameter in model.named_parameters():
        gradient = sum(part[name] for part in parts if name in part)
        torch.testing.assert_close(
            torch.zeros(()) if parameter.grad is None else parameter.grad,
            torch.zeros(()) if isinstance(gradient, int) else gradient,
            atol=1e-4, rtol=1e-3, msg=lambda message, name=name: f'{name}: {message}',
        )  # fmt: skip


def test_a_choice_is_the_trainings_own():
    model = tiny.model(attend='previous')
    inputs = tiny.row('several images')
    before = model.generate(**inputs, max_new_tokens=4, do_sample=False)
    batch = tiny.training_batch(KINDS)
    batch['attend_next'] = torch.ones(len(KINDS), 1, dtype=torch.long)
    model.compute_loss(batch)
    assert torch.equal(model.generate(**inputs, max_new_tokens=4, do_sample=False), before)
    with pytest.raises(ValueError, match="attend='all_next'"):
        tiny.model(attend='all_next').compute_loss(batch)


def test_packing_is_refused_where_no_way_of_masking_holds(monkeypatch):
    model = tiny.model('llama')
    model.decoder.traits = model.decoder.traits._replace(packing=None, by_segment=False)
    with pytest.raises(ValueError, match=r'LlamaForCausalLM.*no packing'):
        model.compute_loss(tiny.training_batch(KINDS, packed=True))
    model.compute_loss(tiny.training_batch(KINDS))


def test_a_sample_is_never_predicted_from_the_one_before_it():
    model = tiny.model('llama')
    batch = tiny.training_batch(['text', 'text'], packed=True)
    first = (batch['segment_ids'][0] == 2).nonzero()[0, 0]
    before = model.compute_loss(batch)
    batch['labels'][0, first] = batch['input_ids'][0, first]
    batch['loss_weights'][0, first] = 1
    after = model.compute_loss(batch)
    assert torch.equal(before.loss_sum, after.loss_sum)
    assert torch.equal(before.weight_sum, after.weight_sum)


def test_gradients_of_micro_batches_equal_those_of_the_large_batch(model):
    whole = gradients(model, model.compute_loss(tiny.training_batch(KINDS)))
    batch = tiny.training_batch(KINDS)
    model.zero_grad(set_to_none=True)
    for r in range(len(KINDS)):
        part = {key: value if key == 'frames' else value[r : r + 1] for key, value in batch.items()}
        model.compute_loss(part).loss_sum.backward()
    parts = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    assert (parts - whole).norm() / whole.norm() < 1e-6


def test_weights_scale_the_loss():
    model = tiny.model('llama')
    batch = tiny.training_batch(KINDS)
    plain = model.compute_loss(batch)
    batch['loss_weights'] = batch['loss_weights'] * 3
    heavy = model.compute_loss(batch)
    torch.testing.assert_close(heavy.loss_sum, plain.loss_sum * 3)
    torch.testing.assert_close(heavy.weight_sum, plain.weight_sum * 3)
    assert torch.equal(heavy.kind_losses, plain.kind_losses)


def test_chunked_loss_equals_the_whole(model, monkeypatch):
    batch = tiny.training_batch(KINDS)
    whole = model.compute_loss(batch)
    expected = gradients(model, whole)
    monkeypatch.setattr(loss_module, 'LOGITS_AT_ONCE', (3 * tiny.VOCABULARY,) * 2)
    chunked = model.compute_loss(batch)
    torch.testing.assert_close(chunked.loss_sum, whole.loss_sum)
    assert (gradients(model, chunked) - expected).norm() / expected.norm() < 1e-6


@pytest.mark.parametrize('without', [torch.no_grad, torch.inference_mode])
def test_the_loss_without_gradients_makes_none(without, monkeypatch):
    model = tiny.model('llama')
    batch = tiny.training_batch(KINDS)
    expected = model.compute_loss(batch)
    monkeypatch.setattr(torch.autograd, 'grad', lambda *_, **__: pytest.fail('a gradient is made'))
    with without():
        found = model.compute_loss(batch)
    torch.testing.assert_close(found.loss_sum, expected.loss_sum.detach())


def test_a_batch_of_text_skips_the_visual_side():
    model = tiny.model('llama')
    ran = []
    model.vision_encoder.register_forward_hook(lambda *_: ran.append('vision'))
    model.resampler.register_forward_hook(lambda *_: ran.append('resampler'))
    for block in model.gated_blocks.values():
        block.register_forward_hook(lambda *_: ran.append('block'))
    model.compute_loss(tiny.training_batch(['text', 'text']))
    assert not ran
    model.compute_loss(tiny.training_batch(['text', 'image']))
    assert ran == ['vision', 'resampler', 'block', 'block']


def test_a_frame_that_several_rows_show_is_encoded_once():
    model = tiny.model('llama')
    batch = tiny.training_batch(['image', 'image'])
    apart = copy.copy(batch)
    apart['frames'] = batch['frames'][[0, 0]]
    seen = []
    model.vision_encoder.register_forward_hook(lambda m, args, out: seen.append(len(args[0])))
    expected = model.compute_loss(apart)
    batch['frames'], batch['media_frames'] = batch['frames'][:1], torch.zeros(2, 1, 1, dtype=torch.long)
    torch.testing.assert_close(model.compute_loss(batch).loss_sum, expected.loss_sum)
    assert seen == [2, 1]


def test_cached_features_stand_for_frames():
    model = tiny.model('llama')
    batch = tiny.training_batch(KINDS)
    expected = model.compute_loss(batch)
    encoder = model.vision_encoder
    pixels = normalise(batch.pop('frames'), encoder.mean, encoder.std, torch.float32)
    batch['vision_features'] = encoder(pixels).detach()
    assert torch.equal(model.compute_loss(batch).loss_sum, expected.loss_sum)


def test_marks_and_media_of_a_batch_must_agree():
    model = tiny.model('llama')
    batch = tiny.training_batch(KINDS)
    batch['media_frames'][1] = -1
    with pytest.raises(ValueError, match='row 1 has 1 <image> marks and 0 media'):
        model.compute_loss(batch)


def test_pads_on_the_left_equal_pads_on_the_right(model):
    batch = tiny.training_batch(KINDS)
    right = model.compute_loss(batch)
    shifts = (batch['segment_ids'] == 0).sum(1).tolist()
    for name in ('input_ids', 'labels', 'segment_ids', 'loss_weights'):
        rows = [row.roll(shift) for row, shift in zip(batch[name], shifts)]
        batch[name] = torch.stack(rows)
    left = model.compute_loss(batch)
    torch.testing.assert_close(left.loss_sum, right.loss_sum, **EQUAL)


def test_activation_checkpointing_changes_no_gradient(model):
    model = copy.deepcopy(model).train()
    batch = tiny.training_batch(KINDS)
    expected = gradients(model, model.compute_loss(batch))
    kept = []
    for block in model.gated_blocks.values():
        block.attn.register_forward_hook(lambda *_: kept.append(torch.is_grad_enabled()))
    model.activation_checkpointing_enable()
    sums = model.compute_loss(batch)
    forward_runs = len(kept)
    difference = gradients(model, sums) - expected
    assert difference.norm() / expected.norm() < 1e-6
    assert len(kept) == 2 * forward_runs  # every gated block ran again in the backward pass


def test_autocast_in_half_precision_is_near_and_sums_in_float32(model):
    batch = tiny.training_batch(KINDS)
    expected = model.compute_loss(batch)
    with torch.autocast('cpu', torch.bfloat16):
        half = model.compute_loss(batch)
    assert half.loss_sum.dtype == torch.float32
    assert half.loss_sum != expected.loss_sum
    torch.testing.assert_close(half.loss_sum, expected.loss_sum, rtol=0.02, atol=0)
    assert gradients(model, half).isfinite().all()


@pytest.mark.parametrize('family', tiny.FAMILIES)
def test_everything_trained_gets_a_gradient(family):
    model = tiny.model(family)
    model.compute_loss(tiny.training_batch(KINDS)).loss_sum.backward()
    without = [n for n, p in model.named_parameters() if p.grad is None and 'post_layernorm' not in n]
    assert not without


def test_one_batch_can_be_overfit():
    model = tiny.model('llama', gates=False).train()
    batch = tiny.training_batch(KINDS)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        sums = model.compute_loss(batch)
        (sums.loss_sum / sums.weight_sum).backward()
        optimizer.step()
    assert sums.loss_sum / sums.weight_sum < 0.05
    assert all(block.attn_gate.abs() > 0 for block in model.gated_blocks.values())


@pytest.mark.parametrize(
    ('family', 'packing', 'by_segment', 'head_outside'),
    [
        ('llama', 'positions', True, True),
        ('mpt', 'float_mask', False, True),
        ('opt', 'bool_mask', True, True),
        ('granite', 'positions', True, False),
    ],
)
def test_what_the_probe_finds(family, packing, by_segment, head_outside):
    decoder = tiny.model(family).decoder
    assert type(decoder) is (MPT if family == 'mpt' else CausalLM)
    assert decoder.traits == (packing, by_segment, head_outside)


def test_what_the_probe_found_holds_for_one_attention_implementation():
    text = dict(tiny.TEXT['llama'], model_type='llama')
    found = [
        tiny.model('llama', text_config=dict(text, attn_implementation=name)).decoder.traits.by_segment
        for name in ('eager', 'sdpa')
    ]
    assert found == [False, True]


def test_attention_under_autocast_is_that_of_its_type(monkeypatch):
    """Rotated queries are float32 there; PyTorch's kernel for bfloat16 is slow to go backward."""
    queries, keys, values = (torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0)) for _ in range(3))
    expected = dot_product_attention(*(part.bfloat16() for part in (queries, keys, values)), causal=True)
    monkeypatch.setattr(torch.nn.functional, 'scaled_dot_product_attention', None)
    with torch.autocast('cpu', torch.bfloat16):
        found = dot_product_attention(queries, keys, values.bfloat16(), causal=True)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, expected)


def test_media_that_do_not_reach_the_layers_are_noticed_when_the_model_is_built():
    with pytest.raises(ValueError, match=r'do not reach the layers of MptForCausalLM.*of 2 layers, 0 got them'):
        tiny.model('mpt', language_decoder=dict(type='CausalLM'))


def test_probing_leaves_the_random_state_alone():
    lm = tiny.model('llama').language_model
    probe._known.clear()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    assert CausalLM(lm).traits.head_outside
    assert torch.equal(torch.rand(4), expected)


def compiled_pair(backend: str):
    """Two compiled models in one process against their plain selves."""
    torch._dynamo.reset()
    torch._dynamo.config.skip_nnmodule_hook_guards = False
    inputs = tiny.row('several images')
    for seed in (0, 1):
        model = tiny.model('llama', seed=seed)
        with torch.no_grad():
            expected = model(**inputs, use_cache=False).logits
            compiled = torch.compile(model, backend=backend)
            torch.testing.assert_close(compiled(**inputs, use_cache=False).logits, expected, **EQUAL)


def test_two_compiled_models_in_one_process_are_both_right():
    compiled_pair('eager')


@pytest.mark.slow
def test_two_models_compiled_by_inductor_are_both_right():
    compiled_pair('inductor')


def test_bfloat16_differs_by_rounding_alone(model):
    batch = tiny.training_batch(KINDS, packed=True)
    exact = model.compute_loss(batch)
    expected = gradients(model, exact)
    with torch.autocast('cpu', torch.bfloat16):
        rounded = model.compute_loss(batch)
    torch.testing.assert_close(rounded.loss_sum, exact.loss_sum, rtol=0.02, atol=0)
    assert torch.cosine_similarity(gradients(model, rounded), expected, 0) > 0.99


def test_losses_of_extreme_logits_are_exact():
    """The softmax takes the place of the logits: what underflows in it must not be lost to the loss."""
    logits = torch.tensor([[0.0, 300.0, -200.0], [1e4, 1e4, -1e4], [-50.0, 40.0, 40.0]]).repeat(3, 1)
    labels = torch.arange(3).repeat_interleave(3)
    states = logits.clone().requires_grad_()
    exact = torch.nn.functional.cross_entropy(states, labels, reduction='none')
    exact.sum().backward()
    losses, slope = loss_module._loss_and_slope(logits.clone(), labels)
    assert torch.allclose(losses, exact, rtol=1e-6)
    assert torch.allclose(slope, states.grad, atol=1e-6)

"""Low-rank adapters: where they sit, what they change, and how they travel."""

import copy

import peft
import pytest
import torch

from mmgpt.models import adapter_files, adapters
from mmgpt.models.adapters import SLOTS, LoRA
from mmgpt.registry import ADAPTERS
from tests.models import tiny
from tests.models.test_builder import build, config, inputs, trained

EQUAL = dict(atol=1e-5, rtol=1e-5)
CROSS = {'to_q', 'to_kv', 'to_out'}
SLOT_LAYERS = {  # family: the linear layers of its attention, and of its feed-forward
    'llama': ({'q_proj', 'k_proj', 'v_proj', 'o_proj'}, {'gate_proj', 'up_proj', 'down_proj'}),
    'mistral': ({'q_proj', 'k_proj', 'v_proj', 'o_proj'}, {'gate_proj', 'up_proj', 'down_proj'}),
    'qwen3': ({'q_proj', 'k_proj', 'v_proj', 'o_proj'}, {'gate_proj', 'up_proj', 'down_proj'}),
    'gemma3_text': ({'q_proj', 'k_proj', 'v_proj', 'o_proj'}, {'gate_proj', 'up_proj', 'down_proj'}),
    'phi3': ({'qkv_proj', 'o_proj'}, {'gate_up_proj', 'down_proj'}),
    'gpt_neox': ({'query_key_value', 'dense'}, {'dense_h_to_4h', 'dense_4h_to_h'}),
    'opt': ({'q_proj', 'k_proj', 'v_proj', 'out_proj'}, {'fc1', 'fc2'}),
    'mpt': ({'Wqkv', 'out_proj'}, {'up_proj', 'down_proj'}),
}


@pytest.fixture(scope='module')
def base():
    return tiny.model('llama').eval()


def adapted(base, open_up=True, **options):
    """The base with an adapter on all slots; its weights are random unless ``open_up`` is False."""
    torch.manual_seed(1)
    model = copy.deepcopy(base)
    LoRA(slots=SLOTS, r=4, **options).inject(model)
    if open_up:
        with torch.no_grad():
            for _, parameter in adapters.adapter_parameters(model):
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@torch.no_grad()
def logits(model):
    return model(**tiny.row('image')).logits


@pytest.mark.parametrize('family', SLOT_LAYERS)
def test_slots_are_exactly_the_named_layers(family):
    with torch.device('meta'):
        plain = tiny.model(family, gates=False)
    attention, feed_forward = SLOT_LAYERS[family]
    expected = dict(zip(SLOTS, (attention, CROSS, {'1', '3'}, feed_forward), strict=True))
    count = len(plain.decoder.layers)
    for slot, kinds in expected.items():
        model = copy.deepcopy(plain)
        LoRA(slots=[slot], r=2).inject(model)
        names = {name.partition('.lora_A')[0] for name, p in model.named_parameters() if '.lora_A' in name}
        where = 'gated_blocks.' if slot in ('cross_attention', 'gated_feedforward') else 'language_model.'
        assert all(name.startswith(where) for name in names)
        assert {name.rpartition('.')[2] for name in names} == kinds
        assert len(names) == len(kinds) * (len(plain.gated_blocks) if where == 'gated_blocks.' else count)
        assert all('.lora_' in name for name in trained(model))


def test_a_slot_may_be_narrowed_to_some_of_its_layers(base):
    model = copy.deepcopy(base)
    slots = {'self_attention': {'layers': ['self_attn.q_proj', 'self_attn.v_proj']}, 'gated_feedforward': {'r': 1}}
    LoRA(slots=slots, r=2).inject(model)
    ranks = {name.partition('.lora_A')[0]: len(p) for name, p in model.named_parameters() if '.lora_A' in name}
    attention = [f'language_model.model.layers.{i}.self_attn.{k}_proj' for i in range(4) for k in 'qv']
    assert ranks == {**dict.fromkeys(attention, 2), **{f'gated_blocks.{i}.ff.{k}': 1 for i in (1, 3) for k in (1, 3)}}


@pytest.mark.parametrize('options', [{}, {'use_rslora': True}, {'use_dora': True}, {'init_lora_weights': 'pissa'}])
def test_a_new_adapter_changes_nothing(base, options):
    model = adapted(base, open_up=False, **options)
    torch.testing.assert_close(logits(model), logits(base), **EQUAL)
    if not options:
        assert torch.equal(logits(model), logits(base))


@pytest.mark.parametrize('options', [{}, {'use_rslora': True}, {'use_dora': True}, {'init_lora_weights': 'pissa'}])
def test_merged_equals_unmerged_and_unloading_leaves_a_plain_model(base, options):
    model = adapted(base, **options)
    expected = logits(model)
    assert not torch.allclose(expected, logits(base), atol=1e-2)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    plain = copy.deepcopy(base)
    plain.load_state_dict(adapters.merged_state_dict(model))
    torch.testing.assert_close(logits(plain), expected, **EQUAL)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())

    adapters.merge_adapters(model)
    torch.testing.assert_close(logits(model), expected, **EQUAL)
    adapters.unmerge_adapters(model)
    torch.testing.assert_close(logits(model), expected, **EQUAL)
    adapters.unload_adapters(model)
    torch.testing.assert_close(logits(model), expected, **EQUAL)
    assert list(model.state_dict()) == list(base.state_dict())


def test_an_adapter_may_be_dropped(base):
    model = adapted(base)
    adapters.unload_adapters(model, merge=False)
    assert torch.equal(logits(model), logits(base))


def test_options_reach_peft(base):
    model = adapted(base, use_rslora=True, use_dora=True, alpha=8)
    layer = model.gated_blocks['1'].attn.to_q
    assert layer.scaling['default'] == 8 / 4**0.5
    assert layer.use_dora['default']
    ranks = copy.deepcopy(base)
    LoRA(slots={'self_attention': {'r': 2, 'alpha': 6}, 'cross_attention': {}}, r=4, alpha=4).inject(ranks)
    own = ranks.decoder.layers[0].self_attn.q_proj
    assert (own.r['default'], own.scaling['default']) == (2, 3.0)
    assert ranks.gated_blocks['1'].attn.to_q.r['default'] == 4


@pytest.mark.parametrize('options', [{}, {'use_rslora': True}, {'use_dora': True}])
def test_an_adapter_made_here_loads_in_peft(base, options, tmp_path):
    model = adapted(base, **options)
    adapter_files.save_adapter(model, tmp_path)
    theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path).eval()
    torch.testing.assert_close(logits(theirs), logits(model), **EQUAL)
    ours = copy.deepcopy(base)
    adapter_files.load_adapter(ours, tmp_path)
    assert torch.equal(logits(ours.eval()), logits(model))


def test_an_adapter_that_took_a_part_of_the_base_by_chance_is_refused(base, tmp_path):
    adapter_files.save_adapter(adapted(base, init_lora_weights='pissa_niter_2'), tmp_path)
    with pytest.raises(ValueError, match=r"init_lora_weights='pissa_niter_2'.*use the whole model \(W/hf\)"):
        adapter_files.load_adapter(copy.deepcopy(base), tmp_path)


def test_an_adapter_made_by_peft_loads_here(base, tmp_path):
    own = peft.LoraConfig(r=3, target_modules=['q_proj', 'to_q'], init_lora_weights=False)
    theirs = peft.get_peft_model(copy.deepcopy(base), own).eval()
    theirs.save_pretrained(tmp_path)
    ours = copy.deepcopy(base)
    adapter_files.load_adapter(ours, tmp_path)
    assert not torch.allclose(logits(base), logits(theirs), atol=1e-3)
    assert torch.equal(logits(ours.eval()), logits(theirs))
    with pytest.raises(ValueError, match=r'do not fit the model(.|\n)*layers\.3\.'):
        adapter_files.load_adapter(tiny.model('opt'), tmp_path)


@pytest.mark.parametrize('options', [{}, {'use_dora': True}, {'init_lora_weights': 'pissa'}])
def test_adapters_start_anew_on_other_weights(base, options):
    model = adapted(tiny.model('llama', seed=9), **options)
    held = [parameter for _, parameter in adapters.adapter_parameters(model)]
    state = adapters.adapted_names(base.state_dict(), model)
    assert not model.load_state_dict(state, strict=False).unexpected_keys
    adapters.restart_adapters(model)
    torch.testing.assert_close(logits(model), logits(base), **EQUAL)
    assert all(one is other for one, (_, other) in zip(held, adapters.adapter_parameters(model), strict=True))


def test_the_config_of_a_model_names_its_adapter(tokenizer, tmp_path):
    lora = dict(type='LoRA', slots=['self_attention', 'gated_feedforward'], r=2)
    model = build(config(adapter=lora), tokenizer).eval()
    names = trained(model)
    assert names == {name for name, _ in adapters.adapter_parameters(model)}
    more = trained(build(config(adapter=lora, trainable=['*_gate', 'gated_blocks.1.ff.1.weight']), tokenizer))
    assert more - names == {
        *(f'gated_blocks.{block}.{kind}_gate' for block in (1, 3) for kind in ('attn', 'ff')),
        'gated_blocks.1.ff.1.base_layer.weight',
    }
    with torch.no_grad():
        for _, parameter in adapters.adapter_parameters(model):
            parameter.add_(torch.randn_like(parameter) * 0.1)
        expected = model(**inputs(tokenizer)).logits
        model.save_pretrained(tmp_path)
        loaded = type(model).from_pretrained(tmp_path).eval()
        assert torch.equal(loaded(**inputs(tokenizer)).logits, expected)


def test_adapters_of_a_half_precision_model_are_float32(base):
    model = copy.deepcopy(base).bfloat16()
    LoRA(r=2).inject(model)
    assert {parameter.dtype for _, parameter in adapters.adapter_parameters(model)} == {torch.float32}
    assert model(**tiny.row('image')).logits.dtype == torch.bfloat16


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (dict(slots=['self_atention']), 'self_atention'),
        (dict(slots=[]), 'got none'),
        (dict(use_rsloar=True), "did you mean 'use_rslora'"),
        (dict(slots={'self_attention': {'rank': 2}}), "takes r, alpha and layers; got \\['rank'\\]"),
    ],
)
def test_wrong_settings_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        ADAPTERS.build(dict(type='LoRA', **arguments))


@pytest.mark.parametrize(
    'option', [{'modules_to_save': ['embed_tokens']}, {'trainable_token_indices': [1]}, {'bias': 'all'}]
)
def test_what_would_be_trained_beside_an_adapter_is_named_elsewhere(option):
    with pytest.raises(ValueError, match=rf'{next(iter(option))!r} is not taken.* trainable and train_embeddings'):
        LoRA(**option)


def test_a_bias_that_could_not_be_merged_is_refused_before_it_is_trained(base):
    with pytest.raises(ValueError, match=r'lora_bias needs layers with a bias.*self_attn\.q_proj has none'):
        LoRA(slots=['self_attention'], lora_bias=True).config(base)
    LoRA(slots=['self_attention'], lora_bias=True).config(tiny.model('opt'))


def test_a_layer_that_a_slot_does_not_have_is_named(base):
    with pytest.raises(ValueError, match=r"no linear layer 'q_proj'; it has .*self_attn\.q_proj"):
        LoRA(slots={'self_attention': {'layers': ['q_proj']}}).config(base)

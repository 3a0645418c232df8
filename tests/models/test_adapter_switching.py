"""Several adapters on one base: put on, switched, added up, taken off; one that belongs to another base is refused."""

import copy

import peft
import pytest
import torch
from safetensors.torch import load_file, save_file

from mmgpt.models import adapter_files, adapters
from mmgpt.models.adapters import SLOTS, LoRA
from tests.models import tiny

EQUAL = dict(atol=1e-5, rtol=1e-5)


@torch.no_grad()
def logits(model):
    return model(**tiny.row('image')).logits


def adapted(base, seed, slots=SLOTS, name='default'):
    torch.manual_seed(seed)
    model = copy.deepcopy(base)
    LoRA(slots=slots, r=2 + seed, name=name).inject(model)
    with torch.no_grad():
        for _, parameter in adapters.adapter_parameters(model):
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


@pytest.fixture(scope='module')
def base():
    return tiny.model('llama').eval()


@pytest.fixture(scope='module')
def folders(base, tmp_path_factory):
    """Two adapters of one base, of other ranks and on other layers, with the logits they give."""
    made = {}
    for seed, (name, slots) in enumerate({'birds': SLOTS, 'maps': ['cross_attention']}.items()):
        model = adapted(base, seed, slots)
        folder = tmp_path_factory.mktemp(name)
        adapter_files.save_adapter(model, folder)
        made[name] = folder, logits(model)
    return made


@pytest.fixture
def both(base, folders):
    model = copy.deepcopy(base)
    for name, (folder, _) in folders.items():
        model.load_adapter(folder, name)
    return model


def test_adapters_are_switched_at_run_time(base, folders, both):
    plain = logits(base)
    assert both.active_adapters() == ['maps']  # the one that was loaded last
    for name in ('birds', 'maps', 'birds'):
        both.set_adapter(name)
        assert both.active_adapters() == [name]
        torch.testing.assert_close(logits(both), folders[name][1], **EQUAL)
    both.disable_adapters()
    assert both.active_adapters() == []
    assert torch.equal(logits(both), plain)
    both.enable_adapters()
    torch.testing.assert_close(logits(both), folders['birds'][1], **EQUAL)
    both.set_adapter(['birds', 'maps'])
    together = logits(both)
    assert all(not torch.allclose(together, other, atol=1e-3) for other in (plain, *(f[1] for f in folders.values())))


def test_taking_all_off_leaves_the_plain_model(base, folders, both):
    both.delete_adapter('maps')
    both.set_adapter('birds')
    torch.testing.assert_close(logits(both), folders['birds'][1], **EQUAL)
    both.delete_adapter('birds')
    assert torch.equal(logits(both), logits(base))
    assert both.state_dict().keys() == base.state_dict().keys()
    with pytest.raises(ValueError, match='no adapter: put one on it'):
        both.set_adapter('birds')


def test_the_active_adapter_is_merged_and_taken_out_again(base, folders, both):
    both.set_adapter('birds')
    adapters.merge_adapters(both)
    torch.testing.assert_close(logits(both), folders['birds'][1], **EQUAL)
    adapters.unmerge_adapters(both)
    both.set_adapter('maps')
    torch.testing.assert_close(logits(both), folders['maps'][1], **EQUAL)


def test_each_adapter_is_saved_by_itself_and_loads_in_peft(base, both, folders, tmp_path):
    for name, (_, expected) in folders.items():
        adapter_files.save_adapter(both, tmp_path / name, name)
        theirs = peft.PeftModel.from_pretrained(copy.deepcopy(base), tmp_path / name).eval()
        torch.testing.assert_close(logits(theirs), expected, **EQUAL)


def test_an_adapter_of_the_models_own_config_is_switched_too(base):
    model = adapted(base, 3, name='own')
    with_it = logits(model)
    model.disable_adapters()
    torch.testing.assert_close(logits(model), logits(base), **EQUAL)
    model.enable_adapters()
    assert torch.equal(logits(model), with_it)
    with pytest.raises(ValueError, match=r"named 'onw'; did you mean 'own'\?"):
        model.set_adapter('onw')


def test_a_trained_adapter_has_gradients_and_others_none(base, folders):
    model = copy.deepcopy(base)
    model.load_adapter(folders['birds'][0], 'birds', is_trainable=True)
    assert any(p.requires_grad for _, p in adapters.adapter_parameters(model))
    model = copy.deepcopy(base)
    model.load_adapter(folders['birds'][0], 'birds')
    assert not any(p.requires_grad for _, p in adapters.adapter_parameters(model))


def test_an_adapter_that_is_trained_further_keeps_its_precision_beside_half_weights(base, folders):
    model = copy.deepcopy(base).bfloat16()
    folder, stored = folders['birds'][0], load_file(folders['birds'][0] / 'adapter_model.safetensors')
    model.load_adapter(folder, 'used')
    assert {p.dtype for _, p in adapters.adapter_parameters(model)} == {torch.bfloat16}
    model.load_adapter(folder, 'trained', is_trainable=True)
    kept = {n.replace('.trained', ''): p for n, p in adapters.adapter_parameters(model) if '.trained.' in n}
    assert all(torch.equal(kept[n.removeprefix('base_model.model.')], value) for n, value in stored.items())
    assert len(kept) == len(stored)


def refused(model, folder, message, name='other'):
    before, active = logits(model), adapter_files.active_adapters(model)
    keys = model.state_dict().keys()
    with pytest.raises((ValueError, OSError), match=message):
        model.load_adapter(folder, name)
    assert model.state_dict().keys() == keys
    assert adapter_files.active_adapters(model) == active
    assert torch.equal(logits(model), before)


def test_an_adapter_for_another_base_is_refused_and_changes_nothing(base, both, folders, tmp_path):
    folder = folders['birds'][0]
    refused(tiny.model('opt').eval(), folder, 'made for another base')
    narrow = dict(text_config=dict(base.config.text_config.to_dict(), intermediate_size=32))
    refused(tiny.model('llama', **narrow).eval(), folder, r'another base(.|\n)*in the file, .* in the model')
    refused(tiny.model('llama', seed=5).eval(), folder, 'not those that it was trained on')
    refused(both, folder, "named 'birds' already", name='birds')
    refused(both, tmp_path, 'holds no adapter')
    for file in folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes()[: 200 if file.suffix == '.safetensors' else None])
    refused(both, tmp_path, 'is damaged')


def test_a_name_with_a_dot_is_refused(base, folders):
    refused(copy.deepcopy(base), folders['birds'][0], 'without dots', 'birds.v2')


@pytest.mark.parametrize('disabled', [False, True])
def test_what_is_refused_leaves_adapters_off_and_frozen_as_they_were(both, tmp_path, disabled):
    both.set_adapter('birds')
    before = logits(both)
    if disabled:
        both.disable_adapters()
    both.requires_grad_(False)
    next(both.parameters()).requires_grad_(True)
    trained = [name for name, parameter in both.named_parameters() if parameter.requires_grad]
    adapter_files.save_adapter(adapted(tiny.model('llama', seed=5), 3), tmp_path)
    refused(both, tmp_path, 'made for another base')
    assert [name for name, parameter in both.named_parameters() if parameter.requires_grad] == trained
    both.enable_adapters()
    assert both.active_adapters() == ['birds']
    assert torch.equal(logits(both), before)


def test_rounding_of_the_base_is_no_other_base(base, folders):
    model = copy.deepcopy(base).bfloat16()
    model.load_adapter(folders['birds'][0], 'birds')
    assert model.active_adapters() == ['birds']


def test_an_adapter_without_a_sketch_is_taken_by_its_shapes(base, folders, tmp_path):
    for file in folders['birds'][0].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    save_file(load_file(tmp_path / adapter_files.WEIGHTS), tmp_path / adapter_files.WEIGHTS)
    model = tiny.model('llama', seed=5)
    model.load_adapter(tmp_path)
    assert model.active_adapters() == ['default']

"""Settings are read from pickled objects of any class without the class."""

import argparse
import dataclasses
import sys
import types

import pytest
import torch
from mmengine.config import Config, ConfigDict
from transformers import LlamaConfig, LlamaForCausalLM

from mmgpt.hub.convert.files import read_file, read_folder, read_state
from mmgpt.hub.convert.multimodal_gpt import read_settings
from mmgpt.models.sources import stored_state

FIELDS = {'lora': True, 'lora_r': 4, 'lora_alpha': 8, 'lora_dropout': 0.1}


class Settings(dict):
    """A mapping that is also an object."""

    def __init__(self, **fields):
        super().__init__(fields)
        self.__dict__ = self


@dataclasses.dataclass
class Fields:
    lora_r: int = 4
    lora_alpha: int = 8
    lora_dropout: float = 0.1


@pytest.fixture
def gone(tmp_path):
    """``gone(settings)``: a file of them, whose classes are no longer there when it is read."""
    module = types.ModuleType('gone_module')
    before = {kind: kind.__module__ for kind in (Settings, Fields)}

    def write(settings):
        sys.modules['gone_module'] = module
        for kind in before:
            kind.__module__ = 'gone_module'
            setattr(module, kind.__name__, kind)
        torch.save({'model_state_dict': {'a': torch.ones(2)}, 'tuning_config': settings}, tmp_path / 'file.pt')
        del sys.modules['gone_module']
        return tmp_path / 'file.pt'

    yield write
    for kind, name in before.items():
        kind.__module__ = name


@pytest.mark.parametrize(
    'settings',
    [
        dict(FIELDS),
        {'tuning_config': dict(FIELDS)},
        ConfigDict(FIELDS),
        ConfigDict(type='x', tuning_config=ConfigDict(FIELDS)),
        Config(FIELDS),
        Config({'type': 'x', 'tuning_config': FIELDS}),
        argparse.Namespace(**FIELDS),
        Settings(**FIELDS),
        Fields(),
    ],
    ids=lambda settings: type(settings).__name__,
)
def test_settings_of_any_class(gone, settings):
    content = read_file(gone(settings))
    assert torch.equal(content['model_state_dict']['a'], torch.ones(2))
    found = read_settings(content)
    assert (found.r, found.alpha, found.dropout, found.assumed) == (4, 8, 0.1, None)


@pytest.mark.parametrize('content', [{}, {'tuning_config': None}, {'tuning_config': {'lora_alpha': None}}])
def test_what_a_file_does_not_tell_is_assumed_aloud(content):
    assert read_settings(content).alpha == 16
    assert 'lora_alpha: 16 is taken' in read_settings(content).assumed
    assert read_settings(content, alpha=5).alpha == 5


@pytest.mark.parametrize('settings', [[1, 2], 'text', {'lora': False}])
def test_settings_that_are_none(settings):
    with pytest.raises(ValueError, match='should hold the settings of a LoRA adapter'):
        read_settings({'tuning_config': settings})


@pytest.mark.parametrize(
    'name', ['_orig_mod.a.b', 'module._orig_mod.a.b', '_fsdp_wrapped_module.a._checkpoint_wrapped_module._orig_mod.b']
)
def test_what_wrappers_of_torch_put_into_names_is_taken_off(tmp_path, name):
    torch.save({name: torch.ones(1), 'my_orig_mod.x': torch.ones(1)}, tmp_path / 'file.pt')
    assert read_state(tmp_path / 'file.pt').keys() == {'a.b', 'my_orig_mod.x'}
    torch.save({name: torch.ones(1), 'a.b': torch.zeros(1)}, tmp_path / 'file.pt')
    with pytest.raises(ValueError, match=f"holds '{name}' and 'a.b', which are names of one tensor"):
        read_state(tmp_path / 'file.pt')


@pytest.mark.parametrize('read', [read_folder, stored_state])
def test_an_index_that_an_earlier_save_left_is_passed_over(tmp_path, read):
    sizes = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=9)
    model = LlamaForCausalLM(LlamaConfig(**sizes))
    model.save_pretrained(tmp_path, max_shard_size='1KB')
    model.save_pretrained(tmp_path)
    assert (tmp_path / 'model.safetensors.index.json').is_file()
    assert read(tmp_path).keys() == model.state_dict().keys()

"""Folders of models: whole or not there, and clear errors for those that cannot be loaded."""

import importlib
import json
import re
import sys
import textwrap

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from mmgpt.hub.io import load_folder, save_folder
from mmgpt.hub.processor import FlamingoProcessor
from mmgpt.models.adapter_files import save_adapter
from mmgpt.models.adapters import LoRA, unload_adapters
from mmgpt.registry import RESAMPLERS, TEMPLATES
from tests.hub import tiny

PLUGIN = """
    import torch
    from mmgpt.data.templates import Otter
    from mmgpt.registry import RESAMPLERS, TEMPLATES

    @TEMPLATES.register_module()
    class Loud(Otter):
        def to_dict(self):
            return {**super().to_dict(), 'type': 'Loud'}

    @RESAMPLERS.register_module()
    class MeanPool(torch.nn.Module):
        num_latents = 1

        def __init__(self, width):
            super().__init__()
            self.width = width
            self.project = torch.nn.Linear(width, width)

        def forward(self, features, frame_mask=None, media_index=None):
            return self.project(features).mean((1, 2))[:, None]
"""


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp('saved') / 'tiny', *tiny.model_and_processor())


def edited(folder, tmp_path, **changes):
    copy = tmp_path / 'copy'
    copy.mkdir()
    for file in folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    fields = json.loads((copy / 'config.json').read_text())
    (copy / 'config.json').write_text(json.dumps({**fields, **changes}))
    return copy


def test_a_folder_that_holds_something_is_not_overwritten(folder):
    with pytest.raises(FileExistsError, match='exists already'):
        save_folder(folder, *tiny.model_and_processor())


def test_a_save_that_fails_leaves_nothing_that_looks_whole(tmp_path, monkeypatch):
    def fail(*args, **kwargs):
        raise OSError('the disk is full')

    monkeypatch.setattr(FlamingoProcessor, 'save_pretrained', fail)
    with pytest.raises(OSError, match='disk is full'):
        save_folder(tmp_path / 'model', *tiny.model_and_processor())
    assert not list(tmp_path.iterdir())
    monkeypatch.undo()
    assert save_folder(tmp_path / 'model', *tiny.model_and_processor()).is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ['model']


def test_a_link_to_an_empty_folder_is_filled(tmp_path):
    (tmp_path / 'real').mkdir()
    (tmp_path / 'link').symlink_to(tmp_path / 'real')
    save_folder(tmp_path / 'link', *tiny.model_and_processor())
    assert (tmp_path / 'link').is_symlink()
    assert (tmp_path / 'real/config.json').is_file()
    assert {path.name for path in tmp_path.iterdir()} == {'link', 'real'}


def test_a_model_with_loaded_adapters_is_not_saved_without_its_weights(folder, tmp_path):
    model, processor = load_folder(folder, device='cpu')
    LoRA(['self_attention'], r=2).inject(model)
    save_adapter(model, tmp_path / 'adapter')
    unload_adapters(model)
    model.load_adapter(tmp_path / 'adapter', 'birds')
    with pytest.raises(ValueError, match='carries the adapters birds, and only they would be written'):
        save_folder(tmp_path / 'model', model, processor)
    unload_adapters(model)
    assert (save_folder(tmp_path / 'model', model, processor) / 'model.safetensors').is_file()


@pytest.mark.parametrize(('argument', 'value'), [('device', 'gpu'), ('dtype', 'bf16')])
def test_a_device_or_dtype_that_there_is_not_is_told(folder, argument, value):
    with pytest.raises(ValueError, match=f'{argument} must be .*, got {value!r}'):
        load_folder(folder, **{argument: value})


def test_a_missing_folder_is_told(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'no model folder .*nowhere'):
        load_folder(tmp_path / 'nowhere')


def test_the_right_folder_is_proposed(folder):
    with pytest.raises(FileNotFoundError, match=r'no config\.json; did you mean .*tiny'):
        load_folder(folder.parent)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [({'model_type': 'llama'}, "type 'llama'; expected 'mmgpt_flamingo'"), ({'model_type': None}, 'type None')],
)
def test_a_folder_of_another_model_is_told(folder, tmp_path, changes, message):
    with pytest.raises(OSError, match=message):
        load_folder(edited(folder, tmp_path, **changes))


def test_answers_end_where_the_template_says_without_generation_config(folder, tmp_path):
    copy = edited(folder, tmp_path)
    (copy / 'generation_config.json').unlink()
    theirs, ours = (load_folder(place, device='cpu')[0].generation_config for place in (folder, copy))
    assert ours.eos_token_id == theirs.eos_token_id
    assert ours.pad_token_id == theirs.pad_token_id


def test_weights_with_code_are_not_run_and_nobody_is_told_how(folder, tmp_path):
    copy = edited(folder, tmp_path)
    (copy / 'model.safetensors').unlink()
    torch.save({'x': re.compile('more than a tensor')}, copy / 'pytorch_model.bin')
    with pytest.raises(OSError, match='nothing in them was run') as refusal:
        load_folder(copy)
    assert 'weights_only' not in str(refusal.value)


def test_damaged_and_incomplete_folders_are_told(folder, tmp_path):
    copy = edited(folder, tmp_path)
    (copy / 'processor_config.json').unlink()
    with pytest.raises(FileNotFoundError, match='without its processor'):
        load_folder(copy)
    (copy / 'config.json').write_text('{')
    with pytest.raises(OSError, match=r'config\.json is damaged'):
        load_folder(copy)


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        ({'resampler': {'type': 'Perciever'}}, "no resampler named 'Perciever'; did you mean 'PerceiverResampler'"),
        ({'cross_attention': {'heads': 2}}, "a cross-attention is configured by a dict with the key 'type'"),
        ({'language_decoder': {'type': 'CausalLM', 'depth': 2}}, "unexpected keyword argument 'depth'"),
        ({'text_config': {'model_type': 'llama', 'hidden_size': 'x'}}, "Validation error for field 'hidden_size'"),
    ],
)
def test_parts_that_there_are_not_are_told(folder, tmp_path, changes, message):
    with pytest.raises(ValueError, match=rf'copy: its config\.json .*{message}'):
        load_folder(edited(folder, tmp_path, **changes), 'cpu')


def test_a_plugin_is_never_imported_by_itself(tmp_path, monkeypatch):
    (tmp_path / 'loud_plugin.py').write_text(textwrap.dedent(PLUGIN))
    monkeypatch.syspath_prepend(tmp_path)
    plugin = importlib.import_module('loud_plugin')
    prompts = tiny.prompter(plugin.Loud())
    model = tiny.build(prompts, resampler={'type': 'MeanPool'})
    saved = save_folder(tmp_path / 'model', model, FlamingoProcessor.for_model(prompts, model))

    def forget():
        RESAMPLERS.module_dict.pop('MeanPool', None)
        TEMPLATES.module_dict.pop('Loud', None)
        sys.modules.pop('loud_plugin', None)

    try:
        forget()
        with pytest.raises(ImportError, match=r"'MeanPool' is a plugin.* import loud_plugin before"):
            AutoModelForImageTextToText.from_pretrained(saved)
        for load in (AutoProcessor.from_pretrained, load_folder):
            with pytest.raises(ImportError, match=r"'Loud' is a plugin.* import loud_plugin before"):
                load(saved)
        assert 'loud_plugin' not in sys.modules

        importlib.import_module('loud_plugin')
        loaded, processor = load_folder(saved, device='cpu')
        assert processor.prompter.to_dict() == prompts.to_dict()
        assert torch.equal(loaded.resampler.project.weight, model.resampler.project.weight)
    finally:
        forget()

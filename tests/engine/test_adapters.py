"""A run that tunes adapters on the model of an earlier run: what it starts from, saves, resumes and leaves behind."""

from __future__ import annotations

import pytest
import torch

from mmgpt.engine.build import build_runner
from mmgpt.engine.checkpoints import CheckpointError, list_checkpoints
from mmgpt.engine.config import ConfigError, load_config
from mmgpt.engine.weights import FROZEN, load_weights, read_weights
from mmgpt.hub.io import load_folder
from mmgpt.models.adapter_files import load_adapter
from mmgpt.models.sources import read_references

from .project import write_project
from .test_resume import run

ADAPTER = "adapter=dict(type='LoRA', slots=['self_attention', 'cross_attention'], r=2, dropout=0.1{more}),"
TUNED = {
    "trainable=['resampler', 'gated_blocks', 'language_model'],": ADAPTER,
    "train_embeddings='all',": '',
    'lr=3e-3': 'lr=3e-2',
}


def project(folder, more: str = ''):
    return write_project(folder, replacements={**TUNED, ADAPTER: ADAPTER.replace('{more}', more)})


def tune(path, work_dir, base, stop_after=None, resume=False):
    cfg = load_config(path)
    cfg.merge_from_dict({'work_dir': str(work_dir), 'load_from': str(base), 'resume': resume, 'train_cfg.max_iters': 6})
    cfg.default_hooks.checkpoint.interval = 2
    runner = build_runner(cfg)
    run(runner, stop_after)
    return runner


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    """The folder of a model without adapter."""
    folder = tmp_path_factory.mktemp('base')
    cfg = load_config(write_project(folder))
    cfg.merge_from_dict({'work_dir': str(folder / 'w')})
    runner = build_runner(cfg)
    return runner.export()


@pytest.mark.parametrize('more', ['', ', use_dora=True'])
def test_a_tuned_base_resumes_exactly_and_leaves_a_plain_model_and_its_adapter(base, tmp_path, more):
    path = project(tmp_path / 'project', more)
    whole = tune(path, tmp_path / 'whole', base)
    whole.export()
    tune(path, tmp_path / 'cut', base, stop_after=5)
    assert [p.name for p in list_checkpoints(tmp_path / 'cut' / 'checkpoints')] == ['iter_000002', 'iter_000004']
    resumed = tune(path, tmp_path / 'cut', base, resume=True)
    state, plain = whole.bare_model.state_dict(), read_weights(base)
    assert all(torch.equal(state[name], value) for name, value in resumed.bare_model.state_dict().items())

    frozen = {name.replace('.base_layer.', '.'): value for name, value in state.items() if '.lora_' not in name}
    assert frozen.keys() == plain.keys()
    assert all(torch.equal(frozen[name], value) for name, value in plain.items())
    folders = list_checkpoints(tmp_path / 'whole' / 'checkpoints')
    assert not any((folder / FROZEN).exists() for folder in folders)
    assert all(len(read_references(folder)['model']['tensors']) == len(plain) for folder in folders)

    hf, processor = load_folder(tmp_path / 'whole' / 'hf')
    assert hf.state_dict().keys() == plain.keys()
    assert hf.config.adapter is None
    messages = [{'role': 'user', 'content': 'what colour is this'}]
    inputs = processor.apply_chat_template(
        messages, add_generation_prompt=True, return_dict=True, tokenize=True, return_tensors='pt'
    )
    on_base, _ = load_folder(base)
    checkpoint, _ = load_folder(folders[-1])
    with torch.no_grad():
        expected = hf(**inputs).logits
        assert not torch.allclose(on_base(**inputs).logits, expected, atol=1e-3)
        torch.testing.assert_close(checkpoint(**inputs).logits, expected, atol=1e-5, rtol=1e-5)
        load_adapter(on_base, tmp_path / 'whole' / 'adapter')
        torch.testing.assert_close(on_base.eval()(**inputs).logits, expected, atol=1e-5, rtol=1e-5)


def test_weights_of_another_shape_are_still_refused(base, tmp_path):
    cfg = load_config(project(tmp_path))
    cfg.model.resampler.num_latents = 3
    cfg.work_dir = str(tmp_path / 'w')
    runner = build_runner(cfg)
    with pytest.raises(CheckpointError, match=r'resampler\.latents: \(2, 16\) in the file, \(3, 16\) in the model'):
        load_weights(runner.bare_model, base)


@pytest.mark.parametrize(
    ('old', 'new', 'message'),
    [
        ("type='LoRA'", "type='LoRa'", "did you mean 'LoRA'"),
        ("'self_attention'", "'self_atention'", 'slots must be some of self_attention'),
        ('r=2, dropout=', 'r=2, dropuot=', "did you mean 'dropout'"),
        ('adapter=', 'adaptor=', "did you mean 'adapter'"),
    ],
)
def test_faults_of_an_adapter_are_told_before_anything_is_built(tmp_path, old, new, message):
    path = project(tmp_path)
    path.write_text(path.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert any(message in str(fault) for fault in error.value.faults)

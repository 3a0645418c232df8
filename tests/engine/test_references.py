"""Frozen towers that came from a folder are named in a checkpoint, not written again."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, CLIPVisionConfig, CLIPVisionModel

from mmgpt.engine.build import build_runner
from mmgpt.engine.checkpoints import CheckpointError, list_checkpoints
from mmgpt.engine.config import load_config
from mmgpt.models.sources import FILE, SourceError, read_references

from .project import write_project
from .test_resume import run

VISION = dict(
    hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
)
FROZEN_TOWERS = {  # the language model has 19 tokens of its own, and 4 are added
    "type='ClipVision',": "type='ClipVision', weights='{folder}/vision',",
    "type='CausalLM',": "type='CausalLM', weights='{folder}/lm', dtype='{dtype}',",
    "trainable=['resampler', 'gated_blocks', 'language_model'],": "trainable=['resampler', 'gated_blocks'],",
    "train_embeddings='all',": "train_embeddings='new',",
}


def project(folder, dtype='float32'):
    """A project whose towers are folders beside it."""
    torch.manual_seed(0)
    texts = {old: new.format(folder=folder, dtype=dtype) for old, new in FROZEN_TOWERS.items()}
    path = write_project(folder, replacements=texts)
    CLIPVisionModel(CLIPVisionConfig(**VISION)).save_pretrained(folder / 'vision')
    plain = load_config(write_project(folder / 'plain'))
    text = dict(plain.model.language_decoder.config, vocab_size=16)
    config = AutoModelForCausalLM.from_config(_config(text))
    config.save_pretrained(folder / 'lm', max_shard_size='4KB')
    return path


def _config(text):
    from transformers import AutoConfig

    return AutoConfig.for_model(text.pop('model_type'), **text)


def train(path, work_dir, stop_after=None, resume=False, standalone=False, load_from=None):
    cfg = load_config(path)
    if load_from:
        cfg.load_from = str(load_from)
    cfg.merge_from_dict(
        {'work_dir': str(work_dir), 'resume': resume, 'train_cfg.max_iters': 4, 'default_hooks.samples': None}
    )
    cfg.default_hooks.checkpoint.update(interval=2, standalone=standalone)
    runner = build_runner(cfg)
    run(runner, stop_after)
    return runner


def stored(folder):
    return {name for file in folder.glob('*.safetensors') for name in load_file(file)}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
    """A project, and its run's model and newest checkpoint."""
    folder = tmp_path_factory.mktemp('references')
    path = project(folder)
    runner = train(path, folder / 'w')
    return path, runner, list_checkpoints(folder / 'w' / 'checkpoints')[-1]


def equal(model, other):
    ours, theirs = model.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name].cpu()) for name in ours)


def test_only_what_was_trained_is_written(trained):
    _, runner, folder = trained
    model = runner.bare_model
    names = stored(folder)
    frozen = model.state_dict().keys() - names
    assert {name for name, p in model.named_parameters() if p.requires_grad and 'new_token' not in name} <= names
    assert {name.split('.')[0] for name in frozen} == {'vision_encoder', 'language_model'}
    assert 'language_model.model.embed_tokens.weight' in names  # it has grown by the added tokens
    assert 'language_model.model.norm.weight' in frozen
    assert frozen == {name for entry in read_references(folder).values() for name in entry['tensors']}


def test_the_checkpoint_loads_as_the_model_that_was_trained(trained):
    _, runner, folder = trained
    loaded = AutoModelForImageTextToText.from_pretrained(folder)
    assert equal(loaded, runner.bare_model)
    assert loaded.generation_config.eos_token_id == runner.bare_model.generation_config.eos_token_id
    half = AutoModelForImageTextToText.from_pretrained(folder, dtype='bfloat16')
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}
    whole, notes = type(loaded).from_pretrained(folder, output_loading_info=True)
    assert equal(whole, loaded)
    assert not notes['missing_keys']


def test_a_loaded_checkpoint_is_saved_whole(trained, tmp_path):
    _, runner, folder = trained
    AutoModelForImageTextToText.from_pretrained(folder).save_pretrained(tmp_path / 'whole', max_shard_size='8KB')
    assert not (tmp_path / 'whole' / FILE).exists()
    assert len(list((tmp_path / 'whole').glob('*.safetensors'))) > 2
    assert equal(AutoModelForImageTextToText.from_pretrained(tmp_path / 'whole'), runner.bare_model)


def test_the_final_folder_and_standalone_checkpoints_refer_to_nothing(trained, tmp_path):
    path, runner, _ = trained
    final = runner.export()
    assert '| language_model |' in (final / 'README.md').read_text()
    alone = train(path, tmp_path / 'w', standalone=True)
    newest = list_checkpoints(tmp_path / 'w' / 'checkpoints')[-1]
    for folder in (final, newest):
        assert not (folder / FILE).exists()
        assert stored(folder) == alone.bare_model.state_dict().keys()
        assert equal(AutoModelForImageTextToText.from_pretrained(folder), alone.bare_model)


def test_a_run_with_named_towers_in_half_precision_resumes_exactly(tmp_path):
    path = project(tmp_path / 'project', 'bfloat16')
    whole = train(path, tmp_path / 'whole')
    train(path, tmp_path / 'cut', stop_after=3)
    resumed = train(path, tmp_path / 'cut', resume=True)
    assert equal(resumed.bare_model, whole.bare_model)
    newest = list_checkpoints(tmp_path / 'cut' / 'checkpoints')[-1]
    assert read_references(newest).keys() == {'vision_encoder', 'language_model'}
    loaded = AutoModelForImageTextToText.from_pretrained(newest, dtype='float32').state_dict()
    assert all(torch.equal(loaded[name], value.float()) for name, value in whole.bare_model.state_dict().items())


@pytest.fixture
def copied(trained, tmp_path):
    """A checkpoint of its own, and the folder of its language model, to be damaged."""
    _, _, folder = trained
    entries = read_references(folder)
    shutil.copytree(folder, tmp_path / 'iter_000004')
    shutil.copytree(entries['language_model']['path'], tmp_path / 'lm')
    entries['language_model']['path'] = str(tmp_path / 'lm')
    (tmp_path / 'iter_000004' / FILE).write_text(json.dumps(entries))
    return tmp_path / 'iter_000004', tmp_path / 'lm'


def test_a_changed_tower_is_refused(copied):
    folder, tower = copied
    file = sorted(tower.glob('*.safetensors'))[0]
    tensors = load_file(file)
    next(iter(tensors.values())).view(-1)[3] += 1e-6
    save_file(tensors, file, metadata={'format': 'pt'})
    with pytest.raises(SourceError, match=rf'refers to(.|\n)*{file.name} has changed'):
        AutoModelForImageTextToText.from_pretrained(folder)
    file.unlink()
    with pytest.raises(SourceError, match=f'has no {file.name}'):
        AutoModelForImageTextToText.from_pretrained(folder)


def test_a_moved_tower_is_told_and_may_be_pointed_at(trained, copied):
    folder, tower = copied
    elsewhere = tower.rename(tower.with_name('elsewhere'))
    with pytest.raises(SourceError, match=rf'there is no {tower}(.|\n)*sources='):
        AutoModelForImageTextToText.from_pretrained(folder)
    loaded = AutoModelForImageTextToText.from_pretrained(folder, sources={'language_model': str(elsewhere)})
    assert equal(loaded, trained[1].bare_model)


def test_a_run_is_not_resumed_with_other_towers(tmp_path):
    path = project(tmp_path / 'project')
    train(path, tmp_path / 'w', stop_after=3)
    moved = (tmp_path / 'project' / 'lm').rename(tmp_path / 'elsewhere')
    path.write_text(path.read_text().replace(str(tmp_path / 'project' / 'lm'), str(moved)))
    shutil.copytree(tmp_path / 'w', tmp_path / 'again')
    train(path, tmp_path / 'again', resume=True)  # the same files, as the config says where
    for file in moved.glob('*.safetensors'):
        save_file({k: v + 1 for k, v in load_file(file).items()}, file, metadata={'format': 'pt'})
    with pytest.raises(CheckpointError, match='has changed'):
        train(path, tmp_path / 'w', resume=True)


def test_a_run_that_starts_from_its_own_folder_does_not_refer_to_it(trained, tmp_path):
    """The checkpoint is set aside when the run starts, the exported folder is replaced when it ends."""
    path, *_ = trained
    work_dir = tmp_path / 'w'
    runner = train(path, work_dir)
    for number in range(2):
        start = runner.export() if number else list_checkpoints(work_dir / 'checkpoints')[-1]
        runner = train(path, work_dir, load_from=start)
        exported = runner.export()
        newest = list_checkpoints(work_dir / 'checkpoints')[-1]
        assert not any(str(work_dir) in entry['path'] for entry in read_references(newest).values())
        one, other = map(AutoModelForImageTextToText.from_pretrained, (newest, exported))
        assert equal(one, other)

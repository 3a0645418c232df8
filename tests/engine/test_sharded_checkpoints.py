"""Checkpoints that the processes write each for itself, in the background."""

from __future__ import annotations

import errno
import json
from concurrent.futures import Future
from contextlib import nullcontext

import pytest
import torch
from transformers import AutoProcessor

from mmgpt.engine import checkpoint_writer
from mmgpt.engine.build import build_runner
from mmgpt.engine.checkpoints import CheckpointError, SaveError, list_checkpoints, verify_checkpoint
from mmgpt.engine.config import load_config
from mmgpt.engine.shards_on_disk import read_whole, start_writing
from mmgpt.engine.weights import read_weights
from mmgpt.models.flamingo import Flamingo
from tools import convert

from .project import write_project
from .test_distributed import FROZEN_TEXT
from .test_resume import run


def runner_of(tmp_path, name: str, *options: str, replacements=None):
    path = write_project(tmp_path / 'project', replacements=replacements)
    cfg = load_config(
        path, ['train_cfg.max_iters=6', 'default_hooks.samples=None', 'default_hooks.curves=None', *options]
    )
    cfg.work_dir = str(tmp_path / name)
    return build_runner(cfg)


NEW = {**FROZEN_TEXT, "train_embeddings='all'": "train_embeddings='new'"}
SHARDED = 'default_hooks.checkpoint.sharded=True'


@pytest.mark.parametrize('replacements', [None, NEW])
def test_consolidated_it_is_the_model(tmp_path, replacements, capsys):
    runner = runner_of(tmp_path, 'w', SHARDED, 'default_hooks.checkpoint.interval=2', replacements=replacements)
    runner.train()
    first, last = list_checkpoints(runner.checkpoint_root)
    assert not verify_checkpoint(first) + verify_checkpoint(last)
    frozen = [[p.stat().st_ino for p in sorted((folder / 'training' / 'frozen').iterdir())] for folder in (first, last)]
    assert frozen[0] == frozen[1]

    assert convert.main(['consolidate', str(last), '--out', str(tmp_path / 'hf')]) == 0
    loaded, expected = Flamingo.from_pretrained(tmp_path / 'hf').state_dict(), runner.bare_model.state_dict()
    assert loaded.keys() == expected.keys()
    assert all(torch.equal(loaded[name], expected[name]) for name in expected)
    assert (
        AutoProcessor.from_pretrained(tmp_path / 'hf').tokenizer.get_vocab() == runner.processor.tokenizer.get_vocab()
    )
    report = json.loads((tmp_path / 'hf' / 'conversion_report.json').read_text())
    assert report['loaded']
    assert not report['missing'] + report['unexpected']

    assert convert.main(['consolidate', str(tmp_path / 'hf'), '--out', str(tmp_path / 'again')]) == 1
    shard = next((last / 'training' / 'shards').iterdir())
    shard.write_bytes(shard.read_bytes()[:-8])
    assert convert.main(['consolidate', str(last), '--out', str(tmp_path / 'again')]) == 1
    assert f'{shard}: ' in capsys.readouterr().err
    assert not (tmp_path / 'again').exists()


def test_what_wants_a_model_folder_names_the_command(tmp_path):
    runner = runner_of(tmp_path, 'w', SHARDED)
    runner.train()
    folder = list_checkpoints(runner.checkpoint_root)[-1]
    with pytest.raises(ValueError, match=f'convert.py consolidate {folder} --out'):
        Flamingo.from_pretrained(folder)
    with pytest.raises(CheckpointError, match=f'convert.py consolidate {folder} --out'):
        read_weights(folder)


def test_resumed_is_uninterrupted_and_another_model_is_refused(tmp_path):
    options = SHARDED, 'default_hooks.checkpoint.interval=4'
    whole = runner_of(tmp_path, 'whole', *options)
    whole.train()
    run(runner_of(tmp_path, 'cut', *options), 5)
    resumed = runner_of(tmp_path, 'cut', *options, 'resume=True')
    resumed.train()
    expected, found = whole.bare_model.state_dict(), resumed.bare_model.state_dict()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    with pytest.raises(CheckpointError, match=r'does not fit the model of this config:\n  .*ff'):
        runner_of(tmp_path, 'cut', *options, 'resume=True', 'model.cross_attention.feedforward_ratio=3').train()


def test_training_goes_on_while_it_is_written(tmp_path):
    """What changes after the call is not what is written."""
    tensor = torch.zeros(1000)
    future = start_writing({'a': tensor}, tmp_path, None)
    tensor += 1
    future.result()
    assert not read_whole(tmp_path, '')['a'].any()


@pytest.mark.parametrize(('failing', 'left'), [(4, [2, 6]), (6, [2, 4])])
def test_a_save_that_fails_leaves_the_one_before_and_is_told(tmp_path, monkeypatch, failing, left):
    runner = runner_of(tmp_path, 'w', SHARDED, 'default_hooks.checkpoint.interval=2')

    def full(tensors, folder, group):
        future = start_writing(tensors, folder, group)
        future.result()
        if f'iter_{failing:06d}' in str(folder):
            (future := type(future)()).set_exception(OSError(28, 'No space left on device'))
        return future

    monkeypatch.setattr(checkpoint_writer, 'start_writing', full)
    with pytest.raises(SaveError, match='No space left') if failing == 6 else nullcontext():
        runner.train()
    assert [folder.name for folder in list_checkpoints(runner.checkpoint_root)] == [f'iter_{n:06d}' for n in left]
    assert not list(runner.checkpoint_root.glob('.*'))
    log = next((tmp_path / 'w').glob('*/*.log')).read_text()
    assert ('No space left' in log) == (failing == 4)


def test_those_that_fail_in_the_background_are_counted(tmp_path, monkeypatch):
    def full(tensors, folder, group):
        future = Future()
        future.set_exception(OSError(errno.ENOSPC, 'No space left on device'))
        return future if folder.name == 'shards' else start_writing(tensors, folder, group)

    monkeypatch.setattr(checkpoint_writer, 'start_writing', full)
    hook = f'default_hooks.checkpoint={dict(type="CheckpointHook", interval=1, sharded=True, max_failures=1)}'
    runner = runner_of(tmp_path, 'w', hook)
    with pytest.raises(SaveError, match='make room there'):
        runner.train()
    assert runner.iter == 2  # the third iteration finds that the second checkpoint failed
    log = next((tmp_path / 'w').glob('*/*.log')).read_text()
    assert '1 in a row failed, 1 may' in log

"""A checkpoint is there and whole, or not there; whatever happens while it is written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from mmgpt.engine import checkpoints
from mmgpt.engine.checkpoints import (
    CheckpointError,
    checkpoint_path,
    latest_checkpoint,
    list_checkpoints,
    prune_checkpoints,
    verify_checkpoint,
    written_whole,
)
from mmgpt.engine.runner import Runner
from mmgpt.engine.weights import FROZEN, load_weights, read_weights, save_weights

from .standin import TinyModel, config, loader


def write(root: Path, iteration: int, content: str = 'x') -> Path:
    target = checkpoint_path(root, iteration)
    with written_whole(target) as folder:
        (folder / 'training').mkdir()
        (folder / 'training' / 'state.pt').write_text(content)
        (folder / 'model.safetensors').write_text(content * 100)
    return target


def test_the_newest_whole_checkpoint_is_found(tmp_path):
    folders = [write(tmp_path, n) for n in (4, 40, 400)]
    assert list_checkpoints(tmp_path) == folders
    assert latest_checkpoint(tmp_path) == (folders[-1], [])
    (folders[-1] / 'model.safetensors').write_text('short')
    found, faults = latest_checkpoint(tmp_path)
    assert found == folders[1]
    assert 'model.safetensors' in faults[0]
    (folders[1] / 'training' / 'state.pt').write_text('y')  # of the same length
    assert latest_checkpoint(tmp_path)[0] == folders[0]
    (folders[0] / 'training' / 'state.pt').unlink()
    assert latest_checkpoint(tmp_path)[0] is None
    assert latest_checkpoint(tmp_path / 'nowhere') == (None, [])


class Crash(BaseException):
    pass


def test_a_crash_at_any_file_operation_leaves_a_whole_checkpoint(tmp_path, monkeypatch):
    """The n-th fsync, rename or hash of a save dies, for every n; a later start finds the old or the new checkpoint."""
    operations = 0
    limit = None

    def dying(function):
        def run(*args, **kwargs):
            nonlocal operations
            operations += 1
            if operations == limit:
                raise Crash
            return function(*args, **kwargs)

        return run

    monkeypatch.setattr(os, 'fsync', dying(os.fsync))
    monkeypatch.setattr(Path, 'rename', dying(Path.rename))
    monkeypatch.setattr(checkpoints, '_sha256', dying(checkpoints._sha256))
    monkeypatch.setattr(checkpoints, '_remove', dying(checkpoints._remove))
    root = tmp_path / 'count'
    write(root, 4)
    begun = operations
    write(root, 4, 'new')
    total = operations - begun
    assert total > 8
    for number in range(1, total + 1):
        root = tmp_path / str(number)
        limit = None
        old = write(root, 2)
        write(root, 4, 'old')
        operations, limit = 0, number
        with pytest.raises(Crash):
            write(root, 4, 'new')
        limit = None
        found, faults = latest_checkpoint(root)
        assert found in (old, checkpoint_path(root, 4))
        assert not faults
        write(root, 6)
        prune_checkpoints(root, keep=2)
        assert len(list(root.iterdir())) == 2, list(root.iterdir())


def test_pruning_keeps_the_newest(tmp_path):
    for n in (1, 2, 3):
        write(tmp_path, n)
    (tmp_path / '.iter_000009.partial').mkdir()
    prune_checkpoints(tmp_path, keep=2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ['iter_000002', 'iter_000003']


def test_frozen_weights_are_written_once_and_shared(tmp_path):
    cfg = config(tmp_path, **{'default_hooks.checkpoint': {'type': 'CheckpointHook', 'interval': 2}})
    runner = Runner(TinyModel(), None, loader(), cfg)
    runner.train()
    folders = list_checkpoints(tmp_path / 'checkpoints')
    assert len({(folder / FROZEN).stat().st_ino for folder in folders}) == 1
    assert all(verify_checkpoint(folder) == [] for folder in folders)
    first, last = read_weights(folders[0]), read_weights(folders[-1])
    assert first.keys() == last.keys() == runner.bare_model.state_dict().keys()
    assert torch.equal(first['tower.weight'], last['tower.weight'])
    assert not torch.equal(first['head.weight'], last['head.weight'])
    again = TinyModel.from_pretrained(folders[-1])
    assert all(torch.equal(a, b) for a, b in zip(again.state_dict().values(), runner.bare_model.state_dict().values()))


def test_a_frozen_file_that_holds_other_tensors_is_not_shared(tmp_path):
    model = TinyModel()
    for name in ('first', 'second'):
        (tmp_path / name).mkdir()
    save_weights(model, tmp_path / 'first')
    model.norm.requires_grad_(False)
    save_weights(model, tmp_path / 'second', share=tmp_path / 'first')
    assert read_weights(tmp_path / 'second').keys() == model.state_dict().keys()
    names = set(json.loads((tmp_path / 'second' / 'model.safetensors.index.json').read_text())['weight_map'])
    assert names == set(model.state_dict())


def test_weights_that_do_not_fit_are_listed(tmp_path):
    model = TinyModel()
    save_weights(model, tmp_path)
    other = TinyModel()
    other.head = torch.nn.Linear(9, 17)
    other.extra = torch.nn.Linear(1, 1)
    with pytest.raises(CheckpointError) as error:
        load_weights(other, tmp_path)
    for expected in ('missing: extra.weight', 'head.weight: (17, 8) in the file, (17, 9) in the model'):
        assert expected in str(error.value)
    with pytest.raises(CheckpointError, match='no weights'):
        load_weights(other, tmp_path / 'nowhere')


def test_a_new_run_sets_older_checkpoints_aside(tmp_path):
    Runner(TinyModel(), None, loader(), config(tmp_path)).train()
    Runner(TinyModel(), None, loader(), config(tmp_path, **{'train_cfg.max_iters': 3})).train()
    assert [p.name for p in list_checkpoints(tmp_path / 'checkpoints')] == ['iter_000003']
    assert len(list(tmp_path.glob('checkpoints_before_*/iter_000007'))) == 1


def test_a_damaged_checkpoint_is_named_when_asked_for(tmp_path):
    Runner(TinyModel(), None, loader(), config(tmp_path)).train()
    folder = list_checkpoints(tmp_path / 'checkpoints')[-1]
    (folder / 'training' / 'state.pt').write_bytes(b'cut')
    runner = Runner(TinyModel(), None, loader(), config(tmp_path, resume=str(folder)))
    with pytest.raises(CheckpointError, match=r'state\.pt: 3 bytes'):
        runner.train()


def test_one_goes_on_from_an_older_checkpoint_and_the_later_ones_are_set_aside(tmp_path):
    changes = {'default_hooks.checkpoint': {'type': 'CheckpointHook', 'interval': 1, 'max_keep_ckpts': 3}}
    root = tmp_path / 'checkpoints'

    def train(**more) -> None:
        Runner(TinyModel(), None, loader(), config(tmp_path, **changes, **more)).train()

    train(**{'train_cfg.max_iters': 6})
    train(**{'train_cfg.max_iters': 5}, resume=str(root / 'iter_000004'))
    assert [p.name for p in list_checkpoints(root)] == ['iter_000004', 'iter_000005']
    assert sorted(p.name for p in tmp_path.glob('checkpoints_before_*/*')) == ['iter_000005', 'iter_000006']
    train(resume=True)
    assert [p.name for p in list_checkpoints(root)] == ['iter_000005', 'iter_000006', 'iter_000007']
    assert len(list(tmp_path.glob('checkpoints_before_*'))) == 1


def test_pruning_leaves_what_was_just_written(tmp_path):
    for n in (1, 2, 3):
        write(tmp_path, n)
    prune_checkpoints(tmp_path, keep=1, written=checkpoint_path(tmp_path, 1))
    assert [p.name for p in list_checkpoints(tmp_path)] == ['iter_000001', 'iter_000003']


def test_a_link_to_another_disk_is_replaced_and_its_folder_stays(tmp_path):
    (tmp_path / 'disk').mkdir()
    (tmp_path / 'disk' / 'old').write_text('x')
    for name, there in (('hf', 'disk'), ('adapter', 'gone')):
        (tmp_path / name).symlink_to(tmp_path / there)
        with written_whole(tmp_path / name) as folder:
            (folder / 'new').write_text('y')
        assert not (tmp_path / name).is_symlink()
        assert [p.name for p in (tmp_path / name).iterdir()] == ['new']
    assert (tmp_path / 'disk' / 'old').exists()
    assert sorted(p.name for p in tmp_path.iterdir()) == ['adapter', 'disk', 'hf']


def test_a_folder_of_checkpoints_is_none_and_its_newest_is_named(tmp_path):
    Runner(TinyModel(), None, loader(), config(tmp_path)).train()
    newest = list_checkpoints(tmp_path / 'checkpoints')[-1]
    for folder in (tmp_path, tmp_path / 'checkpoints'):
        runner = Runner(TinyModel(), None, loader(), config(tmp_path, resume=str(folder)))
        with pytest.raises(CheckpointError, match=f'no checkpoint {folder} to resume; the newest is {newest}'):
            runner.train()
    runner = Runner(TinyModel(), None, loader(), config(tmp_path, resume='auto'))
    assert runner._find_checkpoint() == newest


def test_a_start_with_resume_and_no_checkpoint_takes_the_weights_of_load_from(tmp_path, monkeypatch):
    loaded = []
    monkeypatch.setattr('mmgpt.engine.runner.load_weights', lambda model, folder, start: loaded.append(folder))
    Runner(TinyModel(), None, loader(), config(tmp_path, resume=True, load_from='a/start')).load_or_resume()
    assert loaded == [Path('a/start')]
    assert 'starting from a/start' in next(tmp_path.glob('*/*.log')).read_text()


@pytest.mark.parametrize('randomness', [{'deterministic': False}, {'seed': None}])
def test_without_a_seed_it_is_0(tmp_path, randomness):
    cfg = config(tmp_path)
    cfg.randomness = randomness
    assert Runner(TinyModel(), None, loader(), cfg).seed == 0


def test_a_config_in_the_work_folder_is_not_written_over(tmp_path):
    cfg = config(tmp_path)
    path = tmp_path / 'own.py'
    path.write_text('# mine\n')
    object.__setattr__(cfg, '_filename', str(path))
    Runner(TinyModel(), None, loader(), cfg).train()
    assert path.read_text() == '# mine\n'
    assert next(tmp_path.glob('*/own.py')).read_text() != '# mine\n'

"""What goes wrong in mid-run is told, counted and survived."""

from __future__ import annotations

import errno
import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest
import torch

from mmgpt.engine import checkpoints
from mmgpt.engine.build import build_runner
from mmgpt.engine.checkpoints import SaveError, list_checkpoints
from mmgpt.engine.config import load_config
from mmgpt.engine.hooks import StopHook
from mmgpt.engine.out_of_memory import OutOfMemory, is_out_of_memory, shape_of, smaller
from mmgpt.engine.runner import Runner
from mmgpt.engine.strategies.processes import lost_process
from mmgpt.engine.weights import read_weights
from tools import train

from .processes import in_processes
from .project import write_project
from .standin import TinyModel, config, loader
from .test_resume import logged


@pytest.fixture(scope='module')
def project(tmp_path_factory) -> Path:
    """A project one of whose pictures is cut."""
    path = write_project(tmp_path_factory.mktemp('project'))
    images = json.loads((path.parent / 'CO.json').read_text())
    images['CO_IMG_3'] = images['CO_IMG_3'][:40]
    (path.parent / 'CO.json').write_text(json.dumps(images))
    return path


def runner_of(path: Path, work_dir: Path, *options: str, **changes) -> Runner:
    cfg = load_config(path, ['default_hooks.samples=None', *options])
    cfg.merge_from_dict({'work_dir': str(work_dir), **changes})
    return build_runner(cfg)


def weights(runner: Runner) -> dict[str, torch.Tensor]:
    return dict(runner.bare_model.state_dict())


def poison(runner: Runner, sample: str) -> None:
    """Makes the loss of every batch with a sample NaN."""
    compute_loss = runner.bare_model.compute_loss

    def poisoned(batch):
        sums = compute_loss(batch)
        hit = any(sample in row for row in batch['sample_ids'])
        return sums._replace(loss_sum=sums.loss_sum * torch.nan) if hit else sums

    runner.bare_model.compute_loss = poisoned


def test_a_step_that_is_not_finite_is_left_out_and_its_samples_named(project, tmp_path):
    runner = runner_of(project, tmp_path)
    poison(runner, 'TX_INS_2')
    runner.train()
    assert all(tensor.isfinite().all() for tensor in weights(runner).values())
    entries = [json.loads(line) for line in next(tmp_path.glob('*/skipped_steps.jsonl')).read_text().splitlines()]
    assert entries
    assert all('TX_INS_2' in entry['samples'] and entry['what'] == 'loss' for entry in entries)
    assert all(entry['iteration'] % 3 == 0 for entry in entries)  # where a window ends
    assert all(figures.get('loss', 0.0) < 10 for figures in logged(tmp_path).values())  # and is no NaN


def test_too_many_such_steps_end_the_run(project, tmp_path):
    runner = runner_of(project, tmp_path, "default_hooks.non_finite={'type': 'NonFiniteHook', 'limit': 1}")
    poison(runner, 'TX_INS_2')
    poison(runner, 'CO_INS_1')
    poison(runner, 'CO_INS_2')
    poison(runner, 'CO_INS_4')
    with pytest.raises(FloatingPointError, match=r'TX_INS_2|CO_INS_1|CO_INS_2|CO_INS_4'):
        runner.train()


def _poisoned(path: Path, work_dir: Path) -> tuple[list[str], list]:
    runner = runner_of(path, work_dir, 'optim_wrapper.accumulative_counts=1', 'default_hooks.checkpoint.interval=100')
    poison(runner, 'TX_INS_2')
    skipped = []
    runner.register_hook(_Noting(skipped))
    runner.train()
    return skipped, [tensor.numpy().copy() for tensor in weights(runner).values()]


class _Noting(StopHook):
    def __init__(self, skipped):
        super().__init__(signals=())
        self.skipped = skipped

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        self.skipped.append(runner.optim_wrapper.skipped)


def test_all_processes_leave_out_the_same_steps(project, tmp_path):
    (first, ours), (second, theirs) = in_processes(_poisoned, 2, project, tmp_path)
    assert first == second
    assert any(first)
    assert not all(first)
    assert all((a == b).all() for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize('packed', [False, True])
def test_an_unreadable_sample_is_replaced_alike_whoever_reads_it(project, tmp_path, packed):
    options = ['train_cfg.max_iters=8']
    if packed:
        options += ["train_dataloader.sampler={'type': 'PackingSampler', 'row_length': 66}"]
    found = []
    for workers in (0, 1):
        work_dir = tmp_path / str(workers)
        runner = runner_of(project, work_dir, *options, f'train_dataloader.num_workers={workers}')
        runner.train()
        found.append((weights(runner), (work_dir / 'unreadable.jsonl').read_text()))
    assert found[0][1] == found[1][1]
    assert all(torch.equal(found[0][0][name], found[1][0][name]) for name in found[0][0])
    entries = [json.loads(line) for line in found[0][1].splitlines()]
    assert {entry['index'] for entry in entries} >= {3}  # and those that have it as context
    assert all('CO' in entry['source'] and entry['replaced_by'].startswith('CO_INS') for entry in entries)


def test_it_is_an_error_where_that_is_chosen_or_happens_too_often(project, tmp_path):
    with pytest.raises((OSError, ValueError), match='CO_IMG_3'):
        runner_of(project, tmp_path / 'a', 'train_dataloader.dataset.replace_unreadable=False').train()
    none = "default_hooks.unreadable={'type': 'UnreadableHook', 'limit': 0}"
    with pytest.raises(ValueError, match=r'cannot be read, and default_hooks\.unreadable\.limit is 0'):
        runner_of(project, tmp_path / 'b', none).train()


@pytest.mark.parametrize('where', ['the training', 'the validation', 'a worker'])
def test_workers_end_with_a_run_that_fails(project, tmp_path, where):
    sources = {'sources': [{'type': 'MimicIt', 'instructions': str(project.parent / 'TX_instructions.json')}]}
    held_out = {'batch_size': 2, 'num_workers': 1, 'dataset': sources}
    changes = {'val_dataloader': held_out, 'val_cfg': {'interval': 1}} if where == 'the validation' else {}
    runner = runner_of(project, tmp_path, 'train_dataloader.num_workers=1', **changes)

    def fails(*args, **kwargs):
        raise TypeError('on purpose')

    if where == 'a worker':
        runner.train_dataloader.dataset.prompter.template.render = fails
    else:
        runner.bare_model.train(where == 'the training')
        compute_loss = runner.bare_model.compute_loss
        runner.bare_model.compute_loss = lambda batch: (
            fails() if runner.bare_model.training == (where == 'the training') else compute_loss(batch)
        )
    with pytest.raises(TypeError, match='on purpose') as held:  # as the interpreter holds what nobody catches
        runner.train()
    assert held.value.__traceback__
    assert not multiprocessing.active_children()


def test_a_checkpoint_that_finds_no_room_is_told_and_the_run_goes_on(tmp_path, monkeypatch):
    seal, calls = checkpoints._seal, []

    def full(folder, share):
        calls.append(folder)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, 'No space left on device')
        seal(folder, share)

    monkeypatch.setattr(checkpoints, '_seal', full)
    changes = {'default_hooks.checkpoint': {'type': 'CheckpointHook', 'interval': 2}}
    runner = Runner(TinyModel(), None, loader(), config(tmp_path, **changes))
    runner.train()
    assert [folder.name for folder in list_checkpoints(runner.checkpoint_root)] == [
        'iter_000002',
        'iter_000006',
        'iter_000007',
    ]
    assert 'iter_000004 could not be written' in next(tmp_path.glob('*/*.log')).read_text()
    monkeypatch.setattr(checkpoints, '_seal', lambda *_: (_ for _ in ()).throw(OSError(errno.ENOSPC, 'No space left')))
    runner = Runner(TinyModel(), None, loader(), config(tmp_path / 'other', **changes))
    with pytest.raises(SaveError, match='make room there'):
        runner.train()
    assert not list(runner.checkpoint_root.iterdir())


def test_logs_that_find_no_room_do_not_end_a_run(tmp_path):
    def full(*_, **__):
        raise OSError(errno.ENOSPC, 'No space left on device')

    runner = Runner(TinyModel(), None, loader(), config(tmp_path))
    runner.visualizer.add_scalars = full
    runner.train()
    assert runner.iter == 7


@pytest.mark.parametrize('name', [pytest.param('SIGTERM', marks=pytest.mark.slow), 'SIGUSR1'])
def test_a_signal_ends_a_run_with_a_checkpoint_that_goes_on_exactly(project, tmp_path, name, monkeypatch, capsys):
    whole = runner_of(project, tmp_path / 'whole')
    whole.train()
    monkeypatch.chdir(tmp_path)
    catch, count = StopHook.after_train_iter, []

    def signalled(self, runner, *args, **kwargs):
        count.append(runner.iter)
        if runner.iter == 4:  # inside a window of three
            os.kill(os.getpid(), signal.Signals[name])
        catch(self, runner, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(StopHook, 'after_train_iter', signalled)
        arguments = [str(project), '--work-dir', 'cut', '--cfg-options', 'default_hooks.samples=None']
        assert train.main(arguments) == 75
    assert count[-1] == 4
    assert f'stopped by {name} after iteration 5' in capsys.readouterr().out
    assert not (tmp_path / 'cut' / 'hf').exists()
    assert train.main([*arguments, '--resume', 'auto', '--no-validate']) == 0
    resumed = read_weights(tmp_path / 'cut' / 'hf')
    assert all(torch.equal(weights(whole)[key], resumed[key]) for key in resumed)
    assert signal.getsignal(signal.Signals[name]) is signal.SIG_DFL


def test_out_of_memory_says_what_takes_less(project, tmp_path):
    runner = runner_of(project, tmp_path)

    def greedy(batch):
        torch.empty(1 << 60)

    runner.bare_model.compute_loss = greedy
    with pytest.raises(OutOfMemory) as error:
        runner.train()
    for expected in ('iteration 1', '3 rows of', 'gradient_checkpointing=True', 'batch_size=1', 'max_seq_len=32'):
        assert expected in str(error.value)
    turned = {'train_dataloader': {'batch_size': 1}, 'optim_wrapper': {}, 'gradient_checkpointing': True}
    assert not any('gradient_checkpointing' in knob or 'batch_size' in knob for knob in smaller(turned))


@pytest.mark.parametrize(
    ('said', 'is_it'), [('could not create a primitive', True), ('could not create a primitive descriptor', False)]
)
def test_onednn_without_memory_is_out_of_memory(said, is_it):
    assert is_out_of_memory(RuntimeError(said)) == is_it


def test_a_packed_batch_is_told_by_its_samples():
    one_row = {'input_ids': torch.zeros(1, 8), 'labels': torch.full((1, 8), -100), 'sample_ids': [['a', 'b', 'c']]}
    assert shape_of(one_row) == '1 row of 8 tokens (3 samples), 0 of them trained'


def _lost(path: Path, work_dir: Path) -> str | None:
    runner = runner_of(path, work_dir)
    runner.register_hook(_Dying())
    with pytest.raises(RuntimeError) as error:
        runner.train()
    return lost_process(error.value)


class _Dying(StopHook):
    def __init__(self):
        super().__init__(signals=())

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if runner.iter == 4 and runner.world_size > 1 and torch.distributed.get_rank() == 1:
            os.kill(os.getpid(), signal.SIGKILL)


def test_those_who_lose_another_process_say_so(project, tmp_path):
    told = in_processes(_lost, 2, project, tmp_path, lost=(1,))[0]
    assert 'another process was lost' in told
    assert '--resume auto' in told
    assert lost_process(RuntimeError('Application timeout caused pair closure')) is not None  # one that hangs
    assert lost_process(ValueError('of something else')) is None
    assert lost_process(RuntimeError('mat1 and mat2 shapes timed out')) is None

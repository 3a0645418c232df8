"""Several processes do what one process does with their batches put together."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mmengine.dist import get_rank, is_main_process

from mmgpt.engine.build import build_runner
from mmgpt.engine.config import load_config
from mmgpt.engine.strategies.processes import find_place, join, meet, on_main, report

from .processes import in_processes
from .project import write_project
from .test_resume import logged, run

FROZEN_TEXT = {
    "train_embeddings='all'": 'train_embeddings=None',
    "trainable=['resampler', 'gated_blocks', 'language_model']": "trainable=['resampler', 'gated_blocks']",
}
NO_DROPOUT = {'attention_dropout=0.2': 'attention_dropout=0.0', 'weight=2.0': 'weight=0.5'}  # and half are texts


def train(path: Path, work_dir: Path, batch_size: int, stop: int | None = None, resume: bool = False, **changes) -> Any:
    """Train on this process; what it saw, and the weights it came to."""
    cfg = load_config(path)
    cfg.merge_from_dict({'work_dir': str(work_dir), 'train_dataloader.batch_size': batch_size, 'resume': resume})
    cfg.merge_from_dict({'train_cfg.max_iters': 8, **changes})
    runner = build_runner(cfg)
    seen = []
    run_iter = runner.train_loop.run_iter

    def noted(batch):
        seen.append(({id for ids in batch['sample_ids'] for id in ids}, 'frames' in batch))
        run_iter(batch)

    runner.train_loop.run_iter = noted
    run(runner, stop)
    with runner.strategy.whole(runner.bare_model):
        weights = {}
        if is_main_process() or not runner.strategy.sharded:
            weights = {name: tensor.numpy().copy() for name, tensor in runner.bare_model.state_dict().items()}
    return seen, weights, torch.rand(1).item()


def differences(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> float:
    assert first.keys() == second.keys()
    return max(float(np.abs(first[name] - second[name]).max()) for name in first)


@pytest.mark.parametrize('frozen_text', [False, True])
@pytest.mark.parametrize('accumulation', [pytest.param(1, marks=pytest.mark.slow), 3])
def test_two_processes_follow_one(tmp_path, frozen_text, accumulation):
    """Batches of 1 and 1 against one of 2; in some steps only one process has pictures, or none has any."""
    path = write_project(tmp_path / 'p', replacements={**NO_DROPOUT, **(FROZEN_TEXT if frozen_text else {})})
    changes = {'optim_wrapper.accumulative_counts': accumulation}
    alone, weights, _ = train(path, tmp_path / 'one', 2, **changes)

    def share() -> Any:
        return train(path, tmp_path / 'two', 1, **changes)

    both = in_processes(share, 2)
    assert [one | other for (one, _), (other, _) in zip(both[0][0], both[1][0])] == [ids for ids, _ in alone]
    pictures = [{first, second} for (_, first), (_, second) in zip(both[0][0], both[1][0])]
    assert {True, False} in pictures
    assert differences(both[0][1], both[1][1]) == 0
    assert differences(both[0][1], weights) < 1e-5
    ours, theirs = logged(tmp_path / 'two'), logged(tmp_path / 'one')
    assert ours.keys() == theirs.keys()
    for step, figures in theirs.items():
        assert ours[step] == pytest.approx(figures, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize('processes', [2, 1])
def test_resumed_inside_a_window(tmp_path, processes):
    """Two processes are stopped after 5 of 8 iterations, inside a window of 3, and as many or fewer go on."""
    path = write_project(tmp_path / 'p', replacements={**NO_DROPOUT, **FROZEN_TEXT})
    changes = {'optim_wrapper.accumulative_counts': 3, 'default_hooks.checkpoint.interval': 5}

    def share(name: str, batch_size: int, stop: int | None = None, resume: bool = False) -> Any:
        return train(path, tmp_path / name, batch_size, stop, resume, **changes)

    whole = in_processes(share, 2, 'whole', 1)
    in_processes(share, 2, 'cut', 1, 5)
    saved = tmp_path / 'cut' / 'checkpoints' / 'iter_000005' / 'training'
    assert sorted(file.name for file in saved.glob('rng_*')) == ['rng_00000.pt', 'rng_00001.pt']
    assert (saved / 'gradients.safetensors').is_file()
    resumed = in_processes(share, processes, 'cut', 2 // processes, None, True)

    ids = [set.union(*(seen[0] for seen in step)) for step in zip(*(result[0] for result in whole))]
    again = [set.union(*(seen[0] for seen in step)) for step in zip(*(result[0] for result in resumed))]
    assert again == ids[5:]
    assert differences(whole[0][1], resumed[0][1]) < 1e-6
    first, second = logged(tmp_path / 'whole'), logged(tmp_path / 'cut')
    assert first.keys() == second.keys()
    assert all(second[step] == pytest.approx(figures, abs=1e-6) for step, figures in first.items())


@pytest.mark.slow
def test_dropout_differs_between_processes_and_continues(tmp_path):
    path = write_project(tmp_path / 'p')
    changes = {'default_hooks.checkpoint.interval': 5}
    whole = in_processes(train, 2, path, tmp_path / 'whole', 1, None, False)
    in_processes(lambda: train(path, tmp_path / 'cut', 1, 5, **changes), 2)
    resumed = in_processes(lambda: train(path, tmp_path / 'cut', 1, resume=True, **changes), 2)
    assert whole[0][2] != whole[1][2]
    assert [result[2] for result in resumed] == [result[2] for result in whole]
    assert differences(whole[0][1], resumed[0][1]) < 1e-6


def test_only_the_first_process_acts_and_all_learn_of_it(tmp_path):
    def act() -> Any:
        on_main(lambda: (tmp_path / f'{get_rank()}').touch())
        given = on_main(get_rank)
        with pytest.raises(OSError, match='disk full'):
            on_main(fail)
        return given

    def fail() -> None:
        raise OSError('disk full')

    assert in_processes(act, 2) == [0, 0]
    assert [path.name for path in tmp_path.iterdir()] == ['0']


@pytest.mark.parametrize('first', [0, 1])
def test_of_several_that_fail_the_first_speaks_and_its_code_is_everyones(first, capfd):
    def fail() -> int:
        if get_rank() != first:
            meet('pytorch').wait(['told'], timedelta(seconds=60))
        return report('train', f'process {get_rank()} failed', 5 + get_rank(), 'pytorch')

    assert in_processes(fail, 2) == [5 + first, 5 + first]
    assert capfd.readouterr().err.count('failed') == 1


def test_one_that_is_alone_speaks(capfd, monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    assert report('train', 'no such file', 2) == 2
    assert report('train', 'no such place', 2, 'pytorch') == 2
    assert capfd.readouterr().err == 'train: no such file\ntrain: no such place\n'


def test_launchers_tell_a_process_its_place():
    slurm = {'SLURM_PROCID': '3', 'SLURM_NTASKS': '16', 'SLURM_LOCALID': '1'}
    mpi = {'OMPI_COMM_WORLD_RANK': '0', 'OMPI_COMM_WORLD_SIZE': '2', 'OMPI_COMM_WORLD_LOCAL_RANK': '0'}
    assert find_place('slurm', slurm) == (3, 16, 1)
    assert find_place('mpi', mpi) == (0, 2, 0)
    assert join('none') == (0, 1, 0)
    with pytest.raises(ValueError, match=r'RANK/WORLD_SIZE/LOCAL_RANK.*tools/dist_train\.sh'):
        find_place('pytorch', slurm)

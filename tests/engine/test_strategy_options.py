"""The options of the strategies: what they train is what one process trains."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mmgpt.engine.checkpoints import verify_checkpoint
from mmgpt.engine.shards_on_disk import stored_sizes
from mmgpt.engine.strategies.deepspeed import INSTALL

from .processes import in_processes
from .project import write_project
from .test_distributed import FROZEN_TEXT, NO_DROPOUT, differences, train
from .test_strategies import same_course

pytestmark = pytest.mark.slow
needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec('deepspeed') is None, reason=INSTALL)
ON_THE_HOST = [
    pytest.param({'type': 'FSDP2', 'cpu_offload': True}, id='FSDP2'),
    pytest.param({'type': 'DeepSpeed', 'offload_optimizer': True}, id='ZeRO-2', marks=needs_deepspeed),
    pytest.param(
        {'type': 'DeepSpeed', 'stage': 3, 'offload_optimizer': True, 'offload_params': True},
        id='ZeRO-3',
        marks=needs_deepspeed,
    ),
]


def project(tmp_path: Path) -> Path:
    return write_project(tmp_path / 'p', replacements={**NO_DROPOUT, **FROZEN_TEXT})


@pytest.mark.parametrize('strategy', ON_THE_HOST)
def test_on_the_host_it_is_the_same_run(tmp_path, strategy):
    """Where a run stops and another one goes on, too."""
    path = project(tmp_path)
    changes = {'optim_wrapper.accumulative_counts': 1, 'default_hooks.checkpoint.interval': 4}
    _, weights, _ = train(path, tmp_path / 'one', 2, **changes)

    def share(stop: int | None = None, resume: bool = False) -> Any:
        return train(path, tmp_path / 'two', 1, stop, resume, strategy=strategy, **changes)

    in_processes(share, 2, 5)
    both = in_processes(share, 2, None, True)
    assert differences(both[0][1], weights) < 1e-5
    same_course(tmp_path / 'two', tmp_path / 'one')


@pytest.mark.parametrize('sharded', [False, True])
def test_copies_of_a_shared_model_follow_one_process(tmp_path, sharded):
    """Four processes hold two copies, stop inside a window, and two processes of another strategy go on."""
    path = project(tmp_path)
    changes = {'optim_wrapper.accumulative_counts': 3, 'default_hooks.checkpoint.interval': 5}
    changes['default_hooks.checkpoint.sharded'] = sharded
    _, weights, _ = train(path, tmp_path / 'whole', 4, **changes)

    def share(strategy: dict, batch: int, stop: int | None = None, resume: bool = False) -> Any:
        return train(path, tmp_path / 'cut', batch, stop, resume, strategy=strategy, **changes)

    in_processes(share, 4, {'type': 'FSDP2', 'shard_over': 2}, 1, 5)
    assert not verify_checkpoint(tmp_path / 'cut' / 'checkpoints' / 'iter_000005')
    resumed = in_processes(share, 2, {'type': 'DDP'}, 2, None, True)
    assert differences(resumed[0][1], weights) < 1e-5
    same_course(tmp_path / 'cut', tmp_path / 'whole')


def test_copies_need_a_whole_number_of_groups(tmp_path):
    path = project(tmp_path)
    with pytest.raises(RuntimeError, match='shard_over must divide the number of processes, 2; got 3'):
        in_processes(lambda: train(path, tmp_path / 'w', 1, strategy={'type': 'FSDP2', 'shard_over': 3}), 2)


def test_gathered_in_bfloat16_it_learns_alike_and_keeps_float32(tmp_path):
    path = project(tmp_path)
    changes = {'optim_wrapper.accumulative_counts': 1, 'optim_wrapper.precision': 'bf16'}
    changes['default_hooks.checkpoint.sharded'] = True
    _, weights, _ = train(path, tmp_path / 'one', 2, **changes)

    def share() -> Any:
        return train(path, tmp_path / 'two', 1, strategy={'type': 'FSDP2', 'param_dtype': 'bfloat16'}, **changes)

    both = in_processes(share, 2)
    same_course(tmp_path / 'two', tmp_path / 'one', 3e-2)
    assert all(tensor.dtype == np.float32 for tensor in both[0][1].values() if tensor.dtype.kind == 'f')
    assert differences(both[0][1], weights) < 2e-2
    saved = stored_sizes(tmp_path / 'two' / 'checkpoints' / 'iter_000008' / 'training' / 'shards')
    assert {dtype for _, dtype in saved.values()} == {torch.float32}


def test_gathering_in_bfloat16_needs_bfloat16(tmp_path):
    path = project(tmp_path)
    with pytest.raises(RuntimeError, match=r"needs optim_wrapper\.precision='bf16', here it is 'fp32'"):
        in_processes(lambda: train(path, tmp_path / 'w', 1, strategy={'type': 'FSDP2', 'param_dtype': 'bfloat16'}), 2)

"""Each strategy trains what one process trains, with the same config, and goes on where another one stopped."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from mmgpt.engine.checkpoints import verify_checkpoint
from mmgpt.engine.strategies.deepspeed import INSTALL
from mmgpt.models.sources import stored_state

from .processes import in_processes
from .project import write_project
from .test_distributed import FROZEN_TEXT, NO_DROPOUT, differences, train
from .test_resume import logged

needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec('deepspeed') is None, reason=INSTALL)
slow = pytest.mark.slow
ZERO2, ZERO3 = {'type': 'DeepSpeed', 'stage': 2}, {'type': 'DeepSpeed', 'stage': 3}
STRATEGIES = [
    pytest.param({'type': 'FSDP2'}, id='FSDP2'),
    pytest.param({'type': 'FSDP2', 'reshard_after_forward': False}, id='FSDP2-gathered', marks=slow),
    pytest.param(ZERO2, id='ZeRO-2', marks=[needs_deepspeed, slow]),
    pytest.param(ZERO3, id='ZeRO-3', marks=[needs_deepspeed, slow]),
]
LORA = "trainable=[],\n    adapter=dict(type='LoRA', slots=['self_attention', 'cross_attention'], r=4, alpha=4)"
MODELS = {
    'all': {},
    'frozen text': FROZEN_TEXT,
    'new tokens': {**FROZEN_TEXT, "train_embeddings='all'": "train_embeddings='new'"},
    'LoRA': {
        "trainable=['resampler', 'gated_blocks', 'language_model']": LORA,
        "train_embeddings='all'": 'train_embeddings=None',
    },
    'zero attention': {"without_media='skip'": "without_media='zero_attention'"},
}


def same_course(ours: Path, theirs: Path, tolerance: float = 1e-5) -> None:
    """Asserts that two work folders have the same logged figures."""
    first, second = logged(ours), logged(theirs)
    assert first.keys() == second.keys()
    for step, figures in second.items():
        assert first[step] == pytest.approx(figures, abs=tolerance)


@pytest.mark.parametrize('strategy', STRATEGIES)
@pytest.mark.parametrize(
    ('model', 'accumulation'),
    [
        pytest.param('frozen text', 3),
        pytest.param('all', 1, marks=slow),
        pytest.param('all', 3, marks=slow),
        pytest.param('new tokens', 3, marks=slow),
        pytest.param('LoRA', 3, marks=slow),
        pytest.param('zero attention', 3, marks=slow),
    ],
)
def test_two_processes_follow_one(tmp_path, strategy, model, accumulation):
    """Batches of 1 and 1 against one of 2; in some steps only one process has pictures."""
    if strategy['type'] == 'DeepSpeed' and model == 'all' and accumulation == 1:
        pytest.skip('with steps of texts only: DeepSpeed counts gradients of 0 where the others have none')
    path = write_project(tmp_path / 'p', replacements={**NO_DROPOUT, **MODELS[model]})
    # DeepSpeed gives no checkpoint inside a window
    changes = {'optim_wrapper.accumulative_counts': accumulation, 'default_hooks.checkpoint.interval': 6}
    _, weights, _ = train(path, tmp_path / 'one', 2, **changes)

    def share() -> Any:
        return train(path, tmp_path / 'two', 1, strategy=strategy, **changes)

    both = in_processes(share, 2)
    pictures = [{first, second} for (_, first), (_, second) in zip(both[0][0], both[1][0])]
    assert {True, False} in pictures
    assert differences(both[0][1], weights) < 1e-5
    same_course(tmp_path / 'two', tmp_path / 'one')


@pytest.mark.parametrize(
    ('first', 'then', 'processes', 'sharded'),
    [
        pytest.param({'type': 'FSDP2'}, {'type': 'DDP'}, 1, True),
        pytest.param({'type': 'DDP'}, {'type': 'FSDP2'}, 2, False, marks=slow),
        pytest.param({'type': 'DDP'}, {'type': 'FSDP2'}, 4, True, marks=slow),
        pytest.param({'type': 'FSDP2'}, {'type': 'FSDP2'}, 4, True, marks=slow),
        pytest.param({'type': 'FSDP2'}, ZERO3, 2, True, marks=[slow, needs_deepspeed]),
        pytest.param(ZERO3, {'type': 'FSDP2'}, 2, False, marks=[slow, needs_deepspeed]),
        pytest.param(ZERO2, {'type': 'DDP'}, 1, False, marks=[slow, needs_deepspeed]),
        pytest.param({'type': 'DDP'}, ZERO2, 2, False, marks=[slow, needs_deepspeed]),
    ],
)
def test_another_strategy_and_number_of_processes_goes_on(tmp_path, first, then, processes, sharded):
    """Two processes stop after 5 of 8 iterations; inside a window of 3, where the strategy gives that away."""
    path = write_project(tmp_path / 'p', replacements={**NO_DROPOUT, **FROZEN_TEXT})
    window = 1 if 'DeepSpeed' in (first['type'], then['type']) else 3
    changes = {
        'optim_wrapper.accumulative_counts': window,
        'default_hooks.checkpoint.interval': 5,
        'default_hooks.checkpoint.sharded': sharded,
    }

    def share(name: str, strategy: dict, size: int, stop: int | None = None, resume: bool = False) -> Any:
        own = {**changes, 'default_hooks.checkpoint.sharded': sharded and 'DeepSpeed' not in strategy['type']}
        return train(path, tmp_path / name, size, stop, resume, strategy=strategy, **own)

    whole, weights, _ = train(path, tmp_path / 'whole', 4, **changes)
    in_processes(share, 2, 'cut', first, 2, 5)
    saved = tmp_path / 'cut' / 'checkpoints' / 'iter_000005'
    assert (saved / 'training' / 'shards').is_dir() == sharded
    assert not verify_checkpoint(saved)
    resumed = in_processes(share, processes, 'cut', then, 4 // processes, None, True)

    ids = [set.union(*(seen[0] for seen in step)) for step in zip(*(result[0] for result in resumed))]
    assert ids == [seen for seen, _ in whole[5:]]
    assert differences(resumed[0][1], weights) < 1e-5
    same_course(tmp_path / 'cut', tmp_path / 'whole')


@pytest.mark.parametrize('strategy', STRATEGIES)
@slow
def test_a_checkpoint_after_a_validation_has_the_whole_model(tmp_path, strategy):
    """Nor do batches of which the processes have unequal numbers make one wait for the other."""
    path = write_project(tmp_path / 'p', replacements=NO_DROPOUT)
    held_out = """
val_dataloader = dict(batch_size=1, num_workers=0, dataset=dict(max_seq_len=64, sources=[dict(
    type='MimicIt', instructions='{folder}/TX_instructions.json')]))
val_cfg = dict(interval=4)
"""
    path.write_text(path.read_text() + held_out.replace('{folder}', str(path.parent)))
    changes = {'optim_wrapper.accumulative_counts': 1, 'gradient_checkpointing': {'every': 1}}
    _, weights, _ = train(path, tmp_path / 'one', 2, **changes)
    in_processes(lambda: train(path, tmp_path / 'two', 1, strategy=strategy, **changes), 2)
    saved = stored_state(tmp_path / 'two' / 'checkpoints' / 'iter_000008')
    assert all(abs(saved[name].numpy() - weights[name]).max() < 1e-5 for name in saved)
    same_course(tmp_path / 'two', tmp_path / 'one')


@pytest.mark.parametrize(
    'strategies',
    [
        pytest.param(({'type': 'DDP'}, {'type': 'DDP'}, {'type': 'FSDP2'}), id='DDP-DDP-FSDP2'),
        pytest.param(({'type': 'DDP'}, {'type': 'FSDP2'}, ZERO2), id='DDP-FSDP2-ZeRO-2', marks=needs_deepspeed),
        pytest.param((ZERO3, ZERO2, ZERO3), id='ZeRO-3-ZeRO-2-ZeRO-3', marks=needs_deepspeed),
        pytest.param(({'type': 'FSDP2'}, ZERO3, {'type': 'FSDP2'}), id='FSDP2-ZeRO-3-FSDP2', marks=needs_deepspeed),
    ],
)
@slow
def test_two_then_one_then_four_processes_are_one_run(tmp_path, strategies):
    """No sample comes twice or never, and the losses are those of the run that one process does alone."""
    path = write_project(tmp_path / 'p', replacements={**NO_DROPOUT, **FROZEN_TEXT})

    def share(strategy: dict, size: int, interval: int, stop: int | None, resume: bool) -> Any:
        sharded = strategy['type'] == 'FSDP2'
        hook = {'default_hooks.checkpoint.interval': interval, 'default_hooks.checkpoint.sharded': sharded}
        changes = {'optim_wrapper.accumulative_counts': 1, **hook}
        return train(path, tmp_path / 'cut', size, stop, resume, strategy=strategy, **changes)

    whole, weights, _ = train(path, tmp_path / 'whole', 4, **{'optim_wrapper.accumulative_counts': 1})
    seen = []
    turns = (2, 2, 3, 3, False), (1, 4, 5, 5, True), (4, 1, 8, None, True)
    for strategy, (processes, *given) in zip(strategies, turns, strict=True):
        results = in_processes(share, processes, strategy, *given)
        seen += [set.union(*(own[0] for own in step)) for step in zip(*(result[0] for result in results))]
    assert seen == [ids for ids, _ in whole]
    assert differences(results[0][1], weights) < 1e-5
    same_course(tmp_path / 'cut', tmp_path / 'whole')

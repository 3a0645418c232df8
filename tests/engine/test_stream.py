"""The samples of a run, their order and content, whatever the number of processes and workers, and after a resume.

The order that is compared is that of the global step: the rows of all processes in an iteration, those of process 0
first. One process whose batch is as large as those of all processes together gets the same rows in the same order.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import chain, product
from pathlib import Path

import pytest

from .project import write_project

STEPS, ROWS, SAVED = 6, 4, 3  # rows of a step in all processes; after how many steps another stream goes on
WORKERS = (0, 1, 4)
SAMPLERS = {
    'mixture': {'type': 'MixtureSampler'},
    'packed': {'type': 'PackingSampler', 'row_length': 90, 'window': 16},
    'grouped': {'type': 'LengthGroupedSampler', 'window': 16, 'group': 4},
    'alternating': {'type': 'AlternatingSampler'},
}


def described(folder: Path, sampler: str, processes: int, workers: int, resumed: str | None = None) -> dict:
    """One of the streams; ``resumed`` names the one that it goes on from."""
    name = f'{sampler}-{processes}-{workers}' + ('' if resumed is None else '-resumed')
    options = dict(SAMPLERS[sampler])
    if 'window' in options:
        options['workers'] = min(workers, 1)  # of the processes that measure
    changes = {
        'train_dataloader.batch_size': ROWS // processes,
        'train_dataloader.num_workers': workers,
        'train_dataloader.sampler': options,
    }
    stream = {'config': str(folder / 'project' / 'tiny.py'), 'changes': changes, 'notes': str(folder / name)}
    if resumed is None:
        return stream | {'steps': STEPS, 'saved': SAVED}
    return stream | {'steps': STEPS - SAVED, 'saved': 0, 'resumed': str(folder / f'{resumed}.state.json')}


def launched(folder: Path, processes: int, read: list[dict]) -> dict[str, list]:
    """Read them in so many processes of torchrun; of each the rows of each global step."""
    (folder / 'streams.json').write_text(json.dumps(read))
    command = ['-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={processes}']
    command += ['-m', 'tests.engine.noted_streams', str(folder / 'streams.json')]
    root = str(Path(__file__).parents[2])
    environment = {**os.environ, 'PYTHONPATH': root, 'CUDA_VISIBLE_DEVICES': '', 'OMP_NUM_THREADS': '1'}
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-4000:]
    found = {}
    for stream in read:
        ranks = [json.loads(Path(f'{stream["notes"]}.{rank}.json').read_text()) for rank in range(processes)]
        found[Path(stream['notes']).name] = [list(chain.from_iterable(rows)) for rows in zip(*ranks, strict=True)]
    return found


@pytest.fixture(scope='module')
def streams(tmp_path_factory) -> dict[str, list]:
    """What each stream gave: sampler-processes-workers, and those that were continued by others than began them."""
    folder = tmp_path_factory.mktemp('streams')
    write_project(folder / 'project', replacements={'weight=2.0': 'weight=8.0', 'weight=1.0': 'weight=4.0'})
    found = {}
    for processes in (1, 2):
        whole = [described(folder, *run) for run in product(SAMPLERS, [processes], WORKERS)]
        changed = [described(folder, name, 2, 1, resumed=f'{name}-1-4') for name in SAMPLERS if processes == 2]
        found |= launched(folder, processes, whole + changed)
    return found | launched(folder, 1, [described(folder, name, 1, 4, resumed=f'{name}-2-0') for name in SAMPLERS])


pytestmark = pytest.mark.slow


@pytest.mark.parametrize('name', SAMPLERS)
def test_processes_and_workers_change_neither_samples_nor_order(streams, name):
    expected = streams[f'{name}-1-0']
    assert [len(rows) for rows in expected] == [ROWS] * STEPS
    for processes, workers in product((1, 2), WORKERS):
        assert streams[f'{name}-{processes}-{workers}'] == expected, (processes, workers)


@pytest.mark.parametrize('name', SAMPLERS)
def test_a_resumed_run_goes_on_in_mid_epoch_with_other_processes_and_workers(streams, name):
    expected = streams[f'{name}-1-0'][SAVED:]
    assert streams[f'{name}-2-1-resumed'] == expected
    assert streams[f'{name}-1-4-resumed'] == expected


def test_chance_has_a_say_in_the_content(streams):
    """Samples come again with other pixels and other contexts: equal content above is not equal by necessity."""
    seen = {(id, content) for rows in streams['packed-1-0'] for row in rows for id, content in row}
    assert len(seen) > len({id for id, _ in seen})
    assert max(len(row) for rows in streams['packed-1-0'] for row in rows) > 1
    assert any(id.startswith('TX') for id, _ in seen)

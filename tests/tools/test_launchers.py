"""The shell scripts, with a real bash and real processes on the CPU."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from mmgpt.engine.strategies.deepspeed import INSTALL
from mmgpt.hub.io import save_folder
from tests.engine.processes import free_port
from tests.engine.project import write_project
from tests.hub import tiny
from tools import test

needs_deepspeed = pytest.mark.skipif(importlib.util.find_spec('deepspeed') is None, reason=INSTALL)
TOOLS = Path(__file__).parents[2] / 'tools'
USAGE = {
    'dist_train.sh': [[], ['config.py'], ['config.py', 'two'], ['config.py', '0']],
    'dist_test.sh': [[], ['config.py', 'model'], ['config.py', 'model', '0']],
    'slurm_train.sh': [[], ['partition', 'job', 'config.py']],
}


def launch(script: str, *arguments: str | Path, plugins: Path, **variables: str) -> subprocess.CompletedProcess:
    """Run a script of ``tools/`` on CPUs; a run that hangs is an error."""
    environment = {**os.environ, 'PYTHON': sys.executable, 'PYTHONPATH': str(plugins), 'CUDA_VISIBLE_DEVICES': ''}
    environment |= {'OMP_NUM_THREADS': '1', 'HF_HUB_CACHE': str(plugins / 'cache'), **variables}
    command = ['bash', str(TOOLS / script), *map(str, arguments)]
    return subprocess.run(command, env=environment, cwd=plugins, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize(('script', 'arguments'), [(name, given) for name, each in USAGE.items() for given in each])
def test_bad_usage_is_one_line(script, arguments, tmp_path):
    done = launch(script, *arguments, plugins=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f'usage: tools/{script}')
    assert done.stderr.count('\n') == 1


@pytest.mark.slow
def test_dist_train_trains(tmp_path):
    config = write_project(tmp_path / 'project')
    done = launch(
        'dist_train.sh', config, 2, '--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_iters=4',
        plugins=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('4/4 100 %') == done.stdout.count('the model is in') == 1
    assert (tmp_path / 'w' / 'hf' / 'config.json').is_file()
    assert len(list((tmp_path / 'w' / 'checkpoints' / 'iter_000004' / 'training').glob('rng_*'))) == 2


@pytest.mark.slow
def test_what_is_missing_is_told_once(tmp_path):
    done = launch('dist_train.sh', 3, plugins=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count('train: ') == done.stderr.count('hf download huggyllama/llama-7b') == 1
    assert 'Traceback' not in done.stderr
    assert done.stdout == ''
    assert not list(tmp_path.iterdir())


FAILING = '''
"""A hook with which process 1 fails in its third iteration, while the others wait for it."""
import os, signal
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmgpt.registry import HOOKS

@HOOKS.register_module()
class Failing(Hook):
    def __init__(self, how):
        self.how = how

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter == 2 and get_rank() == 1:
            if self.how == 'raise':
                raise RuntimeError('the device is on fire')
            os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.mark.slow
@pytest.mark.parametrize(
    ('how', 'code', 'told'), [('raise', 1, 'process 1 failed'), ('kill', 137, 'process 1 was killed by SIGKILL')]
)
def test_one_process_that_fails_ends_the_run_with_one_message(tmp_path, how, code, told):
    (tmp_path / 'failing.py').write_text(FAILING)
    config = write_project(tmp_path / 'project', imports=('failing',))
    begin = time.monotonic()
    done = launch(
        'dist_train.sh', config, 2, '--work-dir', tmp_path / 'w',
        '--cfg-options', f'custom_hooks={[dict(type="Failing", how=how)]}',
        plugins=tmp_path,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert done.stderr.count(told) == 1
    assert done.stderr.count('the device is on fire') == (how == 'raise') * done.stderr.count('RuntimeError')
    assert time.monotonic() - begin < 120


ONCE = FAILING.replace('== 1:', "== 1 and not os.path.exists('failed'):\n            open('failed', 'w').close()")


@pytest.mark.slow
def test_a_run_that_torchrun_starts_again_goes_on(tmp_path):
    """Process 1 is killed in its third iteration, the first time; both go on from the second one's checkpoint."""
    (tmp_path / 'failing.py').write_text(ONCE)
    config = write_project(tmp_path / 'project', imports=('failing',))
    done = launch(
        'dist_train.sh', config, 2, '--work-dir', tmp_path / 'w', '--no-validate',
        '--cfg-options', f'custom_hooks={[dict(type="Failing", how="kill")]}', 'train_cfg.max_iters=4',
        'default_hooks.checkpoint.interval=2', plugins=tmp_path, MAX_RESTARTS='1',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'failed').exists()
    assert done.stdout.count('continuing after iteration 2') == 1
    assert (tmp_path / 'w' / 'hf' / 'config.json').is_file()


@pytest.mark.slow
def test_two_machines_are_two_launchers(tmp_path):
    config = write_project(tmp_path / 'project')
    where = {'NNODES': '2', 'MASTER_ADDR': '127.0.0.1', 'PORT': str(free_port())}
    given = config, 1, '--work-dir', tmp_path / 'w', '--no-validate', '--cfg-options', 'train_cfg.max_iters=4'
    with ThreadPoolExecutor(2) as pool:
        nodes = [
            pool.submit(
                launch, 'dist_train.sh', *given, 'strategy.type=FSDP2', plugins=tmp_path, NODE_RANK=rank, **where
            )
            for rank in '01'
        ]
    first, second = (node.result() for node in nodes)
    assert first.returncode == second.returncode == 0, first.stderr + second.stderr
    assert first.stdout.count('the model is in') == 1
    assert second.stdout == ''
    assert len(list((tmp_path / 'w' / 'checkpoints' / 'iter_000004' / 'training').glob('rng_*'))) == 2


TASK = '''
"""A task that asks the name of a few pictures, and notes which process asked."""
import json, os
from pathlib import Path
from mmengine.dist import get_rank
from mmgpt.evaluation.answering import answer
from mmgpt.registry import TASKS
from tests.hub import tiny

@TASKS.register_module()
class Naming:
    def __call__(self, model, processor, out, limit=None):
        questions = [[tiny.user('What?', tiny.image(i))] for i in range(7)][:limit]
        answers = answer(model, processor, questions, batch_size=2)
        (out / 'predictions.jsonl').write_text('\\n'.join(answers))
        (Path(os.environ['ASKED']) / f'{get_rank()}').touch()
        return {'length': sum(map(len, answers))}

    def results(self, metrics):
        return {'naming': [{'shots': 0, 'trials': [metrics['length']], 'mean': metrics['length'], 'stddev': 0.0}]}
'''


@pytest.mark.slow
def test_dist_test_gives_what_one_process_gives(tmp_path, monkeypatch):
    (tmp_path / 'naming_task.py').write_text(TASK)
    (tmp_path / 'asked').mkdir()
    config = tmp_path / 'config.py'
    config.write_text("custom_imports = dict(imports=['naming_task'])\nevaluation = dict(type='Naming')\n")
    save_folder(tmp_path / 'model', *tiny.model_and_processor())
    done = launch(
        'dist_test.sh', config, tmp_path / 'model', 2, '--out', tmp_path / 'two', plugins=tmp_path,
        ASKED=str(tmp_path / 'asked'),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('naming, 0 shots') == done.stdout.count('figures: ') == 1
    assert sorted(path.name for path in (tmp_path / 'asked').iterdir()) == ['0', '1']

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'naming_task', raising=False)  # that of another test, in another folder
    monkeypatch.setenv('ASKED', str(tmp_path / 'asked'))
    assert test.main([str(config), str(tmp_path / 'model'), '--out', str(tmp_path / 'one'), '--device', 'cpu']) == 0
    for name in ('results.json', 'predictions.jsonl'):
        assert (tmp_path / 'two' / name).read_text() == (tmp_path / 'one' / name).read_text()


@pytest.mark.slow
@pytest.mark.parametrize('strategy', ['FSDP2', pytest.param('DeepSpeed', marks=needs_deepspeed)])
def test_a_shared_model_is_evaluated_after_its_training(tmp_path, monkeypatch, strategy):
    """As what was exported is, on one process."""
    (tmp_path / 'naming_task.py').write_text(TASK)
    (tmp_path / 'asked').mkdir()
    config = write_project(tmp_path / 'project', imports=('naming_task',))
    config.write_text(config.read_text() + "evaluation = dict(type='Naming')\n")
    stage = ['strategy.stage=3'] if strategy == 'DeepSpeed' else []
    done = launch(
        'dist_train.sh', config, 2, '--work-dir', tmp_path / 'w', '--cfg-options', 'train_cfg.max_iters=4',
        f'strategy.type={strategy}', 'optim_wrapper.accumulative_counts=2', *stage,
        plugins=tmp_path, ASKED=str(tmp_path / 'asked'),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in (tmp_path / 'asked').iterdir()) == ['0', '1']
    assert done.stdout.count('figures: ') == 1

    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, 'naming_task', raising=False)  # that of another test, in another folder
    monkeypatch.setenv('ASKED', str(tmp_path / 'asked'))
    given = [str(config), str(tmp_path / 'w' / 'hf'), '--out', str(tmp_path / 'one'), '--device', 'cpu']
    assert test.main(given) == 0
    assert (tmp_path / 'w' / 'predictions.jsonl').read_text() == (tmp_path / 'one' / 'predictions.jsonl').read_text()


SRUN = r"""#!/usr/bin/env bash
# Stands for Slurm's: starts the tasks on this machine, and ends them all when one ends badly.
echo "$*" >"$SRUN_SAW"
while [[ $1 == --* ]]; do
    [[ $1 == --ntasks=* ]] && tasks=${1#*=}
    shift
done
for ((task = 0; task < tasks; task++)); do
    SLURM_PROCID=$task SLURM_NTASKS=$tasks SLURM_LOCALID=$task SLURM_NNODES=1 "$@" &
done
for ((task = 0; task < tasks; task++)); do
    wait -n || { code=$?; kill $(jobs -p) 2>/dev/null; exit $code; }
done
"""


@pytest.mark.slow
def test_slurm_train(tmp_path):
    config = write_project(tmp_path / 'project')
    srun = tmp_path / 'bin' / 'srun'
    srun.parent.mkdir()
    srun.write_text(SRUN)
    srun.chmod(0o755)
    variables = {'PATH': f'{srun.parent}{os.pathsep}{os.environ["PATH"]}', 'SRUN_SAW': str(tmp_path / 'saw')}
    variables |= {'GPUS': '2', 'CPUS_PER_TASK': '1', 'SRUN_ARGS': '--time=10 --quiet', 'PORT': str(free_port())}

    def train(*more: str) -> subprocess.CompletedProcess:
        options = ['--cfg-options', 'train_cfg.max_iters=3', *more]
        return launch('slurm_train.sh', 'gpus', 'tiny', config, tmp_path / 'w', *options, plugins=tmp_path, **variables)

    done = train()
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('3/3 100 %') == done.stdout.count('the model is in') == 1
    asked = (tmp_path / 'saw').read_text().split()
    expected = ['--partition=gpus', '--job-name=tiny', '--ntasks=2', '--ntasks-per-node=2', '--gres=gpu:2']
    assert {*expected, '--cpus-per-task=1', '--time=10', '--quiet', '--kill-on-bad-exit=1'} <= set(asked)

    done = train('model.attend=sideways')
    assert done.returncode == 2
    assert done.stderr.count('sideways') == done.stderr.count('train: ') == 1


@pytest.mark.slow
def test_eight_processes_rehearse_the_default_config(tmp_path):
    done = launch('dist_train.sh', 8, '--dry-run', plugins=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('trained 20 steps on 8 process(es)') == 1
    assert done.stdout.count('resumed at step 10') == done.stdout.count('loaded what was saved') == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_demo_on_two_processes_follows_one(tmp_path):
    """The first 50 steps in float32, 2 x 32 samples against 64: every loss to 1e-5."""
    config = TOOLS.parent / 'configs' / 'otter_demo.py'
    losses = []
    for processes, batch_size in ((1, 64), (2, 32)):
        done = launch(
            'dist_train.sh', config, processes, '--no-validate', '--work-dir', f'of_{processes}', '--cfg-options',
            'optim_wrapper.precision=fp32', 'train_cfg.max_iters=50', 'default_hooks.logger.interval=1',
            f'train_dataloader.batch_size={batch_size}', plugins=tmp_path,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        log = next((tmp_path / f'of_{processes}').glob('*/vis_data/scalars.json'))
        entries = map(json.loads, log.read_text().splitlines())
        losses.append({entry['step']: entry['loss'] for entry in entries if 'loss' in entry})
    one, two = losses
    assert list(one) == list(two) == list(range(1, 51))
    assert one[50] < one[1] / 2
    assert max(abs(one[step] - two[step]) for step in one) < 1e-5

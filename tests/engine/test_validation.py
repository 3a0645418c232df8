"""The loss on held-out data: what it is, and that measuring it leaves the training alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from mmgpt.engine.build import build_runner
from mmgpt.engine.config import ConfigError, load_config
from mmgpt.engine.hooks.curves import read_scalars
from mmgpt.engine.inputs import missing_inputs
from mmgpt.engine.module import to_device
from tools import train

from .processes import in_processes
from .project import write_project
from .test_distributed import NO_DROPOUT
from .test_resume import run

HELD_OUT = """
val_dataloader = dict(
    batch_size={batch_size},
    num_workers={workers},
    dataset=dict(
        max_seq_len=64,
        sources=[
            dict(type='MimicIt', instructions='{folder}/CO_instructions.json', images='{folder}/CO.json', kind='video'),
            dict(type='MimicIt', instructions='{folder}/TX_instructions.json', weight=0.6, loss_weight=3.0),
        ],
    ),
)
val_cfg = dict(interval=3)
"""


@pytest.fixture(scope='module')
def project(tmp_path_factory) -> Path:
    return write_project(tmp_path_factory.mktemp('project'), replacements=NO_DROPOUT)


def with_validation(project: Path, name: str = 'validated.py', batch_size: int = 4, workers: int = 0) -> Path:
    path = project.with_name(name)
    held_out = HELD_OUT.format(folder=project.parent, batch_size=batch_size, workers=workers)
    path.write_text(project.read_text() + held_out)
    return path


def trained(path: Path, work_dir: Path, stop: int | None = None, resume: bool = False, **changes) -> Any:
    """Train; the runner, and the validation losses by iteration."""
    cfg = load_config(path)
    cfg.merge_from_dict({'work_dir': str(work_dir), 'train_cfg.max_iters': 8, 'resume': resume, **changes})
    runner = build_runner(cfg)
    run(runner, stop)
    logs = [work_dir / name / 'vis_data' / 'scalars.json' for name in runner.log_dirs]
    return runner, {name: steps for name, steps in read_scalars(logs).items() if name.startswith('val/')}


def test_the_loss_is_that_of_all_samples_and_kinds(project, tmp_path):
    runner, measured = trained(with_validation(project), tmp_path)
    assert set(measured) == {'val/loss', 'val/loss/video', 'val/loss/text'}
    assert list(measured['val/loss']) == [3, 6, 8]  # and after the last
    assert measured['val/loss'][8] < measured['val/loss'][3]
    batches = list(runner.validation.dataloader)
    assert len({id for batch in batches for ids in batch['sample_ids'] for id in ids}) == 10 + 3
    runner.bare_model.eval()
    with torch.no_grad():
        sums = [runner.bare_model.compute_loss(to_device(batch, runner.bare_model.device)) for batch in batches]
    expected = sum(s.loss_sum for s in sums) / sum(s.weight_sum for s in sums)
    assert measured['val/loss'][8] == pytest.approx(float(expected), abs=1e-6)
    kinds = [sum(s.kind_losses[place] for s in sums) / sum(s.kind_counts[place] for s in sums) for place in (0, 2)]
    assert [measured[f'val/loss/{kind}'][8] for kind in ('text', 'video')] == pytest.approx(list(map(float, kinds)))
    assert runner.figures['val/loss'] == measured['val/loss'][8]


@pytest.mark.slow
@pytest.mark.parametrize('workers', [0, 2])
def test_training_is_the_same_with_it_and_resumes(tmp_path, workers):
    """With dropout, so that a generator that was moved would be seen."""
    project = write_project(tmp_path / 'p')
    path = with_validation(project, workers=workers)
    without, _ = trained(project, tmp_path / 'without')
    whole, measured = trained(path, tmp_path / 'whole')
    trained(path, tmp_path / 'cut', stop=5)
    resumed, again = trained(path, tmp_path / 'cut', resume=True)
    for runner in (whole, resumed):
        weights = runner.bare_model.state_dict()
        assert all(torch.equal(weights[name], value) for name, value in without.bare_model.state_dict().items())
        assert runner.bare_model.training
    assert again == measured


def test_two_processes_measure_what_one_measures(project, tmp_path):
    changes = {'optim_wrapper.optimizer.lr': 1e-9, 'train_cfg.max_iters': 3}
    path = with_validation(project, batch_size=5)
    _, alone = trained(path, tmp_path / 'one', **changes)
    both = in_processes(lambda: trained(path, tmp_path / 'two', **changes)[0].figures, 2)
    for figures in both:
        assert {name: figures[name] for name in alone} == pytest.approx({n: v[3] for n, v in alone.items()}, abs=1e-5)


def test_more_processes_than_samples(project, tmp_path):
    path = with_validation(project)
    path.write_text(path.read_text().replace("kind='video'", 'num_samples=1').replace('weight=0.6', 'weight=0.0'))
    changes = {'train_cfg.max_iters': 1}
    _, alone = trained(path, tmp_path / 'one', **changes)
    (first, second) = in_processes(lambda: trained(path, tmp_path / 'two', **changes)[0].figures['val/loss'], 2)
    assert first == second
    assert alone['val/loss/image'].keys() == {1}
    path.write_text(path.read_text().replace('num_samples=1', 'num_samples=0, weight=0.0'))
    with pytest.raises(ValueError, match='no sample to measure the loss on'):
        build_runner(load_config(path))


def test_no_validate(project, tmp_path, monkeypatch):
    options = ['--work-dir', str(tmp_path / 'w'), '--cfg-options', 'train_cfg.max_iters=2']
    assert train.main([str(with_validation(project)), '--no-validate', *options]) == 0
    assert 'val/' not in next((tmp_path / 'w').glob('*/vis_data/scalars.json')).read_text()
    assert train.main([str(with_validation(project)), *options]) == 0
    assert any('val/loss' in log.read_text() for log in (tmp_path / 'w').glob('*/vis_data/scalars.json'))


@pytest.mark.parametrize(
    ('old', 'new', 'told'),
    [
        ('interval=3', 'intervall=3', "'interval'"),
        ('interval=3', 'interval=3.0', 'expected int'),
        ('interval=3', "type='ValLop'", "'ValLoop'"),
        ('\nval_dataloader = dict(', '\nunused = dict(', "a 'val_dataloader', and there is none"),
        ("kind='video'", "knid='video'", "'kind'"),
        ('num_workers=0', "sampler=dict(type='MixtureSampler')", "unknown key 'sampler'"),
    ],
)
def test_faults(project, old, new, told):
    path = with_validation(project, 'faulty.py')
    head, begin, tail = path.read_text().partition('\nval_dataloader')
    assert old in begin + tail
    path.write_text(head + (begin + tail).replace(old, new, 1))
    with pytest.raises(ConfigError) as error:
        load_config(path)
    assert any(told in str(fault) for fault in error.value.faults), [str(f) for f in error.value.faults]


def test_held_out_files_that_are_not_there_are_told(project):
    cfg = load_config(with_validation(project))
    cfg.val_dataloader.dataset.sources[1].instructions = 'none.json'
    (missing,) = missing_inputs(cfg)
    assert missing.key == ('val_dataloader', 'dataset', 'sources', 1, 'instructions')

"""The benchmark of 9 B models, with tiny ones on a CPU."""

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / 'benchmarks'


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location('benchmark_gpu', FOLDER / 'gpu.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_all_cases_run_in_small(benchmark_module, tmp_path, capsys):
    figures = tmp_path / 'figures.json'
    options = ['--small', '--samples', '4', '--rows', '2', '--rounds', '2', '--json', str(figures)]
    assert benchmark_module.main(options) == 0
    cases = json.loads(figures.read_text())['cases']
    assert list(cases) == list(benchmark_module.CASES)
    ours, theirs = cases['ours, idefics, Otter'], cases['idefics, Otter']
    assert ours['trained'] == theirs['trained']
    assert ours['parameters'] == theirs['parameters']
    assert ours['step_flops'] < theirs['step_flops']  # no padding, logits of answers alone
    for case in cases.values():
        assert 0 < case['trained'] < case['parameters']
        assert case['mfu']['min'] > 0
    assert capsys.readouterr().out.count('tokens/s') == 6


def test_what_is_made_again_is_not_counted(benchmark_module):
    counted = {}
    for choice in ('off', 'on'):
        args = benchmark_module.parse(['--small', '--samples', '2', '--rounds', '1', '--checkpointing', choice])
        counted[choice] = benchmark_module.measured('ours, idefics, LoRA', args, 'cpu')
    assert counted['off']['step_flops'] == counted['on']['step_flops']
    assert counted['on']['checkpointing']


def test_without_a_gpu_it_says_so(benchmark_module, monkeypatch, capsys):
    import torch

    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    assert benchmark_module.main([]) == 2
    assert '--small' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        benchmark_module.parse(['--only', 'oter'])
    assert 'otter, LoRA' in capsys.readouterr().err

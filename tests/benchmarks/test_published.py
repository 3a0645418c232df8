"""The benchmark against a checkout. Where OPEN_FLAMINGO or OTTER names one it runs, in small."""

import importlib.util
import json
import os
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / 'benchmarks'
SIZES = dict(
    image=32,
    patch=16,
    vision=dict(width=16, layers=1, heads=2, inner=32),
    text=dict(width=32, layers=4, heads=2, inner=32, vocabulary=61),
    resampler=dict(depth=2, latents=4, heads=2, head_width=64),
)


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location('benchmark_published', FOLDER / 'published.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('name', ['OPEN_FLAMINGO', 'OTTER'])
def test_the_same_loss_and_all_cases(benchmark_module, name, tmp_path, capsys):
    if name not in os.environ:
        pytest.skip(f'clone the published code with git and set {name} to its folder')
    figures = tmp_path / 'figures.json'
    options = f'--checkout {os.environ[name]} --every 2 --images 2 --text-only 0.3 --samples 8 --rounds 1'
    assert benchmark_module.main([*options.split(), '--json', str(figures)], SIZES) == 0
    found = json.loads(figures.read_text())
    assert found['apart']['loss'] < 1e-5
    assert found['cases']['ours']['flops'] < found['cases']['theirs, padded']['flops']
    assert capsys.readouterr().out.count('samples/s') == 7


def test_another_folder_is_refused(benchmark_module, tmp_path, capsys):
    assert benchmark_module.main(['--checkout', str(tmp_path), '--samples', '4'], SIZES) == 2
    said = capsys.readouterr().err
    assert str(tmp_path) in said
    assert 'git clone' in said


def test_what_is_missing_is_told(benchmark_module, tmp_path, capsys):
    code = tmp_path / 'open_flamingo' / 'src'
    code.mkdir(parents=True)
    (code / 'flamingo.py').write_text('import a_module_that_nobody_has\n')
    assert benchmark_module.main(['--checkout', str(tmp_path), '--samples', '4'], SIZES) == 2
    said = capsys.readouterr().err
    assert 'a_module_that_nobody_has' in said
    assert 'pip install einops' in said

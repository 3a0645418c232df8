"""The benchmark of growing cost, in small."""

import importlib.util
import json
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / 'benchmarks'
SIZES = dict(
    image=32,
    patch=16,
    vision=dict(width=16, layers=1, heads=2, inner=32),
    text=dict(width=32, layers=2, heads=2, inner=32, vocabulary=500),
    resampler=dict(depth=1, latents=4, heads=2, head_width=8),
)


@pytest.fixture
def benchmark_module(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location('benchmark_scaling', FOLDER / 'scaling.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_memory_grows_by_a_line_and_not_with_the_vocabulary(benchmark_module, tmp_path, capsys):
    pytest.importorskip('matplotlib')
    figures, plot = tmp_path / 'figures.json', tmp_path / 'plot.png'
    options = '--tokens 512 768 1024 --images 1 2 4 --vocabulary 40000 80000 --instructions 20 200 --rounds 2'
    assert benchmark_module.main([*options.split(), '--json', str(figures), '--plot', str(plot)], SIZES) == 0
    axes = json.loads(figures.read_text())['axes']
    assert list(axes) == ['tokens', 'images', 'vocabulary', 'instructions']
    for axis in ('tokens', 'images'):
        column = axes[axis]['ours, memory']
        assert column['slope'] > 0
        assert column['r_squared'] > 0.98
    ours, theirs = (axes['vocabulary'][f'{name}, memory']['values'] for name in ('ours', 'idefics'))
    assert theirs[1] > 1.9 * theirs[0]
    assert ours[1] < 1.1 * ours[0]
    assert len(axes['instructions']['ours, opening']['values']) == 2
    assert plot.stat().st_size
    assert capsys.readouterr().out.count('R²') == 14


def test_the_line_of_least_squares(benchmark_module):
    exact = benchmark_module.fitted([1, 2, 4], [5.0, 7.0, 11.0])
    assert exact == pytest.approx({'slope': 2, 'intercept': 3, 'r_squared': 1})
    assert benchmark_module.fitted([1, 2, 3], [1.0, 0.0, 1.0])['r_squared'] == pytest.approx(0)
    assert benchmark_module.fitted([1], [1.0])['slope'] is None
    with pytest.raises(SystemExit):
        benchmark_module.parse(['--tokens', '130'])

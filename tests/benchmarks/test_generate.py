"""The benchmark of generation, in small."""

import importlib.util
import json
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / 'benchmarks' / 'generate.py'
SIZES = dict(
    image=32,
    patch=16,
    vision=dict(width=16, layers=1, heads=2, inner=16),
    text=dict(width=32, layers=4, heads=2, inner=32, vocabulary=61),
    resampler=dict(depth=1, latents=4, heads=2, head_width=8),
)


def test_all_are_measured_and_ours_says_what_idefics_says(tmp_path, capsys):
    pytest.importorskip('matplotlib')
    spec = importlib.util.spec_from_file_location('benchmark_generate', PATH)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    options = '--every 2 --images 1 2 --batch 1 2 --prompt 12 --tokens 4 --rounds 2'
    figures, plot = tmp_path / 'figures.json', tmp_path / 'plot.png'
    assert benchmark.main([*options.split(), '--json', str(figures), '--plot', str(plot)], SIZES) == 0
    cases = json.loads(figures.read_text())['cases']
    assert [(case['images'], case['batch']) for case in cases] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    for case in cases:
        assert case['same_tokens'] == 1
        assert set(case['tokens_per_second']) == set(benchmark.NAMES)
        assert 0 < case['limit'] < 1
        assert ('next_turn' in case) == (case['batch'] == 1)
    assert plot.stat().st_size
    assert capsys.readouterr().out.count('of the limit') == 4

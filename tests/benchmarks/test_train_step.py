"""The benchmark of training steps, in small."""

import importlib
import importlib.util
import json
from pathlib import Path

import pytest
import torch

from mmgpt.models.attention_products import attend_by_products

FOLDER = Path(__file__).parents[2] / 'benchmarks'
SIZES = dict(
    image=32,
    patch=16,
    vision=dict(width=32, layers=1, heads=2, inner=64),
    text=dict(width=32, layers=2, heads=2, inner=64, vocabulary=64),
    resampler=dict(depth=1, latents=4, heads=2, head_width=16),
)


@pytest.mark.parametrize('options', ['--text-only 0.3', '--images 2 --every 2'])
def test_both_compute_the_same_and_ours_multiplies_less(options, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location('benchmark_train_step', FOLDER / 'train_step.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    figures, plot = tmp_path / 'figures.json', tmp_path / 'plot.png'
    arguments = f'--samples 8 --rounds 1 {options} --json {figures} --plot {plot}'
    assert module.main(arguments.split(), SIZES) == 0
    found = json.loads(figures.read_text())
    assert max(found['apart']['loss'], found['apart']['gradient']) < 1e-5
    work = {name: case['flops'] for name, case in found['cases'].items()}
    assert work['ours, cached'] < work['ours'] < work['idefics, padded']
    assert found['cases'][found['faster_layout']]['ratio'][found['faster_layout']]['median'] == 1
    assert plot.stat().st_size > 1000


def test_profile_tells_where_the_time_of_a_step_goes(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    spec = importlib.util.spec_from_file_location('benchmark_profile_step', FOLDER / 'profile_step.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    threads, figures = torch.get_num_threads(), tmp_path / 'figures.json'
    try:
        assert module.main(f'--samples 4 --batch 2 --rounds 2 --busy --json {figures}'.split(), SIZES) == 0
    finally:
        torch.set_num_threads(threads)
    found = json.loads(figures.read_text())
    shares, reached = found['shares'], found['of_the_peak']
    assert 0 < reached['min'] <= reached['median'] <= reached['max'] < 1
    assert sum(shares.values()) == pytest.approx(1)
    assert all(share > 0 for share in shares.values())


def test_products_of_our_own_attention_are_counted(monkeypatch):
    """Two in the forward pass and, since it keeps the weights, four in the backward pass."""
    monkeypatch.syspath_prepend(str(FOLDER))
    flops = importlib.import_module('bench.measure').flops
    queries, keys, values = (torch.randn(2, 3, size, 8, requires_grad=True) for size in (5, 7, 7))
    out = attend_by_products(queries, keys, values, None, False, 1.0)
    product = 2 * 2 * 3 * 5 * 7 * 8
    assert flops(lambda: attend_by_products(queries, keys, values, None, False, 1.0)) == 2 * product
    assert flops(lambda: torch.autograd.grad(out.sum(), (queries, keys, values))) == 4 * product

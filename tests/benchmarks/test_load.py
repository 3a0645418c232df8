"""The benchmark of loading runs, in small."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / 'benchmarks' / 'load.py'
VISION = dict(hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16)


@pytest.fixture
def benchmark_module(monkeypatch):
    spec = importlib.util.spec_from_file_location('benchmark_load', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, 'TOKENS', 64)
    whole = module.model_config

    def small(layers, width):
        config = whole(layers, width)
        config['vision_encoder']['config'] = dict(VISION, patch_size=8)
        config['resampler'] |= dict(depth=1, num_latents=2)
        return config

    monkeypatch.setattr(module, 'model_config', small)
    return module


def test_each_case_loads_and_is_measured(benchmark_module, tmp_path):
    benchmark_module.write(tmp_path, layers=4, width=128)
    counts = {}
    for case in benchmark_module.CASES:
        found = benchmark_module.measure(case, tmp_path)
        assert found['peak'] > 0
        assert found['ratio'] == found['peak'] / found['weights']
        counts[case] = found['parameters']
    assert counts['folder'] == counts['folder, float32'] < counts['parts']  # the parts grow by the added tokens

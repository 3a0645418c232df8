"""The benchmark of packed rows, in small."""

import importlib.util
import json
from pathlib import Path

PATH = Path(__file__).parents[2] / 'benchmarks' / 'packing.py'


def test_planned_rows_have_less_padding(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location('benchmark_packing', PATH)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    benchmark.WIDTH, options = 32, '--samples 32 --median 30 --batch-size 2'
    assert benchmark.main([*options.split(), '--json', str(tmp_path / 'figures')]) == 0
    single, grouped, packed = json.loads((tmp_path / 'figures').read_text()).values()
    assert single['padding'] > 1.5 * grouped['padding']
    assert single['padding'] > 1.5 * packed['padding']
    assert single['ratio'] == 1
    assert capsys.readouterr().out.count('samples/s') == 3

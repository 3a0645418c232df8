"""The benchmark of naming letters: its rows follow the answers, and its plot is written."""

import importlib.util
from pathlib import Path

import pytest
from PIL import Image

PATH = Path(__file__).parents[2] / 'benchmarks' / 'characters.py'


@pytest.fixture
def benchmark():
    spec = importlib.util.spec_from_file_location('benchmark_characters', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_rows_and_plot(benchmark, monkeypatch, tmp_path):
    def first_name(model, processor, conversations):
        return [messages[1]['content'] for messages in conversations]

    monkeypatch.setattr(benchmark, 'answer', first_name)
    rows = [benchmark.row(None, None, ('GREEK',), (ways, 1), 60, 0) for ways in (2, 10)]
    assert [row['ways'] for row in rows] == [2, 10]
    assert 0.25 < rows[0]['model'] < 0.75  # any of two names is as good
    assert rows[1]['model'] < 0.3
    assert all(row['neighbour'] > 0.7 for row in rows)
    benchmark.draw(rows, tmp_path / 'plot.png')
    assert Image.open(tmp_path / 'plot.png').width > 400

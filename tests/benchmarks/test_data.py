"""The benchmark of reading data writes sound files, and tells what is beyond its bounds."""

import importlib.util
from pathlib import Path

import pytest

from mmgpt.data.image_stores import ParquetImages

spec = importlib.util.spec_from_file_location('benchmark_data', Path(__file__).parents[2] / 'benchmarks' / 'data.py')
data = importlib.util.module_from_spec(spec)
spec.loader.exec_module(data)


@pytest.mark.parametrize('name', ['large', 'pandas', 'ids'])
def test_what_it_writes_is_read(name, tmp_path, monkeypatch):
    monkeypatch.setattr(data, 'picture', lambda number: bytes([number]) * 30_000)
    data.write(tmp_path / name, 30, 200, name)
    found = data.open_once(tmp_path / name)
    assert (found['images'], found['instructions']) == (30, 200)
    assert found['bytes of a picture'] == (0 if name == 'ids' else 30_000)
    assert found['peak'] >= found['grown'] - 2**20
    store = ParquetImages(tmp_path / name / 'images')
    assert store._cells.keys() == ({0} if name == 'pandas' else set())  # only what pandas wrote is rewritten


def test_bounds():
    fine = {'seconds': 0.1, 'grown': 1e6}
    results = {
        'open small': fine,
        'open large': dict(fine, grown=2e6),
        'deliver': {'samples/s': 900.0, 'decoded/s': 4000.0},
    }
    assert data.faults(results) == []
    assert data.faults(results | {'open ids': dict(fine, seconds=3.5)}) == ['open ids: seconds']
    assert data.faults(results | {'open large': dict(fine, grown=60e6)}) == ['memory grows with the store']
    slow = {'samples/s': 300.0, 'decoded/s': 4000.0}
    assert data.faults(results | {'deliver': slow}) == ['too few samples/s']
    assert data.faults(results | {'deliver': dict(slow, **{'decoded/s': 700.0})}) == []  # the machine could not

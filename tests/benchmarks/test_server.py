"""The server's benchmark runs, on a model that is small enough for it."""

import json
import sys
from pathlib import Path

import pytest

pytest.importorskip('fastapi', reason='pip install "mmgpt[serving]"')
pytest.importorskip('av', reason='pip install "mmgpt[video]"')

FOLDER = Path(__file__).parents[2] / 'benchmarks'
SIZES = dict(
    image=32,
    patch=16,
    vision=dict(width=32, layers=1, heads=2, inner=32),
    text=dict(width=32, layers=4, heads=2, inner=32, vocabulary=32_000),
    resampler=dict(depth=1, latents=4, heads=2, head_width=8),
)


@pytest.mark.slow
def test_all_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, 'path', [str(FOLDER), *sys.path])
    import server

    path = tmp_path / 'r.json'
    argv = ['--requests', '16', '--rounds', '1', '--tokens', '8', '--flood', '300', '--json', str(path)]
    assert server.main(argv, SIZES) == 0
    found = json.loads(path.read_text())
    ids = found['load']['ids']
    assert ids['same'] + len(ids['below_the_margin']) == 32
    assert not ids['wrong']
    assert found['load']['mean_batch']['median'] > 4
    abuse = found['abuse']
    assert all(case['answers_after'] for case in abuse.values())
    assert {status for case in abuse.values() for status in case['statuses']} <= {
        '200',
        '400',
        '401',
        '408',
        '413',
        '429',
        '200, went away',
        '429, went away',
        'rows still running',
    }
    assert abuse['clients that go away while it answers']['statuses']['rows still running'] == 0
    assert max(case['mib_peak'] - case['mib_before'] for case in abuse.values()) < 500

"""Runs are compared by what they logged."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from mmgpt.engine import log_analysis
from mmgpt.engine.runner import Runner
from tools.analysis_tools import analyze_logs

from .standin import TinyModel, config, loader


def write_run(work_dir: Path, loss: float, parts: int = 1) -> Path:
    for part in range(parts):
        log = work_dir / f'2026010{part + 1}_000000' / 'vis_data'
        log.mkdir(parents=True)
        steps = range(part * 50 + 10, part * 50 + 61, 10)
        lines = [
            {'step': step, 'loss': loss + 10 / step, 'tokens_per_second': 100.0 * (part + 1), 'memory_gib': part + 0.5}
            for step in steps
        ]
        (log / 'scalars.json').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    return work_dir


def test_runs_are_put_side_by_side(tmp_path, capsys):
    runs = [write_run(tmp_path / 'a', 1.0), write_run(tmp_path / 'b', 2.0, parts=2)]
    assert analyze_logs.main([*map(str, runs), '--json']) == 0
    found = json.loads(capsys.readouterr().out)
    assert found['a']['iterations'] == 60
    assert found['b']['iterations'] == 110  # the resumed part too
    assert found['a']['loss'] == pytest.approx(1 + 10 / 60)
    assert found['b']['memory_gib'] == 1.5
    picture = tmp_path / 'runs.png'
    assert analyze_logs.main([*map(str, runs), '--out', str(picture), '--smooth', '3']) == 0
    assert '(+' in capsys.readouterr().out
    assert picture.stat().st_size > 5000
    assert analyze_logs.main([str(runs[0]), '--list']) == 0
    assert capsys.readouterr().out.split() == ['loss', 'memory_gib', 'tokens_per_second']


def test_a_run_that_replaced_another_is_read_alone(tmp_path, monkeypatch):
    now = time.time
    log = {'logger': {'type': 'LoggerHook', 'interval': 1}}
    for number, (iterations, resume) in enumerate([(3, False), (1, False), (2, True)]):
        monkeypatch.setattr(time, 'time', lambda number=number: now() + 10 * number)  # it names the log folder
        changes = {'train_cfg.max_iters': iterations, 'resume': resume, 'default_hooks': log}
        Runner(TinyModel(), None, loader(), config(tmp_path, **changes)).train()
    assert sorted(log_analysis.read_run(tmp_path)['loss']) == [1, 2]


def test_what_is_not_there_is_said(tmp_path, capsys):
    run = str(write_run(tmp_path / 'a', 1.0))
    assert analyze_logs.main([str(tmp_path / 'nothing')]) == 2
    assert 'has no figures' in capsys.readouterr().err
    assert analyze_logs.main([run, '--keys', 'los']) == 2
    assert 'there are loss, memory_gib' in capsys.readouterr().err
    assert analyze_logs.main([run, '--names', 'a', 'b']) == 2

"""The benchmark of planned memory runs, and finds what it shall find."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / 'benchmarks' / 'memory_plan.py'


@pytest.mark.slow
def test_predictions_are_near(tmp_path):
    cases = ['one packed row', 'activations made again']
    command = [sys.executable, SCRIPT, '--cases', *cases, '--json', tmp_path / 'r.json', '--plot', tmp_path / 'p.png']
    subprocess.run(command, check=True)
    found = json.loads((tmp_path / 'r.json').read_text())['cases']
    assert set(found) == set(cases)
    assert all(abs(case['error']) < 0.1 for case in found.values())
    assert all(case['process'] > 0.8 * case['tensors'] for case in found.values())
    assert (tmp_path / 'p.png').stat().st_size > 5000


@pytest.mark.slow
def test_forked_cases_do_not_crash_at_random(tmp_path):
    """Without a pool of threads made anew one in six did; so many in a row get by with a chance of one in eighty."""
    code = (
        f'import sys; sys.path.insert(0, {str(SCRIPT.parent)!r})\n'
        'import torch, mmgpt, bench.memory, memory_plan\n'
        'from mmgpt.models.matmul import prefer_onednn\n'
        'torch.set_num_threads(1)\n'
        'prefer_onednn()\n'
        "for _ in range(24): memory_plan.in_process(memory_plan.predict, memory_plan.CASES['bfloat16'], 'cpu')\n"
    )
    subprocess.run([sys.executable, '-c', code], check=True, cwd=tmp_path)

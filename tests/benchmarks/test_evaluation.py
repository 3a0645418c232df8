"""The benchmark of evaluation, as a program of its own."""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parents[2] / 'benchmarks'


def test_its_model_is_made_wherever_it_is_called_from(tmp_path):
    code = f'import sys; sys.path[0] = {str(FOLDER)!r}; import evaluation; evaluation.random_model()'
    run = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr

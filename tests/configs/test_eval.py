"""The shipped evaluations: each is built without its data, which are asked for by their key where they are missing."""

from pathlib import Path

import pytest

from mmgpt.engine.config import load_config
from mmgpt.registry import TASKS

SHIPPED = sorted((Path(__file__).parents[2] / 'configs' / 'eval').glob('*.py'))


@pytest.mark.parametrize('path', SHIPPED, ids=lambda path: path.stem)
def test_it_is_built_and_says_what_is_missing(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluation = TASKS.build(load_config(path)['evaluation'])
    assert evaluation.task.name == path.stem
    with pytest.raises(FileNotFoundError, match=r'evaluation\.task\.'):
        _ = evaluation.task.queries

"""The shipped evaluations are built, and say which file is missing and which key names it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mmgpt.engine.config import load_config
from mmgpt.evaluation.published import beside, rows
from mmgpt.registry import TASKS
from tests.evaluation import benchmarks

CONFIGS = sorted((Path(__file__).parents[2] / 'configs/eval').glob('*.py'))
MADE = ('digit_naming', 'characters_validation')  # their data are made where they are not
CONFIGS = [path for path in CONFIGS if path.stem not in MADE]

TASKS_MADE = list(benchmarks.TASKS)


@pytest.mark.parametrize('path', CONFIGS, ids=lambda path: path.stem)
def test_it_is_built_and_misses_its_files(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    settings = dict(load_config(path).evaluation)
    with pytest.raises(FileNotFoundError, match=r'is not there: get it .*evaluation\.task\.'):
        _ = TASKS.build(settings).queries(42)


def test_each_task_of_the_published_tables_has_a_config():
    names = {path.stem for path in CONFIGS}
    assert {row['dataset'] for row in rows()} <= names
    assert {f'{row["dataset"]}_rices' for row in rows() if row.get('demonstrations') == 'RICES'} <= names
    assert [row['figures']['32'] for row in beside('coco') if row['model'] == 'OpenFlamingo-9B'] == [99.5, 109.0]


@pytest.mark.parametrize('name', TASKS_MADE)
def test_files_are_where_it_looks_for_them(name, monkeypatch, tmp_path):
    """The published files of a data set, laid where the shipped config names them, are its queries and its pool."""
    made = benchmarks.TASKS[name](tmp_path / 'made')
    monkeypatch.chdir(tmp_path)
    config = next(path for path in CONFIGS if path.stem == name)
    settings = dict(load_config(config).evaluation)
    task = dict(settings['task'])
    assert {key: value for key, value in task.items() if not _is_path(value)} == {
        key: value for key, value in made.items() if not _is_path(value)
    } | {key: task[key] for key in ('name',) if key in task}
    for key, place in sorted(task.items(), key=lambda pair: len(str(pair[1]))):  # folders before what lies in them
        if _is_path(place) and not Path(place).exists():
            Path(place).parent.mkdir(parents=True, exist_ok=True)
            Path(place).symlink_to(made[key])
    evaluation = TASKS.build(settings)
    prompts = evaluation.prompts(evaluation.queries(42), 2, 42)
    assert prompts
    for prompt in prompts:
        for item in (*prompt.demonstrations, prompt.query):
            assert item.media
            assert all(evaluation.task.open(frame) for medium in item.media for frame in medium.frames)


def _is_path(value):
    return isinstance(value, str) and '/' in value

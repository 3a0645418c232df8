"""The page, the table and the comparison of runs that were really made."""

import copy
import json
import re

import numpy as np
import pytest

from mmgpt.evaluation.report import Run, compare, markdown, page
from mmgpt.hub.io import save_folder
from tests.evaluation import benchmarks
from tests.hub import tiny
from tools import test as tool
from tools.analysis_tools import report_evaluation

METRICS = {
    'task': 'vqav2',
    'main': 'accuracy',
    'model': 'hf',
    'rows': [{'shots': 0, 'trials': [1.0], 'mean': 1.0, 'stddev': 0.0, 'figures': {'accuracy': [1.0]}, 'groups': {}}],
    'published': [],
    'settings': {'shots': [0], 'seeds': [1]},
    'versions': {},
}
LINE = {'shots': 0, 'seed': 1, 'id': 1, 'question': 'What?', 'demonstrations': [], 'answer': 'a', 'raw': 'a'}


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    """Two runs of two models over VQA in small."""
    folder = tmp_path_factory.mktemp('runs')
    config = benchmarks.config(folder / 'config.py', benchmarks.vqa(folder))
    for name, seed in (('one', 0), ('two', 1)):
        model, processor = copy.deepcopy(tiny.model_and_processor())
        for number, parameter in enumerate(model.resampler.parameters()):
            parameter.data += 0.3 * seed * np.sin(number)
        save_folder(folder / f'model_{name}', model, processor)
        command = [config, folder / f'model_{name}', '--out', folder / name, '--device', 'cpu']
        assert tool.main([*map(str, command)]) == 0
    return folder


def rewritten(folder, source, change):
    """A copy of a run whose scores are changed."""
    folder.mkdir()
    lines = [json.loads(line) for line in (source / 'predictions.jsonl').read_text().splitlines()]
    for number, line in enumerate(lines):
        line['score'] = change(number, line)
    (folder / 'predictions.jsonl').write_text(''.join(json.dumps(line) + '\n' for line in lines))
    (folder / 'metrics.json').write_text((source / 'metrics.json').read_text())
    return Run.read(folder)


def test_the_page_has_figures_curve_pictures_and_contexts(place):
    out = place / 'page.html'
    command = [place / 'one', '--config', place / 'config.py', '--page', out, '--against', place / 'two']
    assert report_evaluation.main([*map(str, command)]) == 0
    text = out.read_text()
    metrics = json.loads((place / 'one/metrics.json').read_text())
    for row in metrics['rows']:
        assert f'{row["mean"]:.2f} ({row["stddev"]:.2f})' in text
    assert text.count('data:image/png') == 1  # the curve
    assert text.count('data:image/jpeg') > 3 * text.count('<article') / 2  # the query's, and of two demonstrations
    assert 'By answer type' in text
    assert 'paired bootstrap' in text
    assert not re.search(r'(?:src|href)="(?!data:)', text)  # nothing from elsewhere
    table = (place / 'one/report.md').read_text()
    assert table.splitlines()[2].startswith('| figure | 0 shots | 2 shots |')
    assert 'OpenFlamingo-9B' in table


def test_what_people_wrote_is_text(place, tmp_path):
    run = rewritten(tmp_path / 'odd', place / 'one', lambda number, line: line.get('score'))
    run.lines[0]['answer'] = '<script>alert(1)</script>'
    run.lines[-1]['answer'] = '<b>bold</b>'
    text = page(run, examples=100)
    assert '<script' not in text
    assert '<b>bold' not in text


def test_a_run_equals_itself(place):
    run = Run.read(place / 'one')
    for compared in compare(run, run):
        assert (compared.difference, compared.interval, compared.p) == (0.0, (0.0, 0.0), 1.0)


def test_a_difference_is_found_where_there_is_one(place, tmp_path):
    worse = rewritten(tmp_path / 'worse', place / 'one', lambda number, line: 10.0 + number % 7)
    better = rewritten(tmp_path / 'better', place / 'one', lambda number, line: 30.0 + number % 5)
    for compared in compare(better, worse):
        assert 10 < compared.interval[0] < compared.difference < compared.interval[1] < 30
        assert compared.p <= 0.001
    assert '+' in markdown(better, compare(better, worse), worse)


def test_noise_is_seldom_taken_for_a_difference(place, tmp_path):
    rng = np.random.default_rng(0)
    found = 0
    for trial in range(40):
        runs = [
            rewritten(tmp_path / f'{trial}{side}', place / 'one', lambda number, line: float(rng.normal()))
            for side in 'ab'
        ]
        found += compare(*runs, resamples=500)[0].p < 0.05
    assert found <= 8  # of 40; a bootstrap over ten questions is a little too sure of itself


@pytest.mark.parametrize(
    ('files', 'told'),
    [
        ({}, r'metrics.json is not there: give the folder that tools/test.py wrote to'),
        ({'metrics.json': '{', 'predictions.jsonl': ''}, 'is damaged'),
        ({'metrics.json': '{"reading": 0.9}', 'predictions.jsonl': ''}, 'is not of an evaluation with shots'),
        (
            {'metrics.json': json.dumps({**METRICS, 'rows': []}), 'predictions.jsonl': ''},
            'is not of an evaluation with',
        ),
        ({'metrics.json': json.dumps(METRICS), 'predictions.jsonl': '{"id": 1}'}, "answer 1 lacks 'shots', 'seed' or"),
        (
            {'metrics.json': json.dumps({**METRICS, 'rows': 5}), 'predictions.jsonl': ''},
            r'metrics.json: rows: expected list\[dict\], got 5; the file was changed: run the evaluation again',
        ),
        (
            {'metrics.json': json.dumps(METRICS), 'predictions.jsonl': json.dumps({**LINE, 'score': {'a': 1}})},
            "answer 1: score: expected float or bool or None, got {'a': 1}; the file was changed",
        ),
    ],
)
def test_a_folder_that_holds_none_is_one_message_and_code_2(tmp_path, capsys, files, told):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    assert report_evaluation.main([str(tmp_path)]) == 2
    assert re.search(told, capsys.readouterr().err)


@pytest.mark.parametrize('name', ['shots', 'trials', 'mean', 'stddev', 'figures', 'groups'])
@pytest.mark.parametrize('value', ['a', ['a'], {'a': 'b'}, {'a': {'b': 'c'}}])
def test_a_row_that_was_changed_is_one_message_and_code_2(tmp_path, capsys, name, value):
    metrics = {**METRICS, 'rows': [{**METRICS['rows'][0], name: value}]}
    (tmp_path / 'metrics.json').write_text(json.dumps(metrics))
    (tmp_path / 'predictions.jsonl').write_text(json.dumps(LINE))
    assert report_evaluation.main([str(tmp_path)]) == 2
    assert re.search(f'metrics.json: rows.0.{name}|metrics.json: rows.0: {name}: ', capsys.readouterr().err)


def test_an_answer_without_a_score_is_shown_without(tmp_path):
    (tmp_path / 'metrics.json').write_text(json.dumps(METRICS))
    (tmp_path / 'predictions.jsonl').write_text(json.dumps({**LINE, 'score': None}))
    assert '<dt>accuracy</dt>' not in page(Run.read(tmp_path))


@pytest.mark.parametrize(
    ('config', 'told'),
    [
        ('max_iters = 1', 'has no evaluation: give the config'),
        ("evaluation = dict(type='DigitsEvaluation')", 'has a DigitsEvaluation, which is not of the kind that writes'),
        (
            "evaluation = dict(type='Evaluation', task=dict(type='POPE', records='x.json'))",
            'evaluates pope, and the run is of vqav2',
        ),
    ],
)
def test_a_config_of_something_else_is_one_message_and_code_2(place, tmp_path, capsys, config, told):
    (tmp_path / 'config.py').write_text(config)
    assert report_evaluation.main([str(place / 'one'), '--config', str(tmp_path / 'config.py')]) == 2
    assert re.search(told, capsys.readouterr().err)


def test_a_page_that_cannot_be_written_is_one_message_and_code_2(place, tmp_path, capsys):
    assert report_evaluation.main([str(place / 'one'), '--page', str(tmp_path / 'nowhere/page.html')]) == 2
    assert 'nowhere/page.html' in capsys.readouterr().err


def test_runs_of_two_tasks_are_not_compared(place, tmp_path, capsys):
    other = rewritten(tmp_path / 'other', place / 'one', lambda number, line: 1.0)
    metrics = {**other.metrics, 'task': 'okvqa'}
    (tmp_path / 'other/metrics.json').write_text(json.dumps(metrics))
    assert report_evaluation.main([str(place / 'one'), '--against', str(tmp_path / 'other')]) == 2
    assert 'runs of one task are compared' in capsys.readouterr().err


def test_runs_of_two_figures_are_not_compared(place, tmp_path, capsys):
    other = rewritten(tmp_path / 'other', place / 'one', lambda number, line: 1.0)
    (tmp_path / 'other/metrics.json').write_text(json.dumps({**other.metrics, 'main': 'rouge_l'}))
    assert report_evaluation.main([str(place / 'one'), '--against', str(tmp_path / 'other')]) == 2
    assert 'runs of one figure are compared' in capsys.readouterr().err


def test_an_answer_may_hold_any_line_separator(place, tmp_path):
    (tmp_path / 'metrics.json').write_text((place / 'one/metrics.json').read_text())
    answer = 'a\u2028b\x85c'
    told = {**LINE, 'answer': answer}
    (tmp_path / 'predictions.jsonl').write_text(json.dumps(told, ensure_ascii=False) + '\n', 'utf-8')
    [line] = Run.read(tmp_path).lines
    assert line['answer'] == answer

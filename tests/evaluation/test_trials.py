"""Trials: means and deviations over seeds, orders that are averaged, queries that are drawn, the time that is left."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from mmgpt.evaluation import EvaluatedModel, Evaluation, EvaluationTask, Item, Ranking, Scores
from mmgpt.evaluation import progress as module
from mmgpt.evaluation.progress import Progress
from mmgpt.evaluation.report import Run
from mmgpt.inference.endpoint_estimate import readable_time
from mmgpt.registry import EVALUATION_TASKS
from tests.evaluation.benchmarks import VL_ICL


class Letters(EvaluationTask):
    """Is it a or b?"""

    name, kind, main = 'letters', 'instruction', 'accuracy'
    answering = Ranking(('a', 'b'))

    def __init__(self, count: int = 3) -> None:
        self.queries = [Item(number, f'query {number}', references='a') for number in range(count)]
        self.pool = [Item(number, f'shown {number}', 'ab'[number % 2]) for number in range(6)]

    def score(self, items, answers):
        each = tuple(100.0 * (answer.text == item.references) for item, answer in zip(items, answers, strict=True))
        return Scores({'accuracy': sum(each) / len(each)}, each)


class ByOrder(EvaluatedModel):
    """The likelihood of 'a' is told by the first demonstration, that of 'b' by the last."""

    name = 'by order'

    def __init__(self) -> None:
        self.asked = []

    def generate(self, prompts, writer, settings):
        raise NotImplementedError

    def rank(self, prompts, choices, writer, normalisation):
        self.asked += [tuple(item.id for item in prompt.demonstrations) for prompt in prompts]
        return [[float(prompt.demonstrations[0].id), float(prompt.demonstrations[-1].id)] for prompt in prompts]


def test_log_probabilities_are_averaged_over_orders(tmp_path):
    model = ByOrder()
    evaluation = Evaluation(Letters(1), [3], [0], permutations=6)
    evaluation(model, None, tmp_path)
    [line] = map(json.loads, (tmp_path / 'predictions.jsonl').read_text().splitlines())
    shown = line['demonstrations']
    assert len(set(model.asked)) == len(model.asked) == 6
    assert all(sorted(order) == sorted(shown) for order in model.asked)
    assert line['scores'] == pytest.approx([np.mean(shown)] * 2)  # each is as often the first as the last

    model = ByOrder()
    Evaluation(Letters(1), [3], [0], permutations=2)(model, None, tmp_path)
    [line] = map(json.loads, (tmp_path / 'predictions.jsonl').read_text().splitlines())
    first, second, third = shown
    assert model.asked == [(first, second, third), (first, third, second)]
    assert line['scores'] == pytest.approx([first, (second + third) / 2])


def test_a_row_is_the_mean_over_seeds_with_its_deviation(tmp_path):
    evaluation = Evaluation(Letters(8), [2], [1, 2, 3])
    metrics = evaluation(ByOrder(), None, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / 'predictions.jsonl').read_text().splitlines()]
    right = {seed: [line['answer'] == 'a' for line in lines if line['seed'] == seed] for seed in (1, 2, 3)}
    trials = [100 * np.mean(each) for each in right.values()]
    assert len(set(trials)) > 1
    [row] = evaluation.results(metrics)['letters']
    assert row['trials'] == pytest.approx(trials)
    assert row['mean'] == pytest.approx(np.mean(trials))
    assert row['stddev'] == pytest.approx(np.std(trials))


def test_so_many_queries_are_drawn_without_putting_back():
    evaluation = Evaluation(Letters(20), [2], num_samples=12)
    drawn = [[item.id for item in evaluation.queries(seed)] for seed in (0, 0, 1)]
    assert len(set(drawn[0])) == 12
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) != set(drawn[2])
    assert [item.id for item in evaluation.queries(0, limit=3)] == drawn[0][:3]


class Pairs(Letters):
    """Two questions that are scored together stand far from each other."""

    def unit(self, item):
        return item.id % 10


def test_what_is_scored_together_is_asked_together():
    for evaluation, limit, asked in (
        (Evaluation(Pairs(20), num_samples=9), None, 8),
        (Evaluation(Pairs(20), num_samples=9), 5, 4),
        (Evaluation(Pairs(20)), 4, 4),
    ):
        drawn = [item.id for item in evaluation.queries(1, limit)]
        assert len(drawn) == asked
        assert sorted(drawn) == sorted({id % 10 for id in drawn} | {id % 10 + 10 for id in drawn})
    assert [item.id for item in Evaluation(Pairs(20)).queries(1)] == [*range(20)]
    with pytest.raises(ValueError, match='0 is one of 2 questions that are scored together, and 1 should be asked'):
        Evaluation(Pairs(20)).queries(1, 1)


def test_what_is_left_is_told_of_the_speed_of_this_run(monkeypatch, capsys):
    now = iter([0.0, 5.0, 20.0, 40.0])
    monkeypatch.setattr(module, 'time', SimpleNamespace(monotonic=lambda: next(now)))  # of this module alone
    progress = Progress('coco', 100, done=20)
    progress.advance(10)  # too early to tell
    progress.advance(10)
    progress.advance(20)
    progress.close()
    assert capsys.readouterr().out.splitlines() == [
        'coco: 20 of 100 were answered before',
        'coco: 40/100, 1.0 a second, 60 s left',
        'coco: 60/100, 1.0 a second, 40 s left',
    ]
    assert [readable_time(seconds) for seconds in (42, 420, 12_240)] == ['42 s', '7 min', '3.4 h']


def test_every_task_is_run_from_the_command_line_by_a_test():
    from tests.evaluation.tasks.test_command_line import TASKS as RECORDS

    run = {EVALUATION_TASKS.get(kind) for kind in RECORDS}
    run |= {EVALUATION_TASKS.get(kind) for kind in ('Captions', 'VQA', 'HatefulMemes', 'ImageNet')}
    run |= {EVALUATION_TASKS.get(kind) for kind in VL_ICL.values()}  # these two lines: test_runner.py
    shipped = {task for task in EVALUATION_TASKS.module_dict.values() if task.__module__.startswith('mmgpt.')}
    left = {task.__name__ for task in shipped - run}
    assert left == {'DigitNaming'}  # which tests/evaluation/test_laboratory.py runs


class Says(EvaluatedModel):
    """It likes 'a' best, and keeps which questions it was asked."""

    name = 'says'

    def __init__(self) -> None:
        self.asked = []

    def generate(self, prompts, writer, settings):
        raise NotImplementedError

    def rank(self, prompts, choices, writer, normalisation):
        self.asked += [prompt.query.question for prompt in prompts]
        return [[1.0, 0.0] for _ in prompts]


@pytest.mark.parametrize('score', [float('nan'), float('-inf')])
def test_a_score_that_is_no_number_is_told(tmp_path, monkeypatch, score):
    ranked = iter([[[0.0, 1.0]], [[0.0, score]]])
    monkeypatch.setattr(Says, 'rank', lambda *_: next(ranked))
    with pytest.raises(ValueError, match=r"1: the score of 'b' should be a finite number, .* another dtype"):
        Evaluation(Letters(3), batch_size=1)(Says(), None, tmp_path)
    lines = (tmp_path / 'predictions.jsonl').read_text().splitlines()
    assert [json.loads(line)['scores'] for line in lines] == [[0.0, 1.0]]


@pytest.mark.parametrize(
    'score', [Scores({'accuracy': np.nan}), Scores({'accuracy': 1.0}, None, {'kind': {'x': np.inf}})]
)
def test_a_figure_that_is_no_number_is_told_and_no_json(tmp_path, monkeypatch, score):
    monkeypatch.setattr(Letters, 'score', lambda *_: score)
    with pytest.raises(ValueError, match=r"letters, 0 shots, seed 42: the figure '(accuracy|kind x)' .* is (nan|inf)"):
        Evaluation(Letters(3))(Says(), None, tmp_path)
    assert not (tmp_path / 'metrics.json').exists()
    assert len((tmp_path / 'predictions.jsonl').read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ('score', 'told'),
    [
        ({'accuracy': 1.0}, 'score of Letters should give Scores, got dict'),
        (Scores({'exact': 1.0}), "score of Letters gives no 'accuracy', the main figure; it gives exact"),
        (Scores({'accuracy': 1.0}, (1.0,)), 'score of Letters gives 1 items for 10 questions'),
    ],
)
def test_a_task_of_ones_own_that_scores_otherwise_is_told(tmp_path, monkeypatch, score, told):
    monkeypatch.setattr(Letters, 'score', lambda self, items, answers: score)
    with pytest.raises((TypeError, ValueError), match=told):
        Evaluation(Letters(10))(Says(), None, tmp_path)


def test_only_what_changed_in_the_data_is_asked_anew(tmp_path):
    task, model = Letters(3), Says()
    Evaluation(task, batch_size=1)(model, None, tmp_path)
    task.queries[1] = Item(1, 'another', references='a')
    model.asked.clear()
    Evaluation(task, batch_size=1)(model, None, tmp_path)
    assert model.asked == ['another']
    lines = [json.loads(line) for line in (tmp_path / 'predictions.jsonl').read_text().splitlines()]
    assert [line['question'] for line in lines] == ['query 0', 'another', 'query 2']

    task.queries[2] = Item(2, 'query 2', references='b')
    model.asked.clear()
    metrics = Evaluation(task, batch_size=1)(model, None, tmp_path)
    assert model.asked == ['query 2']
    assert metrics['rows'][0]['mean'] == pytest.approx(200 / 3)


def test_answers_of_other_shots_and_seeds_are_kept(tmp_path):
    task, model = Letters(3), Says()
    for shots, seeds in (([0, 1], [0]), ([2], [0, 1]), ([0], [1])):
        Evaluation(task, shots, seeds)(model, None, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / 'predictions.jsonl').read_text().splitlines()]
    trials = [(0, 1), (0, 0), (1, 0), (2, 0), (2, 1)]
    assert sorted((line['shots'], line['seed']) for line in lines) == sorted(trials * 3)
    assert {(line['shots'], line['seed']) for line in Run.read(tmp_path).lines} == {(0, 1)}  # of its metrics.json
    model.asked.clear()
    task.queries.pop()
    metrics = Evaluation(task, [0, 1], [0])(model, None, tmp_path)
    assert not model.asked
    assert [row['trials'] for row in metrics['rows']] == [[100.0]] * 2
    lines = [json.loads(line) for line in (tmp_path / 'predictions.jsonl').read_text().splitlines()]
    assert len(lines) == 2 * 2 + 3 * 3  # a query that is gone has no line


class ByQuery(Letters):
    """A figure and a group for each query."""

    def score(self, items, answers):
        each = {item.question: 100.0 for item in items}
        return Scores({'accuracy': 100.0, **each}, groups={'query': each})


def test_a_figure_is_of_the_trials_that_have_it(tmp_path):
    metrics = Evaluation(ByQuery(8), seeds=[0, 1, 2], num_samples=2)(Says(), None, tmp_path)
    [row] = metrics['rows']
    assert len(row['figures']['accuracy']) == 3
    assert len(row['groups']['query']) > 2
    assert set(row['groups']['query'].values()) == {100.0}
    assert set(row['groups']['query']) == set(row['figures']) - {'accuracy', 'copied', 'covered'}

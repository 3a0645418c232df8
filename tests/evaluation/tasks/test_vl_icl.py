"""VL-ICL Bench: its files, its demonstrations, its rules, how it is asked."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mmgpt.data.templates import OpenFlamingo, Otter
from mmgpt.evaluation import Answer, Evaluation
from mmgpt.registry import EVALUATION_TASKS
from tests.evaluation.benchmarks import VL_ICL, vl_icl, write


def task_of(folder, name, **changes):
    return EVALUATION_TASKS.build(vl_icl(folder, VL_ICL[name], name, **changes))


def scored(task, replies):
    return task.score(task.queries, [Answer(task.clean(reply), reply) for reply in replies])


def prompts(task, shots, seed=0):
    evaluation = Evaluation(task, [shots])
    return evaluation, evaluation.prompts(task.queries, shots, seed)


@pytest.mark.parametrize(
    ('reply', 'right'),
    [
        ('exit', True),
        (' EXIT. \n', True),  # one line: cut before the full stop
        ('EXIT.\nIt says so', False),  # several lines: the first one as it is
        ('EXIT\nIt says so.', True),
        ('the word EXIT', False),
        ('.EXIT', False),  # a full stop at the beginning cuts nothing
        ('', False),
    ],
)
def test_a_word_must_be_the_first_sentence(tmp_path, reply, right):
    task = task_of(tmp_path, 'textocr', count=1)
    assert scored(task, [reply]).figures == {'accuracy': 100.0 * right}


@pytest.mark.parametrize(
    ('answer', 'reply', 'right', 'signed'),
    [
        (12, 'The answer is 12', 100, 100),
        (12, '12.5', 100, 100),  # cut before the full stop
        (12, '3 x 4 = 12', 0, 0),  # the first number
        (12, 'twelve', 0, 0),
        (-3, '-3', 0, 100),  # as published: the sign is not seen
        (3, '-3', 100, 0),
    ],
)
def test_the_first_number_is_an_operators_result(tmp_path, answer, reply, right, signed):
    task = task_of(tmp_path, 'operator_induction', count=1)
    [query] = json.loads((tmp_path / 'operator_induction/query.json').read_text())
    write(tmp_path / 'operator_induction/query.json', [{**query, 'answer': answer}])
    assert scored(task, [reply]).figures == {'accuracy': right, 'accuracy, signed': signed}


def test_a_count_is_the_whole_sentence(tmp_path):
    task = task_of(tmp_path, 'clevr', count=2)
    answers = [query.answer for query in task.queries]
    scores = scored(task, [f'{answers[0]}.', f'There are {answers[1]}'])
    assert scores.items == (100.0, 0.0)
    assert scores.groups == {'attribute': {'shape': 50.0}}


def test_of_matching_what_is_no_yes_is_a_no(tmp_path):
    task = task_of(tmp_path, 'matching_mi', count=4)
    assert [query.answer for query in task.queries] == ['yes', 'no', 'yes', 'no']
    scores = scored(task, ['Yes, they do', 'perhaps', 'They do. yes', 'yesterday'])
    assert scores.items == (100.0, 100.0, 0.0, 0.0)
    assert scores.groups == {'answer': {'no': 50.0, 'yes': 50.0}}


def test_shots_of_naming_are_pictures_of_two_kinds_in_turn(tmp_path):
    task = task_of(tmp_path, 'open_mi')
    _, asked = prompts(task, 2)
    for prompt in asked:
        names = [item.answer for item in prompt.demonstrations]
        assert len(names) == 4
        assert names[:2] == names[2:]
        assert prompt.query.answer in names[:2]
        support = prompt.query.about['record']['support']
        for number, item in enumerate(prompt.demonstrations):
            [medium] = item.media
            assert medium.frames[0] == str(tmp_path / support[item.answer]['images'][number // 2])
    first = Counter(prompt.demonstrations[0].answer == prompt.query.answer for prompt in prompts(task, 1, seed=1)[1])
    assert len(first) == 2  # now the query's kind comes first, now the other one


def test_shots_of_matching_are_pairs(tmp_path):
    _, asked = prompts(task_of(tmp_path, 'matching_mi'), 3)
    for prompt in asked:
        assert [item.answer for item in prompt.demonstrations] == ['yes', 'no'] * 3
        pairs = [item.about['pair'] for item in prompt.demonstrations]
        assert pairs[::2] == pairs[1::2]
        assert len(set(pairs)) == 3
        assert all(len(item.media) == 2 for item in (*prompt.demonstrations, prompt.query))


@pytest.mark.parametrize('name', ['operator_induction', 'operator_induction_interleaved'])
def test_demonstrations_have_the_results_of_the_querys_operator(tmp_path, name):
    task = task_of(tmp_path, name)
    support = json.loads((tmp_path / name / 'support.json').read_text())
    for prompt in prompts(task, 4)[1]:
        place = '+-x'.index(prompt.query.about['operator'])
        for item in prompt.demonstrations:
            number = int(item.id.split(':')[0])
            assert item.answer == str(support[number]['answer'][place])
        assert len(prompt.query.media) == 2 if name.endswith('interleaved') else 1


def test_prompts_are_the_published_ones(tmp_path):
    task = vl_icl(tmp_path, VL_ICL['operator_induction_interleaved'], 'operator_induction_interleaved')
    evaluation = Evaluation({**task, 'preamble': 'Two numbers.'}, [1])
    prompt = evaluation.prompts(evaluation.task.queries, 1, 0)[0]
    shown = prompt.demonstrations[0].answer
    [piece] = evaluation.writer.render(prompt, OpenFlamingo()).pieces
    example = '<image><image>What comes of it?\nAnswer:'
    assert piece.text == f'Two numbers.\n{example} {shown}<|endofchunk|>{example}'
    [piece] = evaluation.writer.render(prompt, Otter()).pieces
    example = '<image><image>User: What comes of it?\nGPT:<answer>'
    assert piece.text == f'Two numbers.\n{example} {shown}<|endofchunk|>{example}'
    turns = evaluation.writer.turns(prompt)
    assert [turn.text for turn in turns] == ['Two numbers.\nWhat comes of it?', shown, 'What comes of it?']


def test_the_file_of_answers_is_the_queries_with_their_predictions(tmp_path):
    task = task_of(tmp_path, 'clevr', count=2)
    written = task.files(task.queries, [Answer('4', '4. Four'), Answer('5', '5')])['results.json']
    queries = json.loads((tmp_path / 'clevr/query.json').read_text())
    assert written == [{**queries[0], 'prediction': '4. Four'}, {**queries[1], 'prediction': '5'}]


@pytest.mark.parametrize(
    ('name', 'file', 'change', 'told'),
    [
        ('clevr', 'query', {'question': None}, r"query\.json.*\[0\] lacks 'question'"),
        ('matching_mi', 'query', {'answer': 'maybe'}, r'query\.json, \[0\]: the answer must be yes or no'),
        ('open_mi', 'query', {'answer': 'toma'}, r"\[0\]: the answer 'toma' must be one of the classes"),
        ('operator_induction', 'query', {'operator': '/'}, r"operator must be one of \+, -, x, got '/'"),
        ('operator_induction', 'support', {'answer': 3}, r'support\.json, \[0\]: the answer must be a list'),
        ('matching_mi', 'support', {'diff': None}, r"support\.json\[0\] lacks 'diff'"),
    ],
)
def test_faults_of_a_file_are_named(tmp_path, name, file, change, told):
    task = task_of(tmp_path, name)
    path = tmp_path / name / f'{file}.json'
    first, *others = json.loads(path.read_text())
    first = {key: value for key, value in {**first, **change}.items() if value is not None}
    write(path, [first, *others])
    with pytest.raises(ValueError, match=told):
        _ = (task.queries, task.pool)

"""MathVista's rules on hand-made records."""

import pytest

from mmgpt.evaluation.items import Answer
from mmgpt.evaluation.tasks.math_vista import MathVista, distance, normalised, plainly_said
from tests.evaluation.tasks.test_yes_no import scored, task_of


def record(**changes):
    base = {'question': 'How long is it?', 'choices': None, 'unit': None, 'precision': 1.0, 'answer': '1.2'}
    base |= {'question_type': 'free_form', 'answer_type': 'float', 'metadata': {'task': 'geometry'}}
    return {**base, **changes}


CHOICE = record(question_type='multi_choice', answer_type='text', choices=['145°', '135°', 'none'], answer='135°')
WHOLE = record(answer_type='integer', answer='4', precision=None)
LETTERED = {**CHOICE, 'choices': ['c', 'a', 'b']}
LIST = record(answer_type='list', answer='[1, 2]', precision=None)


def test_the_question_has_hint_unit_and_choices(tmp_path):
    task = task_of(MathVista, tmp_path, {'1': record(unit='cm'), '2': CHOICE, '3': WHOLE})
    number, choice, whole = (item.question.split('\n') for item in task.queries)
    assert number[0].endswith('1 decimal place, such as 1.2, at the end.')
    assert number[1:] == ['Question: How long is it? (Unit: cm)', 'Solution:']
    assert choice[2:] == ['Choices:', '(A) 145°', '(B) 135°', '(C) none', 'Solution:']
    assert 'letter' in choice[0]
    assert 'whole number' in whole[0]
    assert [item.id for item in task.queries] == ['1', '2', '3']


@pytest.mark.parametrize(
    ('given', 'reply', 'made'),
    [
        (CHOICE, '135°', '135°'),
        (CHOICE, 'The answer is "(B)".', '135°'),
        (CHOICE, 'It must be (A)', '145°'),
        (CHOICE, 'B', '135°'),
        (CHOICE, 'The answer is "135°" so done.', '135°'),
        (LETTERED, 'a', 'a'),  # a choice itself
        (LETTERED, 'A', 'c'),
        (LETTERED, 'The answer is "b".', 'b'),
        ({**LETTERED, 'choices': ['f(b)', 'f(a)']}, 'f(a)', 'f(a)'),
        (CHOICE, '145', '145°'),  # the nearest text
        (CHOICE, '', None),
        (WHOLE, '4', '4'),
        (WHOLE, 'The answer is 4.', '4'),
        (WHOLE, 'Solution: The answer is 4.7', '4'),
        (WHOLE, 'The answer is "14". It is clear.', '14'),
        (WHOLE, 'As the answer is not obvious, I count.\nThe answer is "7".', '7'),
        (WHOLE, 'As the answer is not obvious, I count.\nThe answer is 7.', '7'),
        (WHOLE, 'four', None),
        (record(), '1.24', '1.2'),
        (record(precision=2.0), 'the answer is: 1.236', '1.24'),
        (record(precision='2.0'), '1.236', '1.24'),
        (record(precision=None), '3.14', '3.1'),
        (record(), 'about one', None),
        (LIST, '[1, 2]', '[1, 2]'),
    ],
)
def test_from_reply_to_answer(tmp_path, given, reply, made):
    task = task_of(MathVista, tmp_path, {'1': given})
    extracted = task.extract(task.queries, [Answer(reply)])
    assert normalised(extracted[0], task.queries[0]) == made


def test_figures_groups_and_files(tmp_path):
    task = task_of(MathVista, tmp_path, {'1': record(), '2': CHOICE, '3': record(metadata={'task': 'word problem'})})
    scores = scored(task, ['1.2', '145°', 'The answer is 1.2.'])
    assert scores.figures['accuracy'] == pytest.approx(100 * 2 / 3)
    assert scores.groups['task'] == {'geometry': 50.0, 'word problem': 100.0}
    rows = task.files(task.queries, [Answer('1.21')] * 3)['predictions.json']
    assert rows['1'] == {'response': '1.21', 'extraction': '1.21', 'prediction': '1.2', 'true_false': True}
    assert rows['2']['true_false'] is False


def test_only_what_the_rules_cannot_read_is_left_open(tmp_path):
    (item,) = task_of(MathVista, tmp_path, {'1': WHOLE}).queries
    assert plainly_said('It has four sides', item) is None
    assert plainly_said('The answer is 7 sides.', item) is None
    assert plainly_said('The answer is x = 7', item) is None
    assert plainly_said('  7 ', item) == '7'


def test_what_a_model_read_is_asked_for_once(tmp_path):
    task = task_of(MathVista, tmp_path, {'1': WHOLE, '2': WHOLE})
    asked = []
    task.extractor = lambda conversations, parse: asked.extend(conversations) or ['4'] * len(conversations)
    answers = [Answer('It has four sides')] * 2
    assert task.score(task.queries, answers).items == (100.0, 100.0)
    assert task.files(task.queries, answers)['predictions.json']['2']['extraction'] == '4'
    assert len(asked) == 1


def test_distance_is_levenshteins():
    assert [distance(*pair) for pair in (('', 'abc'), ('abc', ''), ('flaw', 'lawn'), ('same', 'same'))] == [3, 3, 2, 0]


@pytest.mark.parametrize(
    ('changes', 'said'),
    [
        ({'question_type': 'essay'}, "must be one of 'multi_choice', 'free_form'; got 'essay'"),
        ({'answer_type': 'word'}, "'answer_type' must be one of 'text'"),
        ({'question_type': 'multi_choice', 'choices': ['one']}, "needs 'choices', got"),
        ({'choices': 'xyz'}, "'choices' must be a list, got 'xyz'"),
        ({'precision': 'fine'}, "'precision' must be a number of decimal places, got 'fine'"),
        ({'metadata': 'x'}, "'1': 'metadata' must be an object, got 'x'"),
    ],
)
def test_a_faulty_record_is_told(tmp_path, changes, said):
    with pytest.raises(ValueError, match=said):
        _ = task_of(MathVista, tmp_path, {'1': record(**changes)}).queries

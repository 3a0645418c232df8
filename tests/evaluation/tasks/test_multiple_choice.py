"""The rules of lettered options on hand-made records."""

import json

import pytest

from mmgpt.evaluation import Evaluation
from mmgpt.evaluation.items import Answer, Ranking
from mmgpt.evaluation.tasks.multiple_choice import MagnifierBench, MMBench, ScienceQA, SeedBench
from mmgpt.evaluation.tasks.options import letter_in, split_options
from tests.evaluation.tasks.test_yes_no import scored, task_of


def mmbench(index, answer='B', **changes):
    record = {'index': index, 'question': 'What is it?', 'hint': '', 'A': 'a cat', 'B': 'two dogs', 'C': 'a cup'}
    return {**record, 'D': '', 'answer': answer, 'category': 'object', 'l2-category': 'coarse', **changes}


@pytest.mark.parametrize(
    ('reply', 'letter'),
    [
        ('B', 'B'),
        ('b.', 'B'),
        ('(C)', 'C'),
        ('The answer is C.', 'C'),
        ('A dog? B', 'B'),  # the A is an article
        ('A. a cat', 'A'),
        ('A', 'A'),
        ('Two dogs are playing', 'B'),
        ('two dogs and a cat', None),
        ('A or B', None),
        ('Either A or B.', None),
        ('A, because B is too small', None),
        ('A\n\nThe picture shows one.', 'A'),
        ('**A**', 'A'),
        ('A is correct.', 'A'),
        ('"A"', 'A'),
        ('Answer: A\nBecause', 'A'),
        ('Option A is right', 'A'),
        ('A German shepherd', None),
        ('B or C', None),
        ('nothing of it', None),
        ('', None),
    ],
)
def test_what_a_reply_means(reply, letter):
    assert letter_in(reply, ['a cat', 'two dogs', 'a cup']) == letter


def test_mmbench_writes_hint_question_and_given_options(tmp_path):
    plain, hinted = task_of(MMBench, tmp_path, [mmbench(7), mmbench(8, hint='It barks.', D='nan', E='a bus')]).queries
    assert plain.question == 'What is it? There are several options:\nA. a cat\nB. two dogs\nC. a cup'
    assert hinted.question.startswith('It barks. What is it? There are several options:\nA. a cat\n')
    assert hinted.question.endswith('\nD. a bus')
    assert plain.id == '7'


def test_an_option_may_be_none(tmp_path):
    (item,) = task_of(MMBench, tmp_path, [mmbench(1, 'C', B='None', hint='None')]).queries
    assert item.question == 'What is it? There are several options:\nA. a cat\nB. None\nC. a cup'
    assert item.references == 'C'


def test_mmbench_by_category_and_its_file(tmp_path):
    records = [mmbench(1), mmbench(2, 'A'), mmbench(3, 'C', category='scene')]
    task = task_of(MMBench, tmp_path, records)
    scores = scored(task, ['B', 'two dogs', 'a cup'])
    assert scores.figures['accuracy'] == pytest.approx(100 * 2 / 3)
    assert scores.groups['category'] == {'object': 50.0, 'scene': 100.0}
    assert scores.items == (100.0, 0.0, 100.0)
    rows = task.files(task.queries, [Answer('B')] * 3)['submission.json']
    assert [(row['index'], row['prediction'], row['A']) for row in rows] == [(n, 'B', 'a cat') for n in (1, 2, 3)]


def test_mmbench_without_answers_is_written_and_not_scored(tmp_path):
    task = task_of(MMBench, tmp_path, [{k: v for k, v in mmbench(1).items() if k != 'answer'}])
    assert scored(task, ['B']).figures == {}


def test_how_many_answers_lack_is_logged(tmp_path, monkeypatch):
    logged = []
    monkeypatch.setattr('mmgpt.evaluation.tasks.base.print_log', lambda text, *rest: logged.append(text))
    task = task_of(MMBench, tmp_path, [mmbench(1), mmbench(2, ''), mmbench(3)])
    assert scored(task, ['B'] * 3).figures == {}
    assert logged[0].startswith("mmbench: 1 of 3 queries have no reference, such as '2'")


def test_circular_questions_are_right_where_all_rotations_are(tmp_path):
    (tmp_path / 'mmbench.json').write_text(json.dumps([mmbench(1), mmbench(2, 'A')]))
    task = MMBench(str(tmp_path / 'mmbench.json'), circular=True)
    assert len(task.queries) == 6
    texts = [item.about['options']['ABC'.index(item.references)] for item in task.queries]
    assert texts == ['two dogs'] * 3 + ['a cat'] * 3
    # the first is known, the second guessed by its place
    scores = scored(task, ['two dogs', 'two dogs', 'two dogs', 'A', 'A', 'A'])
    assert scores.figures['accuracy'] == 50.0
    assert scores.figures['single_accuracy'] == pytest.approx(100 * 4 / 6)
    assert scores.items == (100.0, None, None, 0.0, None, None)  # two questions, for who compares runs
    assert len(task.files(task.queries, [Answer('A')] * 6)['submission.json']) == 2


def test_the_rotations_of_a_question_are_drawn_together(tmp_path):
    (tmp_path / 'mmbench.json').write_text(json.dumps([mmbench(number) for number in range(6)]))
    evaluation = Evaluation(dict(type='MMBench', records=str(tmp_path / 'mmbench.json'), circular=True), num_samples=7)
    drawn = [item.about['index'] for item in evaluation.queries(0)]
    assert [drawn.count(index) for index in set(drawn)] == [3, 3]


def test_seed_ranks_lettered_options_by_dimension(tmp_path):
    record = {'question_id': '1', 'question': 'How many?', 'answer': 'b', 'question_type_id': 5, 'data_id': 'x.jpg'}
    record |= {f'choice_{letter}': text for letter, text in zip('abcd', ('one', 'two', 'three', 'four'))}
    task = task_of(SeedBench, tmp_path, {'questions': [record, {**record, 'question_id': '2', 'answer': 'A'}]})
    item = task.queries[0]
    assert isinstance(task.answering, Ranking)
    assert item.choices == ('A. one', 'B. two', 'C. three', 'D. four')
    assert item.question == 'How many? There are several options: A. one B. two C. three D. four'
    scores = task.score(task.queries, [Answer('B. two')] * 2)
    assert scores.figures == {'accuracy': 50.0}
    assert scores.groups == {'dimension': {'5': 50.0}}


@pytest.mark.parametrize(
    ('reply', 'letter'),
    [
        ('The answer is B.', 'B'),
        ('I think the answer is (C), since A is red', 'C'),
        ('the answer is: A', 'A'),
        ('The answer is a tulip.', 'B'),  # the a is an article
        ('It is a violet flower', 'C'),
        ('D', None),  # there is no such option
        ('Perhaps B or C', 'B'),
        ('The answer is Blue', 'B'),  # no letter by itself; the first letter found
        ('none', None),
    ],
)
def test_scienceqa_looks_for_its_form_then_texts_then_letters(tmp_path, reply, letter):
    record = {'question': 'Which?', 'choices': ['rose', 'tulip', 'violet'], 'answer': 0, 'subject': 'biology'}
    task = task_of(ScienceQA, tmp_path, [record])
    assert task.chosen(task.queries[0], reply) == letter


def test_scienceqa_with_and_without_pictures(tmp_path):
    record = {'question': 'Which?', 'choices': ['rose', 'tulip'], 'answer': 1, 'image': None}
    records = [record, {**record, 'image': 'x.png', 'answer': 0}]
    task = task_of(ScienceQA, tmp_path, records)
    assert task.queries[0].question.endswith('Which?\nA. rose\nB. tulip\n')
    assert task.queries[0].media == ()
    scores = scored(task, ['The answer is B.', 'The answer is B.'])
    assert scores.groups['pictured'] == {'with a picture': 0.0, 'without': 100.0}
    assert len(ScienceQA(str(tmp_path / 'records.json'), with_picture_only=True).queries) == 1


def test_magnifier_has_its_options_in_the_instruction(tmp_path):
    text = 'How many cups are on the table? A. One, B. Two or more, C. None, D. Not to be seen.'
    task = task_of(MagnifierBench, tmp_path, [{'id': 'a', 'instruction': text, 'answer': 'B', 'images': []}])
    (item,) = task.queries
    assert item.about['options'] == ['One', 'Two or more', 'None', 'Not to be seen']
    assert (item.question, item.about['stem']) == (text, 'How many cups are on the table?')
    assert scored(task, ['B. Two or more']).figures['accuracy'] == 100.0


@pytest.mark.parametrize(
    ('kind', 'record', 'said'),
    [
        (MMBench, mmbench(1, 'E'), "'answer' should be one of ABC, got 'E'"),
        (MMBench, mmbench(1, B='', C=''), "at least the options 'A' and 'B'"),
        (ScienceQA, {'question': 'Q?', 'choices': ['x', 'y'], 'answer': 2}, "a place in 'choices', from 0; got 2"),
        (ScienceQA, {'question': 'Q?', 'choices': 'xy', 'answer': 0}, "'choices' must be a list of options"),
        (MagnifierBench, {'instruction': 'How many?', 'answer': 'A'}, 'should end with options such as'),
        (MagnifierBench, {'instruction': 'How? A. x, B. y', 'answer': 'C'}, "must be one of 'a', 'b'; got 'C'"),
        (SeedBench, {'question_id': 1, 'question': 'Q?', 'choice_a': 'x'}, "lacks 'choice_b'"),
    ],
)
def test_a_faulty_record_is_told(tmp_path, kind, record, said):
    with pytest.raises(ValueError, match=said):
        _ = task_of(kind, tmp_path, [record]).queries


@pytest.mark.parametrize(
    ('text', 'parts'),
    [
        ('Which U.S.A. state is it? A. Texas, B. Ohio', ('Which U.S.A. state is it?', ['Texas', 'Ohio'])),
        ('How many?A. one.B. two', ('How many?', ['one', 'two'])),
        ('Is it a plan B) or not? A) yes, B) no', ('Is it a plan B) or not?', ['yes', 'no'])),
    ],
)
def test_letters_of_a_question_are_no_options(text, parts):
    assert split_options(text) == parts

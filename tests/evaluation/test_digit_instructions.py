"""The second demo's evaluation: figures that follow the answers, and a dialogue that goes on from the model's own."""

from __future__ import annotations

import json

import pytest

from mmgpt.data.builders.digit_instructions import SMALLER, WORDS
from mmgpt.data.builders.digit_pictures import load_digit_pictures
from mmgpt.evaluation import digit_instructions
from mmgpt.evaluation.digit_instructions import DigitInstructionsEvaluation, make_questions, make_talks
from mmgpt.hub.messages import read_messages
from mmgpt.registry import TASKS

pytest.importorskip('sklearn', reason='pip install "mmgpt[demo]" brings scikit-learn')


class Named:
    """Stands for a model and for its processor."""

    def __init__(self, name):
        self.name = name

    def parameters(self):
        return iter([self])

    device = 'cpu'


@pytest.fixture
def answers(monkeypatch):
    """Sets what the tuned model and its base answer, as functions of the conversation; keeps what was asked."""
    by_model, asked = {}, {'tuned': [], 'base': []}

    def answer(model, processor, conversations, batch_size):
        assert model.name == processor.name
        asked[model.name] += conversations
        return [by_model[model.name](conversation) for conversation in conversations]

    monkeypatch.setattr(digit_instructions, 'answer', answer)
    monkeypatch.setattr(digit_instructions, 'load_folder', lambda folder, device: (Named(folder), Named(folder)))
    by_model['asked'] = asked
    return by_model


def run(tmp_path, limit=None, episodes=12):
    task = DigitInstructionsEvaluation(base='base', episodes=episodes)
    return task, task(Named('tuned'), Named('tuned'), tmp_path, limit)


def text_of(message):
    return next(part['text'] for part in message['content'] if part['type'] == 'text')


def test_figures_follow_the_answers(answers, tmp_path, capsys):
    answers['tuned'] = lambda conversation: '7'
    answers['base'] = lambda conversation: 'first'
    task, metrics = run(tmp_path)
    labels = load_digit_pictures(held_out=True).labels
    questions = make_questions(load_digit_pictures(held_out=True), 12, 0)
    first = sum(question.expected == 'first' for question in questions['smaller']) / 12
    assert metrics['reading'] == pytest.approx((labels == 7).mean())
    assert metrics['spelling'] == metrics['smaller'] == metrics['naming']['4'] == 0
    assert metrics['base']['smaller'] == pytest.approx(first)
    assert metrics['gain'] == pytest.approx(-first)
    assert metrics['compared_on'] == 'smaller'
    assert metrics['counts']['dialogue'] == dict.fromkeys(('first', 'second', 'third'), 12)
    assert metrics['counts']['reading'] == metrics['counts']['spelling'] == 360
    assert 'text' not in metrics['base']
    assert 'dialogue/third' in capsys.readouterr().out
    lines = [json.loads(line) for line in (tmp_path / 'predictions.jsonl').read_text().splitlines()]
    assert all(line['correct'] == (line['answer'] == line['expected']) for line in lines)
    sevens = [line for line in lines if line['task'] == 'reading' and line['model'] == 'tuned' and line['correct']]
    assert len(sevens) == (labels == 7).sum()
    rows = task.results(metrics)
    assert [row['shots'] for row in rows['naming']] == [2, 4]
    assert rows['dialogue_third'][0]['mean'] == metrics['dialogue']['third']


def test_a_dialogue_goes_on_from_the_models_own_answers(answers, tmp_path):
    answers['tuned'] = lambda conversation: f'answer {len(conversation)}'
    answers['base'] = lambda conversation: ''
    run(tmp_path, limit=3)
    dialogues = [c for c in answers['asked']['tuned'] if len(c) == 5 and 'called' not in text_of(c[0])]
    assert len(dialogues) == 3
    for conversation in dialogues:
        assert [message['role'] for message in conversation] == ['user', 'assistant'] * 2 + ['user']
        assert [message['content'] for message in conversation[1::2]] == ['answer 1', 'answer 3']


def test_limit(answers, tmp_path):
    answers['tuned'] = answers['base'] = lambda conversation: ''
    _, metrics = run(tmp_path, limit=4)
    assert metrics['counts']['reading'] == metrics['counts']['text'] == metrics['counts']['dialogue']['third'] == 4


def test_questions_are_those_of_the_pictures():
    digits = load_digit_pictures(held_out=True)
    digit_of = {picture.tobytes(): int(label) for picture, label in zip(*digits, strict=True)}
    questions = make_questions(digits, 40, seed=0)
    for (message,), expected in questions['smaller']:
        (turn,) = read_messages([message])
        first, second = (digit_of[part['image'].tobytes()] for part in message['content'][:2])
        assert turn.text == SMALLER
        assert len(turn.media) == 2
        assert expected == ('same' if first == second else 'first' if first < second else 'second')
    for (message,), expected in questions['spelling']:
        assert expected == WORDS[digit_of[message['content'][0]['image'].tobytes()]]
    inputs = [read_messages(question.messages)[0].input for question in questions['text']]
    assert any(inputs)
    assert not all(inputs)


def test_same_seed_same_questions():
    digits = load_digit_pictures(held_out=True)
    assert make_talks(digits, 5, 0) == make_talks(digits, 5, 0) != make_talks(digits, 5, 1)
    assert make_questions(digits, 5, 0) == make_questions(digits, 5, 0) != make_questions(digits, 5, 1)


def test_unknown_arguments_are_refused():
    with pytest.raises(ValueError, match='at least 1'):
        DigitInstructionsEvaluation(base='base', episodes=0)
    assert TASKS.get('DigitInstructionsEvaluation') is DigitInstructionsEvaluation

"""The second demo's instructions: right answers, dialogues that refer back, text that is held out."""

from __future__ import annotations

import numpy as np
import pytest

from mmgpt.data.builders.digit_instructions import (
    SMALLER,
    WORDS,
    draw_talk,
    smaller,
    spelling,
    talks,
    text_instructions,
)
from mmgpt.data.builders.digit_pictures import load_digit_pictures
from mmgpt.data.builders.digit_tasks import image_id

pytest.importorskip('sklearn', reason='pip install "mmgpt[demo]" brings scikit-learn')


@pytest.fixture(scope='module')
def digits():
    return load_digit_pictures()


@pytest.fixture(scope='module')
def shown(digits):
    """Image id -> the digit it shows."""
    return {image_id(index): int(label) for index, label in enumerate(digits.labels)}


def test_smaller(digits, shown):
    task = smaller(digits, np.random.default_rng(0), 60)
    answers = set()
    for record in task.records.values():
        first, second = (shown[image] for image in record['image_ids'])
        assert record['instruction'] == SMALLER
        assert record['answer'] == ('same' if first == second else 'first' if first < second else 'second')
        answers.add(record['answer'])
    assert answers == {'first', 'second', 'same'}
    assert set(task.contexts) == set(task.records)


def test_spelling(digits, shown):
    records = spelling(digits).records.values()
    assert len(records) == len(digits.labels)
    assert all(record['answer'] == WORDS[shown[record['image_ids'][0]]] for record in records)


def test_the_last_round_of_a_dialogue_refers_back(digits, shown):
    task = talks(digits, np.random.default_rng(0), 80)
    asked = set()
    for last, context in task.contexts.items():
        rounds = [task.records[id] for id in (*context, last)]
        seen = [shown[image] for record in rounds for image in record['image_ids']]
        assert len(rounds) == 3
        assert rounds[2]['image_ids'] == []
        expected = {
            'Which digit was it?': seen[0],
            'Which digit was the first one?': seen[0],
            'Which of the two is larger?': max(seen),
            'Which of the two is smaller?': min(seen),
        }
        assert rounds[2]['answer'] == str(expected[rounds[2]['instruction']])
        asked.add(rounds[2]['instruction'])
        assert rounds[0]['answer'] == str(seen[0])
        if rounds[1]['image_ids']:
            assert rounds[1]['answer'] == str(seen[1])
        else:
            assert rounds[1]['answer'] == ('yes' if seen[0] % 2 == 0 else 'no')
    assert len(asked) == 4


def test_a_dialogue_shows_different_digits(digits):
    rng = np.random.default_rng(1)
    for _ in range(50):
        pictures = [index for turn in draw_talk(digits, rng) for index in turn.pictures]
        assert len({int(digits.labels[index]) for index in pictures}) == len(pictures)


def test_text_instructions_are_right_and_pairs_are_held_out():
    trained, held_out = text_instructions(), text_instructions(held_out=True)
    assert not set(trained) & set(held_out)
    assert len(held_out) >= 80
    for text in held_out:
        a, b = (int(word) for word in (text.input or text.instruction[:-1].partition(', ')[2]).split(' or '))
        kind = 'larger' if 'larger' in text.instruction else 'smaller' if 'smaller' in text.instruction else 'first'
        assert text.output == str({'larger': max(a, b), 'smaller': min(a, b), 'first': a}[kind])
    assert {text.instruction for text in held_out if text.input} < {text.instruction for text in trained}

import json
import pickle

import numpy as np
import pytest

from mmgpt.data.image_stores import FolderImages
from mmgpt.data.sources import Llava
from mmgpt.structures import Medium, Sample, Turn

MESSAGES = [
    ('human', '<image>\nWhat is on\n the tray?'),
    ('gpt', 'Bread\nand fruit.'),
    ('human', 'Is it hot?\n<image>'),
    ('gpt', 'It looks cold.'),
    ('human', 'Sure?'),
    ('gpt', 'Yes.'),
]


def record(messages=MESSAGES, **fields):
    conversations = [{'from': role, 'value': text} for role, text in messages]
    return {'id': '9', 'image': '000000000009.jpg', 'conversations': conversations, **fields}


@pytest.fixture
def images(tmp_path):
    (tmp_path / 'train2017').mkdir()
    return FolderImages(tmp_path / 'train2017')


def write(folder, *records, name='llava.json'):
    (folder / name).write_text(json.dumps(list(records)))
    return folder / name


def test_one_round(tmp_path, images):
    source = Llava([write(tmp_path, record()), write(tmp_path, record(id='10'), name='more.json')], images)
    assert source[0] == Sample(
        id='9',
        turns=(
            Turn('user', 'What is on the tray?', (Medium(('000000000009.jpg',)),)),
            Turn('assistant', 'Bread\nand fruit.'),
        ),
        kind='image',
        source='llava',
    )
    assert len(source) == 2
    assert source.find('10') == source[1]
    assert pickle.loads(pickle.dumps(source))[1] == source[1]


def test_rounds_of_a_dialogue_are_messages_2k_and_2k_plus_1(tmp_path, images):
    (sample,) = Llava(write(tmp_path, record()), images, dialogue=True)
    assert sample.turns == (
        Turn('user', 'What is on the tray?', (Medium(('000000000009.jpg',)),)),
        Turn('assistant', 'Bread\nand fruit.'),
        Turn('user', 'Is it hot?'),
        Turn('assistant', 'It looks cold.'),
        Turn('user', 'Sure?'),
        Turn('assistant', 'Yes.'),
    )


def test_text_only(tmp_path, images):
    assert Llava(write(tmp_path, record(image=None)), images)[0].kind == 'text'
    assert Llava(write(tmp_path, record()))[0].turns[0].media == ()


@pytest.mark.parametrize('sample', [3, 10, 99])
def test_a_sample_is_drawn_once_without_repetition(tmp_path, images, sample):
    path = write(tmp_path, *(record(id=str(i)) for i in range(10)))
    ids = [one.id for one in Llava(path, images, sample=sample)]
    assert len(ids) == len(set(ids)) == min(sample, 10)
    assert ids == [one.id for one in Llava(path, images, sample=sample)]
    if sample < 10:
        assert ids != [one.id for one in Llava(path, images, sample=sample, sample_seed=7)]
    assert Llava(path, images, sample=sample).find('7').id == '7'


def test_it_draws_nothing(tmp_path, images):
    source = Llava(write(tmp_path, record()), images)
    rng = np.random.default_rng(0)
    assert source.draw(0, rng) == source[0]
    assert rng.bit_generator.state == np.random.default_rng(0).bit_generator.state
    with pytest.raises(IndexError):
        source[1]


def test_the_language_of_a_record(tmp_path, images):
    assert Llava(write(tmp_path, record(language='zh')), images)[0].language == 'zh'


@pytest.mark.parametrize(
    ('one', 'message'),
    [
        (record(MESSAGES[:1]), r'llava.json, line 1: record 0: "conversations" should be a list of at least 2 objects'),
        (record(MESSAGES[1:5]), r'"human" and "gpt" in turn, .* \[\'gpt\', \'human\', \'gpt\', \'human\'\]'),
        (record(MESSAGES[:3]), r'ending with "gpt"'),
        (record(image=7), r'"image" should be a string, got 7'),
        (record(id=[1]), r'"id" should be a string or a whole number, got \[1\]'),
        ({'id': '1'}, r'"conversations" should be a list of at least 2 objects, got no such field'),
        (record(conversations=[1, 2]), r'record 0: "conversations"\[0\]: expected an object, got 1'),
        (record([('human', 3), ('gpt', 'a')]), r'"conversations"\[0\]: "value" should be a string, got 3'),
    ],
)
def test_a_record_of_another_form_is_a_fault_with_its_line(tmp_path, images, one, message):
    with pytest.raises(ValueError, match=message):
        Llava(write(tmp_path, one), images, dialogue=True)[0]

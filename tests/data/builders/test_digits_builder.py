"""The files of the digits demo: right answers, no held-out picture, the same from the same seed."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections import defaultdict

import numpy as np
import pytest
from PIL import Image
from transformers import AutoTokenizer

from mmgpt.data.builders import DigitsBuilder, digits
from mmgpt.data.builders.digit_pictures import MAX_COUNT, NUM_TRAIN, compose_picture, load_digit_pictures
from mmgpt.data.builders.digit_tasks import COMPARE, COUNT, LAST, NAME, NAMES, READ, larger_answer
from mmgpt.data.image_stores import ParquetImages
from mmgpt.data.sources import MimicIt
from mmgpt.data.templates import MultiModalGPT, Otter
from mmgpt.data.tokens import add_special_tokens, encode
from mmgpt.structures import IGNORE_INDEX, Medium, Turn

pytest.importorskip('sklearn', reason='pip install "mmgpt[demo]" brings scikit-learn')
TASKS = ('READ', 'CONV', 'CMP', 'VID', 'COUNT', 'TXT', 'NAME', 'SMALL', 'SPELL', 'TALK')


def build(folder, seed=0):
    DigitsBuilder(folder, seed=seed, episodes=150, size=40).build()
    return folder


@pytest.fixture
def folder(digits_files):
    return digits_files


@pytest.fixture(scope='module')
def shown():
    """Image id -> the digit it shows."""
    return {f'DG_IMG_{index:04d}': int(label) for index, label in enumerate(load_digit_pictures().labels)}


def read(folder, task):
    records = json.loads((folder / f'{task}_instructions.json').read_text())['data']
    return records, json.loads((folder / f'{task}_train.json').read_text())


def digests(folder):
    files = sorted(path for path in folder.rglob('*') if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_same_seed_same_files(folder, tmp_path):
    again, other = build(tmp_path / 'again'), build(tmp_path / 'other', seed=1)
    assert digests(again) == digests(folder)
    assert digests(other)['NAME_train.json'] != digests(folder)['NAME_train.json']


def test_pictures_are_the_training_ones(folder):
    from sklearn.datasets import load_digits

    store = ParquetImages(folder / 'DG.parquet')
    single = {key for key in sorted(store.keys()) if re.fullmatch(r'DG_IMG_\d{4}', key)}
    assert single == {f'DG_IMG_{index:04d}' for index in range(NUM_TRAIN)}
    assert NUM_TRAIN == 1437
    for index in (0, 700, 1436):
        expected = (load_digits().images[index] * 255 / 16).round().astype('uint8')
        assert np.array_equal(np.asarray(store.open(f'DG_IMG_{index:04d}'))[..., 0], expected)


def test_held_out_pictures_are_the_last_360():
    from sklearn.datasets import load_digits

    held_out = load_digit_pictures(held_out=True)
    assert len(held_out.pictures) == 360
    expected = (load_digits().images[1437] * 255 / 16).round().astype('uint8')
    assert np.array_equal(np.asarray(held_out.pictures[0]), expected)


@pytest.mark.parametrize('task', TASKS)
def test_every_image_and_every_context_is_there(folder, task):
    store = ParquetImages(folder / 'DG.parquet')
    records, train = read(folder, task)
    source = MimicIt(folder / f'{task}_instructions.json', store, folder / f'{task}_train.json')
    assert len(source) == len(train) > 0
    assert all(key in store for record in records.values() for key in record['image_ids'])
    assert {id for context in train.values() for id in context} <= set(records)


def test_answers_are_right(folder, shown):
    checked = defaultdict(int)
    for task in ('READ', 'CONV', 'CMP', 'VID'):
        for record in read(folder, task)[0].values():
            digits_shown = [shown[key] for key in record['image_ids']]
            question, answer = record['instruction'], record['answer']
            larger = re.fullmatch(r'Is it larger than (\d)\?', question)
            expected = {
                READ: str(digits_shown[0]),
                COMPARE: larger_answer(*digits_shown[:2]) if len(digits_shown) == 2 else None,
                LAST: str(digits_shown[-1]),
                'Which digit comes first?': str(digits_shown[0]),
                'Is it even?': 'yes' if digits_shown[0] % 2 == 0 else 'no',
                'Describe the picture.': f'A handwritten {digits_shown[0]}.',
            }
            if larger:
                expected[question] = 'yes' if digits_shown[0] > int(larger[1]) else 'no'
            assert answer == expected[question], record
            checked[question if not larger else 'larger'] += 1
    assert len(checked) == 7
    assert min(checked.values()) > 5, checked
    assert [larger_answer(3, 2), larger_answer(2, 3), larger_answer(4, 4)] == ['first', 'second', 'same']


def test_names_are_bound_by_the_context_alone(folder, shown):
    records, train = read(folder, 'NAME')
    known, names_of_digit = 0, defaultdict(set)
    for query, context in train.items():
        names = {}
        for id in (*context, query):
            digit = shown[records[id]['image_ids'][0]]
            assert records[id]['instruction'] == NAME
            assert names.setdefault(digit, records[id]['answer']) == records[id]['answer']
            names_of_digit[digit].add(records[id]['answer'])
        assert len(set(names.values())) == len(names)
        pictures = [records[id]['image_ids'][0] for id in (*context, query)]
        assert len(set(pictures)) == len(pictures)
        known += records[query]['answer'] in {records[id]['answer'] for id in context}
    assert known > 0.75 * len(train)
    assert min(map(len, names_of_digit.values())) > 15  # no digit has a name of its own


def test_questions_about_a_picture_of_the_context_can_keep_its_name(folder, tmp_path):
    made = tmp_path / 'whole'
    DigitsBuilder(made, episodes=150, size=40, whole_contexts=True).build()
    (records, whole), (_, train) = read(made, 'NAME'), read(folder, 'NAME')
    again = [id for id in whole if id.endswith('_again')]
    assert 0.1 * len(whole) < len(again) < 0.4 * len(whole)
    for id in again:
        kept = id.removesuffix('_again')
        assert kept in whole[id]
        assert records[kept] == records[id]
    assert {id.removesuffix('_again') for id in whole} >= set(train)
    others = set(digests(made).items()) - set(digests(folder).items())
    assert {name.split('/')[0] for name, _ in others} <= {
        'NAME_instructions.json',
        'NAME_train.json',
        'tokenizer',
        'made_by.json',
    }


def test_rounds_of_a_dialogue_come_in_order_and_share_their_picture(folder):
    records, train = read(folder, 'CONV')
    for last, context in train.items():
        assert [*context, last] == sorted([*context, last])
        assert len(context) == 2
        assert all(records[id]['image_ids'] == records[last]['image_ids'] for id in context)


@pytest.mark.parametrize('count', range(1, MAX_COUNT + 1))
def test_composed_digits_do_not_overlap(count):
    ink = Image.new('L', (8, 8), 255)
    rng = np.random.default_rng(count)
    for _ in range(60):
        picture = np.asarray(compose_picture([ink] * count, rng))
        assert (picture == 255).sum() == 64 * count
        assert (picture > 0).sum() == 64 * count


def test_counts_are_those_of_the_pictures(folder):
    records, _ = read(folder, 'COUNT')
    assert {record['instruction'] for record in records.values()} == {COUNT}
    assert {record['answer'] for record in records.values()} == {str(n) for n in range(1, MAX_COUNT + 1)}
    with pytest.raises(ValueError, match='at most 5 digits, got 6'):
        compose_picture([Image.new('L', (8, 8))] * 6, np.random.default_rng(0))


def test_names(folder):
    assert json.loads((folder / 'names.json').read_text()) == list(NAMES)
    assert len(set(NAMES)) == len(NAMES) >= 30
    assert all(re.fullmatch(r'[a-z]{3,10}', name) for name in NAMES)


@pytest.mark.parametrize(('template', 'length'), [(Otter(), 7), (MultiModalGPT(), 22)])
def test_tokenizer_is_short_on_the_demos_and_loses_nothing(folder, template, length):
    tokenizer = AutoTokenizer.from_pretrained(folder / 'tokenizer')
    add_special_tokens(tokenizer, template)
    ends = 2 if template.stop_token else 1
    for question, answer in ((READ, '7'), (COMPARE, 'same'), *((NAME, name) for name in NAMES)):
        turns = [Turn('user', question, (Medium(('x',)),)), Turn('assistant', answer)]
        tokens = encode(template.render(turns), tokenizer, '<image>')
        trained = tokens.labels[tokens.labels != IGNORE_INDEX]
        assert len(trained) == 1 + ends, (answer, tokenizer.convert_ids_to_tokens(trained.tolist()))
        assert tokenizer.decode(trained, skip_special_tokens=True) == answer
        assert len(tokens.input_ids) <= length
    text = 'Schöne Grüße, what about 42 ☃?'
    assert tokenizer.decode(tokenizer(text, add_special_tokens=False)['input_ids']) == text


def test_answers_have_the_same_ids_in_both_templates(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder / 'tokenizer')
    for template in (Otter(), MultiModalGPT()):
        add_special_tokens(tokenizer, template)
    for answer in ('7', 'first', 'yes', *NAMES):
        turns = [Turn('user', READ, (Medium(('x',)),)), Turn('assistant', answer)]
        first, second = (
            [int(label) for label in encode(template.render(turns), tokenizer, '<image>').labels if label >= 0]
            for template in (Otter(), MultiModalGPT())
        )
        assert first[0] == second[0]


def test_a_broken_build_leaves_nothing(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError('disk full')

    monkeypatch.setattr(digits, 'write_tokenizer', fail)
    builder = DigitsBuilder(tmp_path / 'data', episodes=5, size=5)
    with pytest.raises(OSError, match='disk full'):
        builder.build()
    assert not builder.is_built()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_built_with_other_arguments_is_neither_used_nor_overwritten(folder):
    builder = DigitsBuilder(folder, seed=5)
    assert not builder.is_built()
    with pytest.raises(FileExistsError, match='delete it'):
        builder.build()


def test_the_files_it_names_are_those_it_writes(folder):
    assert {path.name for path in DigitsBuilder(folder).files()} == {path.name for path in folder.iterdir()}


def test_without_scikit_learn_the_message_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, 'sklearn.datasets', None)
    with pytest.raises(ImportError, match=r'pip install "mmgpt\[demo\]"'):
        DigitsBuilder(tmp_path / 'data').build()

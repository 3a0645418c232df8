"""The files of the characters demo: right answers, nothing held out, the same from the same seed."""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter, defaultdict

import numpy as np
import pytest
from transformers import AutoTokenizer

from mmgpt.data.builders import CharactersBuilder
from mmgpt.data.builders.character_pictures import (
    FACES,
    HELD_OUT_FACE,
    HELD_OUT_SCRIPTS,
    MAX_COUNT,
    SIDE,
    TRAINED_FACES,
    draw_letter,
    draw_word,
    held_out_letters,
    scatter_letters,
    script_of,
    trained_letters,
)
from mmgpt.data.builders.character_tasks import (
    COUNT,
    NAME,
    PLACES,
    READ,
    SPOT,
    WORD,
    episode_faces,
    naming,
    words,
    zipf,
)
from mmgpt.data.builders.digit_tasks import NAMES
from mmgpt.data.image_stores import ParquetImages
from mmgpt.data.sources import MimicIt
from mmgpt.data.templates import Otter
from mmgpt.data.tokens import add_special_tokens, encode
from mmgpt.structures import IGNORE_INDEX, Medium, Turn

TASKS = ('READ', 'WORD', 'COUNT', 'SPOT', 'NAME')
SMALL = dict(episodes=150, size=40)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('characters') / 'data'
    CharactersBuilder(folder, **SMALL).build()
    return folder


def read(folder, task):
    records = json.loads((folder / f'{task}_instructions.json').read_text())['data']
    return records, json.loads((folder / f'{task}_train.json').read_text())


def shown(image):
    """The letter and the face of a picture's id."""
    letter, face = re.fullmatch(r'CH_IMG_([0-9A-F]{4})_(\d\d)', image).groups()
    return chr(int(letter, 16)), int(face)


def test_letters_are_in_one_part_each():
    trained, validation, held_out = map(set, (trained_letters(), trained_letters(validation=True), held_out_letters()))
    assert len(held_out) == 202
    assert {script_of(letter) for letter in held_out} == set(HELD_OUT_SCRIPTS)
    assert {script_of(letter) for letter in trained | validation} == {'LATIN', 'CYRILLIC'}
    assert not trained & validation
    assert len(trained) > 800
    assert len(validation) > 80
    assert all(unicodedata.category(letter)[0] == 'L' for letter in trained | validation | held_out)
    assert set('ABCDEFGHIJKLMNOPQRSTUVWXYZ') <= trained


def test_letters_that_are_trained_on_look_different():
    looks = {
        b''.join(draw_letter(letter, face).tobytes() for face in range(len(FACES))) for letter in trained_letters()
    }
    assert len(looks) == len(trained_letters())
    assert '\N{CYRILLIC CAPITAL LETTER O}' not in trained_letters()  # drawn as Latin's


@pytest.mark.parametrize('part', [trained_letters, held_out_letters])
def test_letters_are_whole_in_their_pictures(part):
    for letter in part()[::7]:
        picture = draw_letter(letter, HELD_OUT_FACE)
        assert picture.size == (SIDE, SIDE)
        assert picture.getbbox() is not None
        faces = [draw_letter(letter, face).tobytes() for face in range(len(FACES))]
        assert len(set(faces)) > 6  # of some, two faces are alike


def test_words_are_whole_and_no_word_is_in_both_parts():
    trained, held_out = words(), words(held_out=True)
    assert not set(trained) & set(held_out)
    assert 0.15 < len(held_out) / (len(trained) + len(held_out)) < 0.25
    for place in range(3):  # no letter is new at its place
        assert {word[place] for word in held_out} == {word[place] for word in trained}
    for face in range(len(FACES)):
        picture = np.asarray(draw_word('MAW', face))
        assert picture[:, [0, -1]].max() < 64  # the blurred edge at most
        assert picture.shape[0] == SIDE


@pytest.mark.parametrize('count', range(1, MAX_COUNT + 1))
def test_scattered_letters_do_not_touch(count):
    rng = np.random.default_rng(count)
    alone = (np.asarray(scatter_letters('I', [0], rng)) > 0).sum()
    for _ in range(30):
        assert (np.asarray(scatter_letters('I' * count, [0] * count, rng)) > 0).sum() == count * alone
    with pytest.raises(ValueError, match='at most 5 scattered letters, got 6'):
        scatter_letters('ABCDEF', [0] * 6, rng)


@pytest.mark.parametrize('task', TASKS)
def test_every_image_and_every_context_is_there_and_nothing_is_held_out(folder, task):
    store = ParquetImages(folder / 'CH.parquet')
    records, train = read(folder, task)
    source = MimicIt(folder / f'{task}_instructions.json', store, folder / f'{task}_train.json')
    assert len(source) == len(train) > 0
    images = {key for record in records.values() for key in record['image_ids']}
    assert all(key in store for key in images)
    assert {id for context in train.values() for id in context} <= set(records)
    letters = set(trained_letters())
    for image in images:
        if 'word' not in image and 'scattered' not in image:
            assert shown(image)[0] in letters
            assert shown(image)[1] != HELD_OUT_FACE
    if task == 'WORD':
        assert {record['answer'] for record in records.values()} <= set(words())


def test_answers_are_right(folder):
    store = ParquetImages(folder / 'CH.parquet')
    for record in read(folder, 'READ')[0].values():
        assert record['instruction'] == READ
        assert shown(record['image_ids'][0])[0] == record['answer']
    for record in read(folder, 'SPOT')[0].values():
        assert record['instruction'] == SPOT
        letters, faces = zip(*map(shown, record['image_ids']), strict=True)
        assert [letters.count(letter) for letter in letters].index(1) == PLACES.index(record['answer'])
        assert len(set(faces)) == 3
    for record in read(folder, 'WORD')[0].values():
        assert record['instruction'] == WORD
        picture = np.asarray(store.open(record['image_ids'][0]))[..., 0]
        drawn = [np.asarray(draw_word(record['answer'], face)) for face in TRAINED_FACES]
        assert any(np.array_equal(picture, one) for one in drawn)
    counts = [record['answer'] for record in read(folder, 'COUNT')[0].values()]
    assert set(counts) == {str(n) for n in range(1, MAX_COUNT + 1)}
    assert {record['instruction'] for record in read(folder, 'COUNT')[0].values()} == {COUNT}


def test_names_are_bound_by_the_context_alone(folder):
    records, train = read(folder, 'NAME')
    names_of_letter, alone, again = defaultdict(set), 0, 0
    for query, context in train.items():
        names, pictures = {}, [records[id]['image_ids'][0] for id in (*context, query)]
        for id, image in zip((*context, query), pictures, strict=True):
            letter = shown(image)[0]
            assert records[id]['instruction'] == NAME
            assert names.setdefault(letter, records[id]['answer']) == records[id]['answer']
            names_of_letter[letter].add(records[id]['answer'])
        assert len(set(names.values())) == len(names)
        shown_again = query.endswith('_again')
        assert len(set(pictures)) == len(pictures) - shown_again
        assert (pictures[-1] in pictures[:-1]) == shown_again
        assert records[query]['answer'] in {records[id]['answer'] for id in context}
        faces = [shown(image)[1] for image in pictures]
        alone += faces[-1] not in faces[:-1]
        again += shown_again
    assert alone >= 0.3 * len(train)
    assert 0.15 * len(train) < again < 0.35 * len(train)
    assert sum(len(names) > 1 for names in names_of_letter.values()) > 0.2 * len(names_of_letter)


def test_some_letters_are_named_often_and_most_rarely():
    letters = trained_letters()
    records = naming(letters, np.random.default_rng(0), 2000).records.values()
    count = Counter(shown(record['image_ids'][0])[0] for record in records)
    often = [number for _, number in count.most_common()]
    assert len(count) > 0.85 * len(letters)
    assert sum(often[:20]) > 0.25 * sum(often)


def test_zipf_shares_are_of_1_over_the_rank():
    shares = zipf(50, np.random.default_rng(0))
    assert shares.sum() == pytest.approx(1)
    ranked = np.sort(shares)[::-1]
    np.testing.assert_allclose(ranked[0] / ranked, np.arange(1, 51))
    assert not np.array_equal(shares, ranked)


def test_no_letter_is_shown_twice_in_a_face():
    rng = np.random.default_rng(0)
    for _ in range(200):
        places = [*rng.permutation(np.repeat([0, 1], 5)), 0]
        pairs = list(zip(places, episode_faces(places, rng), strict=True))
        assert len(set(pairs)) == len(pairs)


def test_tokenizer_has_every_letter_and_name(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder / 'tokenizer')
    add_special_tokens(tokenizer, Otter())
    for question, answers in ((READ, trained_letters()[::20]), (NAME, NAMES), (WORD, words(held_out=True)[::50])):
        for answer in answers:
            turns = [Turn('user', question, (Medium(('x',)),)), Turn('assistant', answer)]
            tokens = encode(Otter().render(turns), tokenizer, '<image>')
            trained = tokens.labels[tokens.labels != IGNORE_INDEX]
            assert len(trained) == (len(answer) if question == WORD else 1) + 2
            assert tokenizer.decode(trained, skip_special_tokens=True) == answer
            assert len(tokens.input_ids) <= 9


def test_same_seed_same_files(folder, tmp_path):
    def digests(folder):
        files = [path for path in folder.rglob('*') if path.is_file() and '.mmgpt' not in path.parts]
        return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}

    CharactersBuilder(tmp_path / 'again', **SMALL).build()
    assert digests(tmp_path / 'again') == digests(folder)
    assert {path.name for path in CharactersBuilder(folder).files()} <= {path.name for path in folder.iterdir()}
    assert CharactersBuilder(folder, **SMALL).is_built()
    other = CharactersBuilder(folder, seed=5, **SMALL)
    assert not other.is_built()
    with pytest.raises(FileExistsError, match='delete it'):
        other.build()


def test_unusable_arguments_are_refused(tmp_path):
    with pytest.raises(ValueError, match='at least 1'):
        CharactersBuilder(tmp_path, episodes=0)

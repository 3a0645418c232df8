"""What is shown before a query: drawn, fixed, similar, in groups; the same for the same seed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from mmgpt.data.incontext import write_features
from mmgpt.evaluation import Item
from mmgpt.registry import DEMONSTRATIONS
from mmgpt.structures import Medium

QUERIES = [Item(f'q{n}', about={'kind': n % 2}) for n in range(6)]
POOL = [Item(n, answer=str(n), about={'kind': n % 2, 'pair': n // 2}) for n in range(40)]


def choose(how, shots=4, seed=0, queries=QUERIES, pool=POOL):
    return DEMONSTRATIONS.build(how).choose(queries, pool, shots, seed)


def test_random_ones_differ_by_query_and_are_those_of_the_seed():
    chosen = choose(dict(type='Random'))
    assert len({tuple(places) for places in chosen}) == len(QUERIES)
    assert all(len(set(places)) == 4 for places in chosen)
    assert chosen == choose(dict(type='Random'))
    assert chosen != choose(dict(type='Random'), seed=1)


def test_random_ones_are_drawn_from_a_pool_that_is_drawn_once():
    chosen = choose(dict(type='Random', pool_size=5), queries=QUERIES * 50)
    assert len({place for places in chosen for place in places}) == 5


def test_random_ones_may_have_to_agree_with_the_query():
    for query, places in zip(QUERIES, choose(dict(type='Random', same='kind')), strict=True):
        assert {POOL[place].about['kind'] for place in places} == {query.about['kind']}
    with pytest.raises(ValueError, match="of the item 'q0' must be known its 'colour', and its task tells 'kind'"):
        choose(dict(type='Random', same='colour'), pool=[Item(0, about={'colour': 1})] * 4)
    with pytest.raises(ValueError, match='4 demonstrations are to be shown, and there are 3 to choose from'):
        choose(dict(type='Random', same='kind'), pool=POOL[:6])


def test_fixed_ones_are_the_same_for_all():
    chosen = choose(dict(type='Fixed'))
    assert all(places == chosen[0] for places in chosen)
    assert choose(dict(type='Fixed', ids=[7, 3, 9]), shots=2) == [[7, 3]] * len(QUERIES)
    with pytest.raises(ValueError, match="'x' is the id of none of the 40 items"):
        choose(dict(type='Fixed', ids=['x']), shots=1)


def test_from_a_file_for_all_or_for_each(tmp_path):
    path = tmp_path / 'shown.json'
    path.write_text(json.dumps([5, 6, 7]))
    assert choose(dict(type='FromFile', path=str(path)), shots=2) == [[5, 6]] * len(QUERIES)
    path.write_text(json.dumps({query.id: [number, 30] for number, query in enumerate(QUERIES)}))
    assert choose(dict(type='FromFile', path=str(path)), shots=2) == [[n, 30] for n in range(len(QUERIES))]
    with pytest.raises(ValueError, match='3 demonstrations are to be shown, and it lists 2'):
        choose(dict(type='FromFile', path=str(path)), shots=3)
    for value, told in ((3, '3'), (None, 'None'), ({'a': [5], 'b': 'five'}, 'five')):
        path.write_text(json.dumps(value))
        with pytest.raises(ValueError, match=f"an object with such a list .* in place of a list it has '{told}'"):
            choose(dict(type='FromFile', path=str(path)), shots=1)


def test_the_most_similar_picture_comes_last_and_the_query_is_not_shown_to_itself(tmp_path):
    rng = np.random.default_rng(0)
    known = rng.normal(size=(12, 8))
    asked = known[:3] + 0.01 * rng.normal(size=(3, 8))
    write_features(tmp_path / 'pool', [([f'p{n}.jpg' for n in range(12)], known)])
    write_features(tmp_path / 'asked', [([f'q{n}.jpg' for n in range(3)], asked)])
    pool, queries = pictures('p', 12), pictures('q', 3)
    how = dict(type='Rices', features=[str(tmp_path / 'pool'), str(tmp_path / 'asked')])
    unit = known / np.linalg.norm(known, axis=1, keepdims=True)
    for number, places in enumerate(choose(how, 4, queries=queries, pool=pool)):
        similar = unit @ asked[number]
        assert places == np.argsort(similar)[-4:].tolist()
        assert places[-1] == number
    assert all(n not in places for n, places in enumerate(choose(how, 4, queries=pool, pool=pool)))
    with pytest.raises(ValueError, match=r'no features of x0\.jpg'):
        choose(how, 4, queries=pictures('x', 1), pool=pool)


def pictures(name, count):
    return [Item(n, media=(Medium((f'/data/{name}{n}.jpg',)),)) for n in range(count)]


def test_a_query_is_never_among_its_own_demonstrations():
    items = [Item(n, 'What is it?', media=(Medium((f'{n}.jpg',)),)) for n in range(5)]
    again = [Item(f'again {item.id}', item.question, media=item.media) for item in items]
    for seed in range(20):
        for queries in (items, again):
            for number, places in enumerate(choose(dict(type='Random'), 4, seed, queries, items)):
                assert sorted(places) == [place for place in range(5) if place != number]
    with pytest.raises(ValueError, match='there are 4 to choose from'):
        choose(dict(type='Random'), 5, 0, items, items)


def test_similar_pictures_are_those_of_a_full_sort_and_never_the_query(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.integers(-1, 2, (60, 3)).astype(np.float32)  # many are equally similar
    features[~features.any(1)] = 1
    write_features(tmp_path / 'f', [([f'{n}.jpg' for n in range(60)], features)])
    items = [Item(n, 'What is it?', media=(Medium((f'{n}.jpg',)),)) for n in range(60)]
    again = [Item(f'again {item.id}', item.question, media=item.media) for item in items]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    kept = unit.astype(np.float16).astype(np.float32)
    for number, places in enumerate(choose(dict(type='Rices', features=str(tmp_path / 'f')), 7, 0, again, items)):
        assert number not in places
        assert len(set(places)) == 7
        told = (kept[number] @ kept[places].T).tolist()
        assert told == sorted(told)
        assert max(kept[number] @ kept[[p for p in range(60) if p not in (*places, number)]].T) <= told[0] + 1e-6


def test_pictures_of_one_name_in_two_folders_keep_their_features(tmp_path):
    for part, turn in (('train', 0), ('val', 1)):
        described = np.roll(np.eye(3, dtype=np.float32), -turn, axis=0)
        write_features(tmp_path / part, [([f'{part}/{n}.jpg' for n in range(3)], described)])
    pool = [Item(n, media=(Medium((f'train/{n}.jpg',)),)) for n in range(3)]
    queries = [Item(n, media=(Medium((f'val/{n}.jpg',)),)) for n in range(3)]
    for features in (['train', 'val'], ['val', 'train']):
        how = dict(type='Rices', features=[str(tmp_path / part) for part in features])
        assert choose(how, 1, 0, queries, pool) == [[1], [2], [0]]
    for turn in range(2):  # described apart: both have a 0.jpg
        described = np.roll(np.eye(3, dtype=np.float32), -turn, axis=0)
        write_features(tmp_path / f'part{turn}', [([f'{n}.jpg' for n in range(3)], described)])
    with pytest.raises(ValueError, match=r'other features of 0\.jpg'):
        choose(dict(type='Rices', features=[str(tmp_path / f'part{n}') for n in range(2)]), 1, 0, queries, pool)


def test_those_that_belong_together_are_one_shot():
    for places in choose(dict(type='Together', by='pair'), shots=3):
        assert [place % 2 for place in places] == [0, 1] * 3
        assert [place // 2 for place in places[::2]] == [place // 2 for place in places[1::2]]
    with pytest.raises(ValueError, match='21 demonstrations are to be shown, and there are 20'):
        choose(dict(type='Together', by='pair'), shots=21)


def test_ways_need_so_many_kinds_and_examples():
    query = Item('q', about={'episode': 0, 'way': 'a', 'ways': ['a', 'b']})
    pool = [Item(n, about={'episode': 0, 'way': 'ab'[n % 2]}) for n in range(4)]
    [places] = choose(dict(type='Ways'), 2, queries=[query], pool=pool)
    assert sorted(places) == [0, 1, 2, 3]
    assert choose(dict(type='Ways'), 0, queries=[query], pool=()) == [[]]
    with pytest.raises(ValueError, match='2 kinds are to be shown, and there are 1'):
        choose(dict(type='Ways', ways=3), 1, queries=[query], pool=pool)
    with pytest.raises(ValueError, match='3 demonstrations are to be shown, and there are 2'):
        choose(dict(type='Ways'), 3, queries=[query], pool=pool)
    with pytest.raises(ValueError, match='ways must be at least 1, got 0'):
        choose(dict(type='Ways', ways=0))


@pytest.mark.parametrize('kind', ['Random', 'Fixed'])
def test_a_pool_that_is_too_small_is_told(kind):
    with pytest.raises(ValueError, match='4 demonstrations are to be shown, and there are 3 to choose from'):
        choose(dict(type=kind), pool=POOL[:3])

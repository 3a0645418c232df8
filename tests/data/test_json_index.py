import json
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgpt.data.json_index import JsonObject
from mmgpt.data.key_index import KeyIndex

KEYS = st.text(max_size=6)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(value=st.dictionaries(KEYS, VALUES, max_size=6), ascii=st.booleans(), indent=st.sampled_from([None, 2]))
def test_reads_what_json_reads(tmp_path_factory, value, ascii, indent):
    path = tmp_path_factory.getbasetemp() / 'value.json'
    path.write_text(json.dumps(value, ensure_ascii=ascii, indent=indent), encoding='utf-8')
    data = JsonObject(path)
    assert {key: data[place] for place, key in enumerate(data.keys)} == value
    assert all(data[data.keys.find(key)] == value[key] for key in value)
    assert data.keys.find('no such key') is None


@settings(max_examples=150, deadline=None)
@given(value=st.dictionaries(KEYS, VALUES, max_size=4), cut=st.integers(0, 60), junk=st.text(max_size=2))
def test_damaged_files_give_a_value_or_a_fault_with_its_line(tmp_path_factory, value, cut, junk):
    text = json.dumps(value)
    path = tmp_path_factory.getbasetemp() / 'damaged.json'
    path.write_text(text[:cut] + junk + text[cut + 1 :], encoding='utf-8')
    try:
        data = JsonObject(path)
        for place in range(len(data)):
            data[place]
    except ValueError as error:
        assert f'{path}, line ' in str(error)  # noqa: PT017 (either outcome is right)


def test_the_object_below_a_member(tmp_path):
    path = tmp_path / 'x.json'
    path.write_text('\ufeff{"meta": {"of": [{"data": {}}]},\n "data": {"a": {"b": [1]},\n "c": "d"}}', encoding='utf-8')
    data = JsonObject(path, member='data')
    assert list(data.keys) == ['a', 'c']
    assert data[0] == {'b': [1]}
    assert [data.line(0), data.line(1)] == [2, 3]
    assert list(pickle.loads(pickle.dumps(data)).keys) == ['a', 'c']
    assert pickle.loads(pickle.dumps(data))[1] == 'd'
    with pytest.raises(ValueError, match=r'expected an object with the member "pictures"'):
        JsonObject(path, member='pictures')
    assert list(JsonObject(path, member='pictures', optional=True).keys) == ['meta', 'data']


@pytest.mark.parametrize(
    ('text', 'message'),
    [
        ('', r"line 1: expected an object .* got 'the end of the file'"),
        ('[1]', r'line 1: expected an object'),
        ('{"a": 1,\n"b" 2}', r'line 2: expected a key and a colon'),
        ('{"a": 1\n"b": 2}', r'line 2: expected a comma'),
        ('{"a": 1,}', r'expected a key and a colon'),
        ('{"a": [1, {"b": "c"}', r'expected a value that is closed'),
        ('{"a": nil}', r'expected a value'),
        ('{"a": 1} x', r"expected the end of the file, got 'x'"),
        ('{"a": 1}\n{"a": 2}', r'line 2: expected the end of the file \(a file of JSON lines has to be named .jsonl\)'),
    ],
)
def test_a_fault_names_file_and_line(tmp_path, text, message):
    (tmp_path / 'x.json').write_text(text)
    with pytest.raises(ValueError, match=message):
        JsonObject(tmp_path / 'x.json')


def test_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such file'):
        JsonObject(tmp_path / 'x.json')


@settings(max_examples=100, deadline=None)
@given(keys=st.lists(KEYS, max_size=12), asked=st.lists(KEYS, max_size=6))
def test_key_index_is_a_dict(keys, asked):
    index = KeyIndex(keys)
    known = {key: place for place, key in enumerate(keys)}
    for key in [*keys, *asked]:
        assert index.find(key) == known.get(key)
    assert index.places(KeyIndex(keys + asked)).tolist() == [known.get(key, -1) for key in keys + asked]
    assert list(index) == keys
    assert index.duplicates() == sorted({key for key in keys if keys.count(key) > 1})


def test_key_index_names_what_is_near():
    assert KeyIndex(['XX_IMG_01', 'XX_IMG_02', 'ZZ']).nearest('XX_IMG_01b') == ['XX_IMG_01', 'XX_IMG_02']

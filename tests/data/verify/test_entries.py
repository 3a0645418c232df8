"""JSON files with faults: every entry that is whole is read."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgpt.data.verify.entries import Entries


def read(entries):
    """(key, value) of each entry, None for one that cannot be read."""
    found = []
    for number in range(len(entries)):
        try:
            value = entries.value(number)
        except ValueError:
            value = None
        found.append((entries.keys[number] if entries.keys is not None else None, value))
    return found


@pytest.mark.parametrize(
    ('text', 'options', 'expected', 'slips'),
    [
        ('{"data": {"a": [1], "b": oops, "a": [2]}}', {'member': 'data'}, [('a', [1]), ('b', None), ('a', [2])], 0),
        ('{"a": {"i": "x},\n"b": {"i": "y"}}', {}, [('a', None), ('b', {'i': 'y'})], 0),
        ('{"data": {"a": {"i": 1}, "b": {"i": "cut', {'member': 'data'}, [('a', {'i': 1}), ('b', None)], 0),
        ('{"a": ["x", "b": ["y"]}', {}, [('a', None)], 1),
        ('[{"a": 1}, {"b": 2}]x', {}, [(None, {'a': 1}), (None, {'b': 2})], 1),
        ('[{"a": 1},, {"b": 2},]', {}, [(None, {'a': 1}), (None, {'b': 2})], 2),
        ('{"base64": {"a": "x"}}', {'member': 'base64', 'optional': True}, [('a', 'x')], 0),
        ('{"a": "x"}', {'member': 'base64', 'optional': True}, [('a', 'x')], 0),
        ('{"dat": {}}', {'member': 'data'}, [], 1),
        ('{"a": 1}\n\noops\n{"b": 2}', {'lines': True}, [(None, {'a': 1}), (None, None), (None, {'b': 2})], 0),
        ('{1: 2, "b": 3}', {}, [('', None), ('b', 3)], 0),
        ('', {}, [], 1),
    ],
)
def test_faults_cost_their_own_entry(tmp_path, text, options, expected, slips):
    path = tmp_path / 'file.json'
    path.write_text(text)
    entries = Entries(path, **options)
    assert read(entries) == expected
    assert len(entries.slips) == slips


def test_lines_in_a_file_of_another_name_are_told(tmp_path):
    (tmp_path / 'file.json').write_text('{"a": 1}\n{"a": 2}\n')
    (slip,) = Entries(tmp_path / 'file.json').slips
    assert 'expected the end of the file (a file of JSON lines has to be named .jsonl), got' in slip.message


def test_lines_are_those_of_the_file(tmp_path):
    path = tmp_path / 'file.json'
    path.write_text('{"meta": {},\n"data": {\n"a": 1,\n\n"b":\n2}}')
    entries = Entries(path, member='data')
    assert [entries.line(number) for number in range(2)] == [3, 5]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(value=st.dictionaries(st.text(max_size=4), json_values, max_size=5) | st.lists(json_values, max_size=5))
def test_whole_files_are_read_as_json_reads_them(tmp_path_factory, value):
    path = tmp_path_factory.mktemp('entries') / 'file.json'
    path.write_text(json.dumps({'data': value}, indent=1))
    entries = Entries(path, member='data')
    expected = list(value.items()) if isinstance(value, dict) else [(None, item) for item in value]
    found = [(entries.keys[i] if entries.keys is not None else None, entries.value(i)) for i in range(len(entries))]
    assert found == expected
    assert not entries.slips
    assert json.loads(entries.head + b',\n'.join(map(entries.raw, range(len(entries)))) + entries.tail) == {
        'data': value
    }

import json
import pickle

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmgpt.data.json_index import JsonObject
from mmgpt.data.json_list import JsonLines, JsonList, open_records

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=100, deadline=None)
@given(values=st.lists(VALUES, max_size=6), indent=st.sampled_from([None, 2]), ascii=st.booleans())
def test_reads_what_json_reads(tmp_path_factory, values, indent, ascii):
    path = tmp_path_factory.getbasetemp() / 'list.json'
    path.write_text(json.dumps(values, indent=indent, ensure_ascii=ascii), encoding='utf-8')
    records = JsonList(path)
    assert [records[place] for place in range(len(records))] == values
    path.write_text(json.dumps({'info': values, 'of': values}, indent=indent), encoding='utf-8')
    assert list(JsonList(path, member='of')) == values
    lines = path.with_suffix('.jsonl')
    lines.write_text('\n\n'.join(json.dumps(value, ensure_ascii=ascii) for value in values) + '\n', encoding='utf-8')
    assert list(JsonLines(lines)) == values


@settings(max_examples=100, deadline=None)
@given(values=st.lists(VALUES, max_size=4), cut=st.integers(0, 60), junk=st.text(max_size=2), member=st.booleans())
def test_damaged_files_give_a_value_or_a_fault_with_its_line(tmp_path_factory, values, cut, junk, member):
    text = json.dumps({'of': values} if member else values)
    path = tmp_path_factory.getbasetemp() / 'damaged.json'
    path.write_text(text[:cut] + junk + text[cut + 1 :], encoding='utf-8')
    try:
        list(JsonList(path, 'of' if member else None))
    except ValueError as error:
        assert f'{path}' in str(error)  # noqa: PT017 (either outcome is right)


@pytest.mark.parametrize(
    ('text', 'member', 'message'),
    [
        ('', None, r"line 1: expected a list .* got 'the end of the file'"),
        ('{"a": 1}', None, r'line 1: expected a list'),
        ('[1,\n2 3]', None, r'line 2: expected a comma or the closing \]'),
        ('[1,]', None, 'expected a value'),
        ('[1] 2', None, 'expected the end of the file'),
        ('[1]', 'of', 'expected an object with the list "of"'),
        ('{"on": [], "of": {}}', 'of', r"list \"of\", got one with the members \['on', 'of'\]"),
        ('{"of": []', 'of', 'expected a comma or the closing }'),
        ('{"of": [],}', 'of', 'expected a key and a colon'),
    ],
)
def test_a_fault_names_file_and_line(tmp_path, text, member, message):
    (tmp_path / 'x.json').write_text(text)
    with pytest.raises(ValueError, match=message):
        JsonList(tmp_path / 'x.json', member)


def test_the_form_of_a_file_is_told_by_its_name_and_beginning(tmp_path):
    records = [{'a': {'b': [{'c': []}]}}, {'a': 2}]
    forms = {
        'list.json': (json.dumps(records), None, JsonList),
        'below.json': ('\ufeff ' + json.dumps({'questions': records}), 'questions', JsonList),
        'object.json': (json.dumps(dict(enumerate(records))), None, JsonObject),
        'lines.jsonl': ('\r\n'.join(map(json.dumps, records)), None, JsonLines),
    }
    for name, (text, member, form) in forms.items():
        (tmp_path / name).write_text(text, encoding='utf-8')
        opened = open_records(tmp_path / name, member)
        assert type(opened) is form
        assert list(opened) == records
        assert pickle.loads(pickle.dumps(opened))[1] == {'a': 2}
    (tmp_path / 'bad.jsonl').write_text('{}\n\n{"a": }')
    with pytest.raises(ValueError, match=r'bad.jsonl, line 3: record 1 is not valid JSON'):
        open_records(tmp_path / 'bad.jsonl')[1]
    with pytest.raises(FileNotFoundError, match='a JSON list was expected'):
        open_records(tmp_path / 'no.json')


@pytest.mark.parametrize('count', [0, 1, 50])
def test_kept_indexes_give_the_same_values(tmp_path, monkeypatch, count):
    monkeypatch.setattr('mmgpt.data.cache.SMALL', 0)
    values = [{'number': i, 'text': 'a"b' * i} for i in range(count)]
    forms = {
        'list.json': (values, None),
        'member.json': ({'meta': 1, 'data': values}, 'data'),
        'object.json': ({f'k{i}': value for i, value in enumerate(values)}, None),
    }
    (tmp_path / 'lines.jsonl').write_text('\n'.join(map(json.dumps, values)) + '\n')
    for name, (value, _) in forms.items():
        (tmp_path / name).write_text(json.dumps(value, indent=1))
    for name, member in [('lines.jsonl', None), *((name, member) for name, (_, member) in forms.items())]:
        for _ in range(2):  # made, then loaded
            records = open_records(tmp_path / name, member)
            for same in (records, pickle.loads(pickle.dumps(records))):
                assert [same[i] for i in range(len(same))] == values
    assert list(records.keys) == [f'k{i}' for i in range(count)]
    assert len(list((tmp_path / '.mmgpt').glob('*.index-*-*'))) == 4


def test_a_folder_of_several_splits_is_named_by_a_pattern(tmp_path):
    for split in ('test', 'train'):
        pq.write_table(
            pa.table({'id': [f'{split}{n}' for n in range(2)]}), tmp_path / f'{split}-00000-of-00001.parquet'
        )
    with pytest.raises(ValueError, match=r'has files of test and train: name those .*/train-\*\.parquet'):
        open_records(tmp_path)
    assert [record['id'] for record in open_records(tmp_path / 'train-*.parquet')] == ['train0', 'train1']
    with pytest.raises(FileNotFoundError, match=r'dev-\*.parquet: there is no such'):
        open_records(tmp_path / 'dev-*.parquet')
    (tmp_path / 'test-00000-of-00001.parquet').unlink()
    assert len(open_records(tmp_path)) == 2

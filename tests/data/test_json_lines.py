"""Lines of JSON objects: empty ones are left out, faults are told with their line."""

from __future__ import annotations

import pytest

from mmgpt.data.json_lines import json_lines


def test_objects_come_one_by_one(tmp_path):
    (tmp_path / 'a.jsonl').write_text('{"a": 1}\n\n  \n{"a": 2, "b": 3}', encoding='utf-8')
    lines = json_lines(tmp_path / 'a.jsonl', ['a'])
    assert next(lines) == {'a': 1}
    assert list(lines) == [{'a': 2, 'b': 3}]


@pytest.mark.parametrize(
    ('line', 'told'),
    [
        ('{"a": ', 'a.jsonl, line 3: is no JSON'),
        ('[1]', r'a.jsonl, line 3: expected an object, got list \[1\]'),
        ('{"b": 1}', "a.jsonl, line 3 lacks 'a'; it has 'b'"),
    ],
)
def test_a_fault_is_told_with_its_line(line, told, tmp_path):
    (tmp_path / 'a.jsonl').write_text(f'{{"a": 1}}\n\n{line}\n', encoding='utf-8')
    with pytest.raises(ValueError, match=told):
        list(json_lines(tmp_path / 'a.jsonl', ['a']))

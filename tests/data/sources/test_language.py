import json

import pytest

from mmgpt.data.sources import Alpaca, Baize, Dolly
from mmgpt.structures import Sample, Turn


def write(path, records):
    lines = path.suffix == '.jsonl'
    text = '\n'.join(json.dumps(record, ensure_ascii=False) for record in records) if lines else json.dumps(records)
    path.write_text(text, encoding='utf-8')
    return path


def test_dolly(tmp_path):
    records = [
        {
            'instruction': 'Name the river.',
            'context': 'The Ebro is in Spain.',
            'response': 'The Ebro.',
            'category': 'qa',
        },
        {'instruction': 'Sing.', 'context': '', 'response': 'La, la.', 'category': 'creative_writing'},
    ]
    source = Dolly(write(tmp_path / 'dolly.jsonl', records))
    assert list(source) == [
        Sample(
            id='dolly_0',
            turns=(Turn('user', 'Name the river.', (), 'The Ebro is in Spain.'), Turn('assistant', 'The Ebro.')),
            kind='text',
            source='dolly',
        ),
        Sample(
            id='dolly_1',
            turns=(Turn('user', 'Sing.'), Turn('assistant', 'La, la.')),
            kind='text',
            source='dolly',
        ),
    ]
    assert source.find('dolly_1') == source[1]
    with pytest.raises(KeyError, match="no record 'dolly_2'; did you mean"):
        source.find('dolly_2')


def test_alpaca(tmp_path):
    records = [{'instruction': 'Add.', 'input': '2 and 3', 'output': '5'}, {'instruction': 'Hi', 'output': 'Hello!'}]
    source = Alpaca(write(tmp_path / 'alpaca_gpt4_data.json', records))
    assert [sample.turns for sample in source] == [
        (Turn('user', 'Add.', (), '2 and 3'), Turn('assistant', '5')),
        (Turn('user', 'Hi'), Turn('assistant', 'Hello!')),
    ]


TEA = [('Is tea old?', 'Very.'), ('How old?', 'Some 5000 years.')]


@pytest.mark.parametrize(
    ('ending', 'what'),
    [
        ('\n[|Human|] ', 'the empty turn of the human, as published'),
        ('\n[|Human|]', 'the same, stripped'),
        ('', 'no terminator: the last pair is kept'),
        ('\n[|Human|] And coffee?', 'a last question without a reply is left out'),
    ],
)
def test_baize(tmp_path, ending, what):
    text = 'The conversation between human and AI assistant.\n[|Human|] Is tea old?\n[|AI|] Very.\n'
    text += '[|Human|] How\n old?\n[|AI|] Some 5000\n years.' + ending
    (sample,) = Baize(write(tmp_path / 'baize.json', [{'topic': 'Tea?', 'input': text}]))
    pairs = [turn.text for turn in sample.turns]
    assert pairs == [text for pair in TEA for text in pair], what
    assert [turn.role for turn in sample.turns] == ['user', 'assistant'] * 2


@pytest.mark.parametrize(
    ('kind', 'name', 'records', 'message'),
    [
        (Dolly, 'x.jsonl', [{'response': 'r'}], r'x.jsonl, line 1: record 0: "instruction" should be a string, got no'),
        (Dolly, 'x.jsonl', [{'instruction': 'i', 'response': 7}], '"response" should be a string, got 7'),
        (Dolly, 'x.jsonl', [{'instruction': 'i', 'context': [], 'response': ''}], '"context" should be a string'),
        (Alpaca, 'x.json', [['i', 'o']], r"expected an object, got \['i', 'o'\]"),
        (Alpaca, 'x.json', [{'instruction': 'i', 'input': ''}], '"output" should be a string, got no such field'),
        (Baize, 'x.json', [{'input': 'nothing'}], r'"input" should be a dialogue'),
        (Baize, 'x.json', [{'input': '[|Human|] a[|AI|] b[|AI|] c[|Human|] '}], r'there are \[2\]'),
        (Baize, 'x.json', [{'input': '[|Human|] a[|Human|] b[|AI|] c'}], r'there are \[0, 1\]'),
    ],
)
def test_a_record_of_another_form_is_a_fault_with_its_line(tmp_path, kind, name, records, message):
    with pytest.raises(ValueError, match=message):
        kind(write(tmp_path / name, records))[0]

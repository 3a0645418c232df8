"""Records of a benchmark in every form of file, with pictures in every form."""

import base64
import csv
import json

import pytest

from mmgpt.evaluation.tasks.yes_no import MME, POPE
from tests.conftest import picture_bytes

FIELDS = ('id', 'instruction', 'answer', 'image')


def records(pictures):
    for number, picture in enumerate(pictures):
        for answer in ('Yes', 'No'):
            yield dict(zip(FIELDS, (f'count_{number}', f'Are there {number} cats?', answer, picture)))


def beside(folder):
    (folder / 'pictures').mkdir()
    for number in range(2):
        (folder / f'pictures/{number}.png').write_bytes(picture_bytes(number))
    return ['pictures/0.png', 'pictures/1.png']


def as_text():
    return [base64.b64encode(picture_bytes(number, 32)).decode() for number in range(2)]


def write_list(folder):
    (folder / 'mme.json').write_text(json.dumps(list(records(beside(folder)))))
    return folder / 'mme.json'


def write_lines(folder):
    (folder / 'mme.jsonl').write_text('\n'.join(map(json.dumps, records(as_text()))) + '\n\n')
    return folder / 'mme.jsonl'


def write_object(folder):
    (folder / 'mme.json').write_text(json.dumps({'meta': {}, 'data': list(records(as_text()))}))
    return folder / 'mme.json'


def write_tsv(folder):
    with (folder / 'mme.tsv').open('w', newline='') as file:
        writer = csv.DictWriter(file, FIELDS, delimiter='\t')
        writer.writeheader()
        writer.writerows(records(as_text()))
    return folder / 'mme.tsv'


def write_parquet(folder):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(records([[{'bytes': picture_bytes(number), 'path': None}] for number in range(2)]))
    pq.write_table(pa.Table.from_pylist(rows), folder / 'mme.parquet')
    return folder


@pytest.mark.parametrize('write', [write_list, write_lines, write_object, write_tsv, write_parquet])
def test_each_form_gives_the_same_items(tmp_path, write):
    task = MME(str(write(tmp_path)))
    assert [item.question for item in task.queries] == [f'Are there {n} cats?' for n in (0, 0, 1, 1)]
    assert [item.references for item in task.queries] == ['yes', 'no'] * 2
    assert len({item.id for item in task.queries}) == 4
    shown = [task.open(item.media[0].frames[0]).tobytes() for item in task.queries]
    assert shown[0] == shown[1] != shown[2] == shown[3]
    pictures = [item.about['picture'] for item in task.queries]
    assert pictures[0] == pictures[1] != pictures[2] == pictures[3]


@pytest.mark.parametrize(
    ('name', 'text', 'said'),
    [
        ('mme.json', '{"data": [3]}', r'mme.json, \[0\] should be an object'),
        ('mme.json', '"x"', 'should be a list of records, and is str'),
        (
            'mme.json',
            '[{"id": "count_1", "answer": "Yes"}]',
            r"\[0\] lacks 'instruction' or 'question'; it has id, ans",
        ),
        ('mme.jsonl', '{"id": "count_1"\n', 'line 1: is no JSON'),
        (
            'mme.jsonl',
            '{"id": "count_1", "instruction": "Q?", "answer": "Maybe"}',
            "must be one of 'yes', 'no'; got 'Maybe'",
        ),
        (
            'mme.jsonl',
            '{"id": "cats_1", "instruction": "Q?", "answer": "Yes"}',
            "'cats', the beginning of 'id', is no cat",
        ),
        (
            'mme.jsonl',
            '{"id": "count_1", "category": 3, "instruction": "Q?", "answer": "Yes"}',
            "'3', the beginning of 'id', is no category of MME",
        ),
        (
            'mme.jsonl',
            '{"id": "count_1", "instruction": "Q?", "answer": "Yes", "images": [7]}',
            "'images' should be a file",
        ),
        ('mme.tsv', 'id\tanswer\ncount_1\n', 'line 2 has not as many cells as the first line'),
        ('mme.csv', 'id\n', 'records are read from .json, .jsonl, .tsv, .parquet and .arrow'),
    ],
)
def test_a_faulty_file_is_told_with_its_place(tmp_path, name, text, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=said):
        _ = MME(str(tmp_path / name)).queries


def test_a_table_in_another_encoding_is_told_with_its_name(tmp_path):
    (tmp_path / 'mme.tsv').write_text('id\tanswer\ncount_1\tété\n', 'latin-1')
    with pytest.raises(ValueError, match=r'mme\.tsv, behind line \d, is no TSV in UTF-8: .* decode byte 0xe9'):
        _ = MME(str(tmp_path / 'mme.tsv')).queries


@pytest.mark.parametrize('write', [write_lines, write_object, write_tsv])
def test_a_byte_order_mark_is_passed_over(tmp_path, write):
    path = write(tmp_path)
    path.write_bytes(b'\xef\xbb\xbf' + path.read_bytes())
    assert len(MME(str(path)).queries) == 4


def test_popes_official_files_are_lines_that_are_called_json(tmp_path):
    path = tmp_path / 'coco_pope_random.json'
    record = {'image': 'x.jpg', 'text': 'Is there a dog?', 'label': 'no'}
    path.write_text('\n'.join(json.dumps({'question_id': number, **record}) for number in range(2)))
    assert [item.id for item in POPE(str(path)).queries] == ['0:0', '1:1']
    path.write_text(path.read_text() + '\n{"question_id": 2')
    with pytest.raises(ValueError, match=r'random\.json, line 3: is no JSON'):
        _ = POPE(str(path)).queries


def test_a_missing_file_is_told_with_the_key_and_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'huggingface.*evaluation\.task\.records'):
        _ = MME(str(tmp_path / 'none.json')).queries

"""Faults and oddities that are hard to tell apart: what is odd and right is silent, what is wrong is named."""

import io
import json
import os

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmgpt.data.opening import NamedData
from mmgpt.data.sources.table import TABLE
from mmgpt.data.verify import KINDS, examine, open_patient
from mmgpt.data.verify.repair import repair
from tests.data import planting
from tests.data.test_fuzzing import LINES, RECORDS
from tests.data.test_fuzzing_containers import TABLES, TARS, tar_of, write_table

CLEAN = json.loads(json.dumps(RECORDS))
for talk in (CLEAN['llava'][0], *CLEAN['llava_dial']):
    for turn in talk['conversations'][2 if 'image' in talk else 0 :: 2]:
        turn['value'] = 'What?'  # a picture has one mark
ANSWER = 'The last digit.'


def look(kind, path, images=None, tokenizer=None, max_seq_len=None):
    patient = open_patient(NamedData.of_files(kind, str(path), images and str(images), 'Otter', tokenizer, max_seq_len))
    return patient, examine(patient)


def record(**fields) -> dict:
    return {'instruction': 'What is it?', 'answer': ANSWER, 'image_ids': [], 'rel_ins_ids': [], **fields}


@pytest.fixture
def found(tmp_path, llama_tokenizer_dir):
    """What is found in a file of a text, as (kind, id)."""

    def find(text, name='XX_instructions.json', kind='mimicit', images=None):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        report = look(kind, path, images, llama_tokenizer_dir)[1]
        assert all(finding.file and finding.message and finding.fix for finding in report.findings)
        return [(finding.kind, finding.id) for finding in report.findings]

    return find


ODD = {'文/字 é': record(rel_ins_ids=['b/ü', '../c']), 'b/ü': record(), '../c': record(score=float('nan'))}


@pytest.mark.parametrize(
    'text',
    [
        json.dumps({'data': ODD}, ensure_ascii=False, indent=1),
        json.dumps({'data': ODD}, indent=1).replace('\n', '\r\n'),
        b'\xef\xbb\xbf' + json.dumps({'data': ODD}).encode(),
        json.dumps({'data': {'a': record(n=10**4000, deep=[[[{}]]])}}),
        json.dumps({'data': {'é': record(), 'e\u0301': record()}}, ensure_ascii=False),
    ],
    ids=['unicode and slashes', 'CRLF', 'byte order mark', 'a big number', 'two ways to write a letter'],
)
def test_what_is_odd_and_right_is_silent(found, text):
    assert found(text) == []


def test_a_file_that_ends_in_the_middle(found):
    text = json.dumps({'data': {name: record() for name in 'abcdef'}}, indent=1)
    cut = text[: text.index('"e"') + 30]
    assert found(cut) == [('wrong_type', 'e')]


@pytest.mark.parametrize(
    ('text', 'expected'),
    [
        (json.dumps({'data': {'a': record()}}).encode('utf-16'), [('wrong_type', None)]),
        ('{"data": {"a": {"instruction": "q", "answer": NaN}}}', [('wrong_type', 'a')]),
        ('{"data": {"a": {"instruction": "q", "answer": 1e999}}}', [('wrong_type', 'a')]),
        (f'{{"data": {{"a": {{"instruction": "q", "answer": {"9" * 5000}}}}}}}', [('wrong_type', 'a')]),
        ('{"data": {"a": {"instruction": "q\tq", "answer": "The last."}}}', [('wrong_type', 'a')]),
        ('{"data": {"a": {"instruction": "q", "answer": "The last.", "answer": ""}}}', [('empty_answer', 'a')]),
        ('{"data": {"a": {"instruction": "q", "answer": "The last."}}, "data": {"b": 7}}', [('wrong_type', None)]),
        ('{"data": {"a/ü": 7, "a/ü": 8}}', [('duplicate_id', 'a/ü'), ('wrong_type', 'a/ü'), ('wrong_type', 'a/ü')]),
    ],
    ids=['utf16', 'nan', 'infinity', 'huge', 'control', 'twice', 'members', 'keys'],
)
def test_what_is_wrong_is_named(found, text, expected):
    assert sorted(found(text), key=str) == sorted(expected, key=str)


def encoded(picture, form, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


@pytest.fixture
def pictures(tmp_path):
    """Pictures that are odd and right, and files that are none, by name; and their folder."""
    plain = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8))
    turned = Image.Exif()
    turned[0x112] = 6
    moving = {'save_all': True, 'append_images': [plain.rotate(90)]}
    deep = Image.fromarray(np.arange(600, dtype=np.uint16).reshape(20, 30) * 100)
    right = {
        'cmyk.jpg': encoded(plain.convert('CMYK'), 'JPEG'),
        '16 bits.png': encoded(deep, 'PNG'),
        'moving.gif': encoded(plain, 'GIF', **moving),
        'moving.webp': encoded(plain, 'WEBP', **moving),
        'moving.png': encoded(plain, 'PNG', **moving),
        'turned.jpg': encoded(plain, 'JPEG', exif=turned),
        'another ending.png': encoded(plain, 'JPEG'),
        'below/ü 文.png': encoded(plain.convert('LA'), 'PNG'),
    }
    wrong = {'empty.jpg': b'', 'page.jpg': b'<html>404</html>', 'drawing.png': b'<svg/>'}
    wrong['broken.jpg'] = right['cmyk.jpg'][:200]
    folder = tmp_path / 'pictures'
    for name, data in (right | wrong).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    os.symlink('cmyk.jpg', folder / 'link.jpg')
    os.symlink(folder, folder / 'round')
    for name, target in (('loop.png', 'loop.png'), ('dangling.png', 'nowhere.png')):
        os.symlink(target, folder / name)
    os.mkfifo(folder / 'pipe.png')
    missing = ['loop.png', 'dangling.png', 'pipe.png', 'x' * 300 + '.png', 'a\0b.png', 'below', '../pictures/cmyk.jpg']
    return folder, [*right, 'link.jpg', 'round/cmyk.jpg'], list(wrong), missing


def llava(names) -> list[dict]:
    talk = [{'from': 'human', 'value': '<image>\nWhat?'}, {'from': 'gpt', 'value': ANSWER}]
    return [{'id': f'n{i}', 'image': name, 'conversations': talk} for i, name in enumerate(names)]


def test_pictures_of_all_kinds(found, pictures):
    folder, right, wrong, missing = pictures
    assert found(json.dumps(llava(right)), 'x.json', 'llava', folder) == []
    expected = {('corrupt_image', name) for name in wrong}
    expected |= {('missing_image', f'n{i + len(wrong)}') for i in range(len(missing))}
    assert set(found(json.dumps(llava(wrong + missing)), 'x.json', 'llava', folder)) == expected


@pytest.mark.skipif(os.geteuid() == 0, reason='root may read everything')
def test_a_picture_that_may_not_be_read(found, pictures):
    (pictures[0] / 'cmyk.jpg').chmod(0)
    assert found(json.dumps(llava(['cmyk.jpg'])), 'x.json', 'llava', pictures[0]) == [('corrupt_image', 'cmyk.jpg')]


def test_what_an_odd_picture_shows(pictures):
    from mmgpt.data.image_stores import FolderImages

    store = FolderImages(pictures[0])
    grey = np.asarray(store.open('16 bits.png'))[..., 0]
    assert np.array_equal(grey.ravel(), (np.arange(600) * 100) >> 8)  # not white where it is above 255
    assert store.open('turned.jpg').size == (20, 30)  # as the processor turns it


def small_set(folder, kind):
    """A sound set of a kind: its annotation file and where its pictures are."""
    pictures = folder / 'pictures'
    pictures.mkdir()
    for name in ('a.png', 'a.jpg', '7.jpg', 'val/a.png', *(f'train/images/3/train-1-2-{n}.png' for n in range(6))):
        (pictures / name).parent.mkdir(parents=True, exist_ok=True)
        (pictures / name).write_bytes(planting.picture(0))
    source = TABLE[kind].source['type']
    if source in ('ImageTextTars', 'Mmc4'):
        files = TARS['image_text_tars']
        if source == 'Mmc4':
            page = json.loads(TARS['mmc4'][0][1])
            for entry in page['image_info']:
                entry['image_base64'] = planting.text(planting.picture(3) + bytes(11_000))
            files = [('0.json', json.dumps(page).encode())]
        (folder / 'train.tar').write_bytes(tar_of(files))
        return folder / 'train.tar', None
    if kind == 'mimicit_hub':
        rows = [{**TABLES[kind][0], 'id': id, 'related instructions': [other]} for id, other in ('AB', 'BA')]
        write_table(folder / 'train.parquet', rows)
        return folder / 'train.parquet', None
    name = next(name for name in RECORDS if TABLE[name].source['type'] == source)
    path = folder / f'{name}_train.{"jsonl" if name in LINES else "json"}'
    records = CLEAN[name]
    path.write_text('\n'.join(map(json.dumps, records)) if name in LINES else json.dumps(records))
    return path, pictures


@pytest.mark.parametrize('kind', sorted(TABLE))
def test_clean_sets_of_every_source_are_silent(tmp_path, llama_tokenizer_dir, kind):
    path, pictures = small_set(tmp_path, kind)
    report = look(kind, path, pictures, llama_tokenizer_dir, 512)[1]
    assert report.findings == []
    assert report.samples > 0
    patient, report = look(kind, path, pictures, llama_tokenizer_dir, 512)
    if path.suffix != '.tar':
        assert [lost for _, lost in repair(patient, report, tmp_path / 'well')] == [0] * (1 + (pictures is not None))


TALK = [{'role': 'user', 'content': '<image>What?'}, {'role': 'assistant', 'content': ANSWER}]


@pytest.mark.parametrize(
    ('changes', 'kind'),
    [
        ({'messages': [{**TALK[0], 'content': '<image><image>What?'}, TALK[1]]}, 'image_count'),
        ({'images': ['a.png', 'a.png']}, 'image_count'),
        ({'images': []}, 'image_count'),
        ({'images': 7}, 'wrong_type'),
        ({'messages': [{**TALK[0], 'role': 'person', 'content': 'What?'}, TALK[1]]}, 'wrong_type'),
        ({'messages': [{'role': 'user', 'content': [{'type': 'sound'}]}, TALK[1]]}, 'wrong_type'),
        ({'messages': TALK[::-1]}, 'wrong_type'),
    ],
)
def test_faults_of_messages(found, tmp_path, changes, kind):
    (tmp_path / 'a.png').write_bytes(planting.picture(0))
    text = json.dumps({'id': 'm', 'messages': TALK, 'images': ['a.png'], **changes})
    assert found(text, 'x.jsonl', 'messages', tmp_path) == [(kind, 'm')]


def test_faults_of_conversations(found, tmp_path):
    (tmp_path / 'a.png').write_bytes(planting.picture(0))
    said = [{'from': 'human', 'value': '<image>What?'}, {'from': 'gpt', 'value': ANSWER}]
    twice = [{**said[0], 'value': '<image><image>What?'}, said[1]]
    records = [
        {'id': 'fine', 'conversations': said, 'image': 'a.png'},
        {'id': 'two', 'conversations': twice, 'image': 'a.png'},
        {'id': 'who', 'conversations': [{**said[0], 'from': 'person'}, said[1]], 'image': 'a.png'},
        {'id': 'gone', 'conversations': said, 'image': 'b.png'},
        {'id': 'blank', 'conversations': [said[0], {**said[1], 'value': ' '}], 'image': 'a.png'},
    ]
    text = '\n'.join(map(json.dumps, records))
    kinds = ['image_count', 'wrong_type', 'missing_image', 'empty_answer']
    assert found(text, 'x.jsonl', 'messages', tmp_path) == list(
        zip(kinds, ['two', 'who', 'gone', 'blank'], strict=True)
    )


def test_pages_that_the_rules_leave_out_are_no_faults_and_broken_ones_are_named(tmp_path, llama_tokenizer_dir):
    whole = json.loads(TARS['mmc4'][0][1])
    large = planting.text(planting.picture(3) + bytes(11_000))
    for entry in whole['image_info']:
        entry['image_base64'] = large

    def page(**changes) -> bytes:
        return json.dumps(whole | changes).encode()

    entries = whole['image_info']
    unlike = [[0.01] * len(row) for row in whole['similarity_matrix']]
    pages = {
        'fine': page(),
        'unlike': page(similarity_matrix=unlike),  # nothing fits: as the rules want it
        'small': page(image_info=[{**entry, 'image_base64': planting.text(b'small')} for entry in entries]),
        'torn': page(image_info=[{**entry, 'image_base64': planting.text(bytes(12_000))} for entry in entries]),
        'coded': page(image_info=[{**entry, 'image_base64': '*' * 20_000} for entry in entries]),
        'short': page(similarity_matrix=[]),
        'none': b'[]',
    }
    (tmp_path / 'pages.tar').write_bytes(tar_of([(f'{name}.json', data) for name, data in pages.items()]))
    findings = look('mmc4', tmp_path / 'pages.tar', None, llama_tokenizer_dir)[1].findings
    assert {(finding.kind, finding.id) for finding in findings} == {
        ('corrupt_image', 'pages/torn'),
        ('bad_base64', 'pages/coded'),
        ('wrong_type', 'pages/short'),
        ('wrong_type', 'pages/none'),
    }
    picture = planting.picture(0)
    captions = [('a.png', picture), ('a.txt', b'A digit.'), ('b.png', picture), ('b.txt', b' \n')]
    captions += [('c.png', planting.huge_png(20_000)), ('c.txt', b'Large.')]
    (tmp_path / 'captions.tar').write_bytes(tar_of(captions))
    findings = look('image_text_tars', tmp_path / 'captions.tar', None, llama_tokenizer_dir)[1].findings
    assert [(f.kind, f.id) for f in findings] == [('empty_answer', 'captions/b'), ('oversized_image', 'captions/c')]


def test_empty_tables_and_columns_of_other_types(tmp_path, llama_tokenizer_dir):
    rows = pa.Table.from_pylist(TABLES['messages'])
    path = tmp_path / 'train.parquet'
    pq.write_table(rows[:0], path)
    (finding,) = look('messages', path, None, llama_tokenizer_dir)[1].findings
    assert 'has no samples' in finding.message
    for name in ('messages', 'images'):
        for column in (pa.array([1, 2, 3]), pa.array([['a']] * 3), pa.array([None] * 3)):
            pq.write_table(rows.set_column(rows.column_names.index(name), name, column), path)
            report = look('messages', path, None, llama_tokenizer_dir)[1]
            assert {finding.id for finding in report.findings} == {'m0', 'm1', 'm2'}, (name, column)
            assert {finding.kind for finding in report.findings} <= {'wrong_type', 'image_count', 'missing_image'}


def test_every_kind_of_fault_is_planted_somewhere():
    kinds = {fault.kind for fault in planting.planted().planted}
    assert kinds | {'bad_video'} == set(KINDS)  # videos: see test_tables.py

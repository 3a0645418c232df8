"""The doctor against faults that were planted by somebody who does not know it."""

import base64
import json
from pathlib import Path

import pytest

from mmgpt.data.builder import build_image_store
from mmgpt.data.image_stores import write_parquet_images
from mmgpt.data.opening import NamedData
from mmgpt.data.sources import MimicIt, Source
from mmgpt.data.verify import KINDS, examine, open_patient
from mmgpt.data.verify.repair import repair
from mmgpt.engine.config import load_config
from mmgpt.registry import SOURCES
from mmgpt.structures import Sample, Turn
from tests.data import planting

# What an entry with the first fault has as well.
ACCOMPANY = {'no_target': {'truncated_answer'}, 'truncated_answer': {'no_target'}}


def patient_of(folder: Path, tokenizer: Path):
    path = folder.with_suffix('.py')
    path.write_text(planting.config(folder, tokenizer))
    return open_patient(NamedData.of_config(load_config(path, check=False)))


@pytest.fixture(scope='module')
def sick(tmp_path_factory):
    files = planting.planted()
    folder = tmp_path_factory.mktemp('sick') / 'data'
    planting.write(files, folder)
    return files, folder


@pytest.fixture(scope='module')
def examined(sick, llama_tokenizer_dir):
    patient = patient_of(sick[1], llama_tokenizer_dir)
    return patient, examine(patient)


def test_every_planted_fault_is_found_with_its_file_and_id(sick, examined):
    planted = set(sick[0].planted)
    found = {planting.Planted(f.kind, Path(f.file).name, f.id) for f in examined[1].findings}
    assert len(planted) >= 60
    assert len({fault.kind for fault in planted}) >= 12
    assert planted <= found
    by_place = {(fault.file, fault.id): fault.kind for fault in planted}
    for more in found - planted:
        assert more.kind in ACCOMPANY[by_place[more.file, more.id]], more


def test_findings_say_the_line_and_what_to_do(sick, examined):
    report = examined[1]
    assert {finding.kind for finding in report.findings} <= set(KINDS)
    for finding in report.findings:
        assert finding.message
        assert finding.fix
        if finding.line is not None and finding.id and not finding.id.startswith(('alpaca', 'dolly')):
            line = Path(finding.file).read_text().splitlines()[finding.line - 1]
            assert finding.id in line
    assert all(f.line for f in report.findings if f.file.endswith(('.json', '.jsonl')))


def test_several_processes_find_the_same(sick, examined, llama_tokenizer_dir):
    again = examine(patient_of(sick[1], llama_tokenizer_dir), jobs=2)
    assert again.to_dict() == examined[1].to_dict()


def test_clean_data_is_silent(tmp_path, llama_tokenizer_dir):
    planting.write(planting.clean(), tmp_path / 'data')
    report = examine(patient_of(tmp_path / 'data', llama_tokenizer_dir))
    assert report.findings == []
    assert report.samples == 59 + 60 + 30 + 20 + 20
    assert not any(lengths['warning'] for lengths in report.answer_lengths.values())


def test_the_digits_demo_is_silent_but_for_its_short_answers(digits_files):
    cfg = load_config('configs/otter_demo.py', check=False)
    text = json.dumps(cfg.to_dict(), default=str).replace('data/otter_demo', str(digits_files))
    report = examine(open_patient(NamedData.of_config(json.loads(text))))
    assert report.findings == []
    assert report.samples > 2000
    assert all(lengths['warning'] for lengths in report.answer_lengths.values())


def test_what_was_repaired_is_silent_and_lacks_the_faulty_entries_alone(sick, examined, tmp_path, llama_tokenizer_dir):
    files, folder = sick
    repair(*examined, tmp_path / 'well')
    assert {path.name for path in (tmp_path / 'well').iterdir()} == {path.name for path in folder.iterdir()}
    assert examine(patient_of(tmp_path / 'well', llama_tokenizer_dir)).findings == []

    faulty = {}
    for fault in files.planted:
        faulty.setdefault(fault.file, set()).add(fault.id)
    pictures = {'AA_instructions.json': 'AA.json', 'BB_instructions.json': 'BB.parquet'}
    for name, pairs in files.objects.items():
        left = json.loads((tmp_path / 'well' / name).read_text())['data']
        own, last = [id for id, _ in pairs], dict(pairs)
        repeated = {id for id in own if own.count(id) > 1}  # the last one stays
        expected = {}
        for id, record in pairs:
            shown = {i for i in record.get('image_ids', ()) if i in faulty.get(pictures.get(name), ())}
            shown -= {'BB_IMG_025'}  # there twice: one stays
            if (id not in faulty.get(name, ()) and not shown) or (id in repeated and record is last[id]):
                expected[id] = record
        assert left == expected
    train = json.loads((tmp_path / 'well' / 'AA_train.json').read_text())
    left = json.loads((tmp_path / 'well' / 'AA_instructions.json').read_text())['data']
    ids = [id for id, _ in files.trains['AA_train.json'] if id not in faulty['AA_train.json'] and id in left]
    assert list(train) == ids


def test_contexts_lose_what_is_left_out(tmp_path, llama_tokenizer_dir):
    files = planting.clean()
    files.record('AA_instructions.json', 'AA_INS_030')['answer'] = ''
    planting.write(files, tmp_path / 'data')
    patient = patient_of(tmp_path / 'data', llama_tokenizer_dir)
    repair(patient, examine(patient), tmp_path / 'well')
    before = dict(files.trains['AA_train.json'])
    train = json.loads((tmp_path / 'well' / 'AA_train.json').read_text())
    assert set(before) - set(train) == {'AA_INS_030'}
    assert {id for id in train if train[id] != before[id]} == {'AA_INS_031'}
    assert train['AA_INS_031'] == []
    data = json.loads((tmp_path / 'well' / 'AA_instructions.json').read_text())
    assert data['meta'] == {'version': '1'}
    assert {**data['data'], 'AA_INS_031': None} == {
        id: record if id != 'AA_INS_031' else None
        for id, record in files.objects['AA_instructions.json']
        if id != 'AA_INS_030'
    }
    assert data['data']['AA_INS_031']['rel_ins_ids'] == []


def look(folder, tokenizer, kind='mimicit', name='XX_instructions.json'):
    return examine(open_patient(NamedData.of_files(kind, folder / name, None, 'Otter', tokenizer, None))).findings


def test_ids_are_expected_where_a_list_is(tmp_path, llama_tokenizer_dir):
    for text in ('{"data": [{"instruction": "a", "answer": "b"}]}', '[]', '7', '{"meta": {}}', ''):
        (tmp_path / 'XX_instructions.json').write_text(text)
        assert [finding.kind for finding in look(tmp_path, llama_tokenizer_dir)] == ['wrong_type']


@pytest.mark.parametrize('train', [None, '{}'])
def test_a_set_without_samples_is_told(tmp_path, llama_tokenizer_dir, train):
    record = {'instruction': 'Why?', 'answer': 'Because it was made so.'}
    data = {} if train is None else {'XX_INS_1': record}
    (tmp_path / 'XX_instructions.json').write_text(json.dumps({'data': data}))
    source = {'type': 'MimicIt', 'instructions': str(tmp_path / 'XX_instructions.json')}
    if train is not None:
        (tmp_path / 'XX_train.json').write_text(train)
        source['train'] = str(tmp_path / 'XX_train.json')
    (finding,) = look_through(llama_tokenizer_dir, [source])[1].findings
    assert (finding.severity, finding.file) == ('warning', source['instructions'])
    assert "the set 'XX' has no samples" in finding.message


def test_many_conversations_about_one_picture_are_a_warning(tmp_path, llama_tokenizer_dir):
    turns = [{'from': 'human', 'value': 'What?'}, {'from': 'gpt', 'value': 'The last digit.'}]
    records = [{'id': str(i // 2), 'conversations': [turns[0], {**turns[1], 'value': f'{i}'}]} for i in range(20)]
    (tmp_path / 'XX.json').write_text(json.dumps(records))
    found = look(tmp_path, llama_tokenizer_dir, 'llava', 'XX.json')
    assert {(finding.kind, finding.severity) for finding in found} == {('duplicate_id', 'warning')}
    assert len(found) == 10


def test_translations_share_their_ids(tmp_path, llama_tokenizer_dir):
    config = {
        'template': {'type': 'Otter'},
        'tokenizer': {'path': str(llama_tokenizer_dir)},
        'dataset': {'sources': []},
    }
    for language, answer in (('en', 'It is the last.'), ('de', 'Das ist die letzte.')):
        data = {f'XX_INS_{i}': {'instruction': '?', 'answer': answer, 'language': language} for i in range(4)}
        (tmp_path / f'{language}.json').write_text(json.dumps({'data': data}))
        config['dataset']['sources'].append({'type': 'MimicIt', 'instructions': str(tmp_path / f'{language}.json')})
    assert examine(open_patient(NamedData(**config))).findings == []


def test_files_of_the_same_name_in_other_folders_are_no_leak(tmp_path, llama_tokenizer_dir):
    sources = []
    for part in ('train', 'val'):
        (tmp_path / part).mkdir()
        (tmp_path / part / '1.jpg').write_bytes(planting.picture(len(sources), 'JPEG'))
        record = {'image': '1.jpg', 'caption': f'The last digit of {part}.'}
        (tmp_path / f'{part}.json').write_text(json.dumps([record]))
        source = {'type': 'CocoCaption', 'annotations': str(tmp_path / f'{part}.json'), 'images': str(tmp_path / part)}
        sources.append(source)
    config = {'template': {'type': 'Otter'}, 'tokenizer': {'path': str(llama_tokenizer_dir)}}
    train, val = sources
    named = NamedData(dataset={'sources': [train]}, evaluated=[val], **config)
    assert examine(open_patient(named)).findings == []
    val['images'] = train['images']
    named = NamedData(dataset={'sources': [train]}, evaluated=[val], **config)
    assert [finding.kind for finding in examine(open_patient(named)).findings] == ['leak']


def test_a_source_of_an_unknown_kind_is_asked_for_its_samples(llama_tokenizer_dir, tmp_path, monkeypatch):
    class Three(Source):
        def __init__(self, path):
            super().__init__('three')

        def __len__(self):
            return 3

        def __getitem__(self, index):
            if index == 1:
                raise ValueError('sample 1 is broken')
            turns = (Turn('user', 'What?'), Turn('assistant', 'The last digit.' if index else ' '))
            return Sample(f't{index}', turns)

        def find(self, id):
            raise KeyError(id)

    monkeypatch.setitem(SOURCES.module_dict, 'Three', Three)
    config = {'template': {'type': 'Otter'}, 'tokenizer': {'path': str(llama_tokenizer_dir)}}
    patient = open_patient(NamedData(dataset={'sources': [{'type': 'Three', 'path': 'some/file'}]}, **config))
    report = examine(patient)
    assert {(f.kind, f.file, f.id) for f in report.findings} == {
        ('empty_answer', 'some/file', 't0'),
        ('wrong_type', 'some/file', 'three_1'),
    }
    with pytest.raises(ValueError, match='does not know'):
        repair(patient, report, tmp_path / 'well')


def test_a_folder_that_is_there_is_not_written_over(examined, tmp_path):
    (tmp_path / 'mine.txt').write_text('mine')
    with pytest.raises(FileExistsError, match='there already'):
        repair(*examined, tmp_path)


def test_a_tokenizer_that_splits_a_mark_is_a_finding(tmp_path, llama_tokenizer_dir, monkeypatch):
    planting.write(planting.clean(), tmp_path / 'data')
    from mmgpt.data.verify import opening

    plain = opening.build_tokenizer

    def without_marks(cfg, template):
        tokenizer = plain(cfg, template)
        tokenizer.add_tokens = None
        return type(tokenizer).from_pretrained(cfg['path'], pad_token='</s>')

    monkeypatch.setattr(opening, 'build_tokenizer', without_marks)
    report = examine(patient_of(tmp_path / 'data', llama_tokenizer_dir))
    assert [(f.kind, f.file) for f in report.findings] == [('split_token', str(llama_tokenizer_dir))]


def test_short_answers_are_warned_of(tmp_path, llama_tokenizer_dir):
    files = planting.clean()
    for record in files.lists['alpaca.json']:
        record['output'] = 'Yes.'
    planting.write(files, tmp_path / 'data')
    report = examine(patient_of(tmp_path / 'data', llama_tokenizer_dir))
    assert {name for name, lengths in report.answer_lengths.items() if lengths['warning']} == {'alpaca'}
    assert report.answer_lengths['alpaca']['median'] == 1
    assert 'note: short answers in alpaca' in report.summary()  # it is not among the warnings that are counted


def look_through(tokenizer, sources, evaluated=()):
    config = {'template': {'type': 'Otter'}, 'tokenizer': {'path': str(tokenizer)}}
    patient = open_patient(NamedData(dataset={'sources': list(sources)}, evaluated=list(evaluated), **config))
    return patient, examine(patient)


def test_splits_that_a_source_leaves_out_are_no_samples_and_no_leak(tmp_path, llama_tokenizer_dir):
    (tmp_path / 'coco').mkdir()
    images = []
    for number, split in enumerate(('train', 'train', 'restval', 'val', 'test')):
        (tmp_path / f'coco/{number}.jpg').write_bytes(planting.picture(number, 'JPEG'))
        said = [{'raw': f'A picture of the thing that has number {number}.'}]
        images.append({'filepath': '', 'filename': f'{number}.jpg', 'split': split, 'sentences': said})
    (tmp_path / 'k.json').write_text(json.dumps({'images': images}))
    source = {'type': 'CocoCaption', 'annotations': str(tmp_path / 'k.json'), 'images': str(tmp_path / 'coco')}
    train, val = {**source, 'splits': ['train', 'restval']}, {**source, 'splits': ['val']}
    _, report = look_through(llama_tokenizer_dir, [train], [val])
    assert report.findings == []
    assert report.samples == 3
    _, report = look_through(llama_tokenizer_dir, [train], [{**source, 'splits': ['restval']}])
    assert [finding.kind for finding in report.findings] == ['leak']


def test_ids_that_are_made_of_file_names_are_no_leak(tmp_path, llama_tokenizer_dir):
    sources = []
    for part in ('train', 'val'):
        (tmp_path / part).mkdir()
        records = [
            {'instruction': f'{part} {i}?', 'input': '', 'output': f'The answer of {part} to {i}.'} for i in '123'
        ]
        (tmp_path / part / 'data.json').write_text(json.dumps(records))
        sources.append({'type': 'Alpaca', 'annotations': str(tmp_path / part / 'data.json')})
    assert look_through(llama_tokenizer_dir, sources[:1], sources[1:])[1].findings == []


def test_what_a_run_reads_is_no_fault_and_what_it_refuses_is(tmp_path, llama_tokenizer_dir):
    said = [{'role': 'user', 'content': 'Why is it so?'}, {'role': 'assistant', 'content': 'Because it was made so.'}]
    (tmp_path / 'm.jsonl').write_text(json.dumps({'id': None, 'messages': said}))
    assert (
        look_through(llama_tokenizer_dir, [{'type': 'Messages', 'annotations': str(tmp_path / 'm.jsonl')}])[1].findings
        == []
    )
    (tmp_path / 'i').mkdir()
    (tmp_path / 'i/a.jpg').write_bytes(planting.picture(0, 'JPEG'))
    turns = [{'from': 'human', 'value': '<image>\nWhat is it?'}, {'from': 'gpt', 'value': 'It is a plain picture.'}]
    text = json.dumps([{'id': '1', 'image': 'a.jpg', 'conversations': turns}])
    (tmp_path / 'l.json').write_text(text.replace('<', '\\u003c').replace('>', '\\u003e'))
    source = {'type': 'Llava', 'annotations': str(tmp_path / 'l.json'), 'images': str(tmp_path / 'i')}
    assert look_through(llama_tokenizer_dir, [source])[1].findings == []
    record = {'instruction': 'Why?', 'answer': 'Because it was made so.', 'image_ids': [], 'language': ['en']}
    (tmp_path / 'XX_instructions.json').write_text(json.dumps({'data': {'XX_INS_1': record}}))
    source = {'type': 'MimicIt', 'instructions': str(tmp_path / 'XX_instructions.json')}
    (finding,) = look_through(llama_tokenizer_dir, [source])[1].findings
    assert '"language" should be a string' in finding.message


def test_ends_of_answers_and_texts_stand_in_no_text(tmp_path, llama_tokenizer_dir):
    answers = {'a': 'It is 7.</s>', 'b': 'It is 7.<|endofchunk|> So it is.', 'c': 'It is </s> 7.', 'd': 'It is 7.'}
    records = {id: {'instruction': 'Why?', 'answer': answer} for id, answer in answers.items()}
    (tmp_path / 'XX_instructions.json').write_text(json.dumps({'data': records}))
    found = look(tmp_path, llama_tokenizer_dir)
    assert [(finding.kind, finding.id) for finding in found] == [('split_token', id) for id in 'abc']
    assert "holds '</s>'" in found[0].message


def test_images_that_are_a_medium_each_have_a_mark_each(tmp_path, llama_tokenizer_dir):
    pictures = [f'XX_IMG_{i}' for i in range(20)]
    record = {'instruction': 'Which?', 'answer': 'The last one of them.', 'image_ids': pictures}
    (tmp_path / 'XX_instructions.json').write_text(json.dumps({'data': {'XX_INS_1': record}}))
    encoded = base64.b64encode(planting.picture(0)).decode()
    (tmp_path / 'XX.json').write_text(json.dumps(dict.fromkeys(pictures, encoded)))
    files = {'instructions': str(tmp_path / 'XX_instructions.json'), 'images': str(tmp_path / 'XX.json')}
    for more, expected in (
        ({}, []),
        ({'media': 'each'}, ['truncated_answer', 'no_target']),
        ({'media': 'each', 'max_frames': 2}, []),
    ):
        source = {'type': 'MimicIt', **files, 'max_seq_len': 40, **more}
        assert [f.kind for f in look_through(llama_tokenizer_dir, [source])[1].findings] == expected


def test_of_two_records_of_one_id_it_says_which_is_read_and_which_stays(tmp_path, llama_tokenizer_dir):
    first, last = ({'instruction': 'Why?', 'answer': f'Because of the {word}.'} for word in ('wind', 'rain'))
    path = tmp_path / 'XX_instructions.json'
    path.write_text(f'{{"data": {{"a": {json.dumps(first)}, "a": {json.dumps(last)}}}}}')
    patient, report = look_through(llama_tokenizer_dir, [{'type': 'MimicIt', 'instructions': str(path)}])
    (finding,) = report.findings
    assert 'used again by line 1, with another content, and finds that one; --fix keeps it' in finding.message
    assert MimicIt(path).find('a').turns[1].text == last['answer']
    repair(patient, report, tmp_path / 'well')
    assert json.loads((tmp_path / 'well' / path.name).read_text())['data'] == {'a': last}


@pytest.mark.parametrize('kind', ['json', 'parquet'])
def test_of_two_pictures_of_one_id_the_one_that_is_shown_is_checked_and_stays(tmp_path, llama_tokenizer_dir, kind):
    record = {'instruction': 'Which?', 'answer': 'The last one of them.', 'image_ids': ['p']}
    (tmp_path / 'XX_instructions.json').write_text(json.dumps({'data': {'XX_INS_1': record}}))
    path, two = tmp_path / f'XX.{kind}', [('p', planting.picture(0)[:50]), ('p', planting.picture(1))]
    if kind == 'json':
        path.write_text(',\n'.join(f'"{id}": "{base64.b64encode(data).decode()}"' for id, data in two).join('{}'))
    else:
        write_parquet_images(path, two)
    source = {'type': 'MimicIt', 'instructions': str(tmp_path / 'XX_instructions.json'), 'images': str(path)}
    patient, report = look_through(llama_tokenizer_dir, [source])
    assert [(f.kind, f.line) for f in report.findings] == [('duplicate_id', 1 if kind == 'json' else None)]
    repair(patient, report, tmp_path / 'well')
    assert build_image_store(tmp_path / 'well' / path.name).read('p') == planting.picture(1)


def test_images_that_cannot_be_opened_cost_no_records(tmp_path, llama_tokenizer_dir):
    (tmp_path / 'bad.parquet').write_bytes(b'PAR1 nothing PAR1')
    turns = [{'from': 'human', 'value': '<image>\nWhat is it?'}, {'from': 'gpt', 'value': 'It is a plain picture.'}]
    (tmp_path / 'l.json').write_text(json.dumps([{'id': '1', 'image': 'a.jpg', 'conversations': turns}]))
    source = {'type': 'Llava', 'annotations': str(tmp_path / 'l.json'), 'images': str(tmp_path / 'bad.parquet')}
    patient, report = look_through(llama_tokenizer_dir, [source])
    assert [finding.file for finding in report.findings] == [str(tmp_path / 'bad.parquet')]
    with pytest.raises(ValueError, match='cannot be opened'):
        repair(patient, report, tmp_path / 'fixed')
    assert not (tmp_path / 'fixed').exists()

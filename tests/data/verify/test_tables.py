"""The doctor on tables whose pictures lie in their cells."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmgpt.data.opening import NamedData
from mmgpt.data.sources import Messages
from mmgpt.data.verify import examine, open_patient
from mmgpt.data.verify.repair import repair
from tests.data import planting


def messages(answer: str, mark: str = '<image>') -> list:
    return [{'role': 'user', 'content': f'{mark}What is this?'}, {'role': 'assistant', 'content': answer}]


def table() -> pa.Table:
    pictures = [{'bytes': planting.picture(i), 'path': None} for i in range(8)]
    pictures[2] = {'bytes': pictures[2]['bytes'][:60], 'path': None}
    pictures[3] = {'bytes': planting.huge_png(20_000), 'path': None}
    rows = [{'id': f'm{i}', 'messages': messages('The last digit.'), 'images': [pictures[i]]} for i in range(8)]
    rows[4]['messages'] = messages('  ')
    rows[5]['messages'] = messages('The last digit.', '<image><image>')
    rows[6]['messages'] = messages('The last digit.')[:1]
    rows.append({**rows[7]})
    return pa.Table.from_pylist(rows)


def write(kind: str, path) -> None:
    if kind == 'parquet':
        pq.write_table(table(), path, row_group_size=3)
    else:
        with pa.OSFile(str(path), 'wb') as file, pa.ipc.new_stream(file, table().schema) as writer:
            writer.write_table(table())


@pytest.mark.parametrize('kind', ['parquet', 'arrow'])
def test_faults_in_tables(tmp_path, llama_tokenizer_dir, kind):
    path = tmp_path / f'train.{kind}'
    write(kind, path)

    def look(path):
        patient = open_patient(NamedData.of_files('messages', path, None, 'Otter', llama_tokenizer_dir, None))
        return patient, examine(patient)

    patient, report = look(path)
    assert {(finding.kind, finding.id) for finding in report.findings} == {
        ('corrupt_image', 'row 2, picture 0'),
        ('oversized_image', 'row 3, picture 0'),
        ('empty_answer', 'm4'),
        ('image_count', 'm5'),
        ('wrong_type', 'm6'),
        ('duplicate_id', 'm7'),
    }
    assert all(finding.file == str(path) for finding in report.findings)
    repair(patient, report, tmp_path / 'well')
    _, again = look(tmp_path / 'well' / path.name)
    assert again.findings == []
    assert again.samples == 3
    if kind == 'parquet':
        left = pq.read_table(tmp_path / 'well' / path.name).to_pylist()
        assert [row['id'] for row in left] == ['m0', 'm1', 'm7']
        assert Image.open(io.BytesIO(left[2]['images'][0]['bytes'])).size == (24, 24)


def save(records: list[dict], path) -> None:
    if path.suffix in ('.json', '.jsonl'):
        path.write_text(json.dumps(records) if path.suffix == '.json' else '\n'.join(map(json.dumps, records)))
        return
    table = pa.Table.from_pylist(records)
    if path.suffix == '.parquet':
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), 'wb') as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)


@pytest.mark.parametrize('kind', ['parquet', 'arrow', 'jsonl', 'json'])
def test_context_ids_of_records_that_are_left_out_go_too(tmp_path, llama_tokenizer_dir, kind):
    def record(id, answer, *context):
        return {'id': id, 'messages': messages(answer, ''), 'context_ids': list(context)}

    def look(folder):
        source = {'type': 'Messages', 'annotations': [str(folder / f'{name}.{kind}') for name in 'ab']}
        patient = open_patient(NamedData({'sources': [source]}, {'type': 'Otter'}, {'path': str(llama_tokenizer_dir)}))
        return patient, examine(patient)

    save([record('A', 'The last digit.', 'C', 'B'), record('B', '', 'A')], tmp_path / f'a.{kind}')
    save([record('C', 'The last digit.', 'B', 'A'), record('D', 'The last digit.', 'B')], tmp_path / f'b.{kind}')
    patient, report = look(tmp_path)
    assert [(finding.kind, finding.id) for finding in report.findings] == [('empty_answer', 'B')]
    repair(patient, report, tmp_path / 'well')
    assert look(tmp_path / 'well')[1].findings == []
    left = list(Messages([tmp_path / 'well' / f'{name}.{kind}' for name in 'ab']))
    assert [(sample.id, sample.context_ids) for sample in left] == [('A', ('C',)), ('C', ('A',)), ('D', ())]


def test_videos_that_cannot_be_read(tmp_path, llama_tokenizer_dir):
    pytest.importorskip('av', reason='pip install "mmgpt[video]" brings av')
    from tests.data.test_video import write_video

    (tmp_path / 'clips').mkdir()
    write_video(tmp_path / 'clips' / 'whole.mp4', 8)
    data = (tmp_path / 'clips' / 'whole.mp4').read_bytes()
    (tmp_path / 'clips' / 'cut.mp4').write_bytes(data[: len(data) // 2])
    (tmp_path / 'clips' / 'text.mp4').write_text('no video')
    names = ('whole.mp4', 'cut.mp4', 'text.mp4', 'missing.mp4')
    records = {name: {'instruction': 'What?', 'answer': 'The last.', 'image_ids': [name]} for name in names}
    (tmp_path / 'XX_instructions.json').write_text(json.dumps({'data': records}))
    source = {'type': 'MimicIt', 'instructions': str(tmp_path / 'XX_instructions.json')}
    source['images'] = {'type': 'VideoFiles', 'path': str(tmp_path / 'clips'), 'num_frames': 4}
    config = {'template': {'type': 'Otter'}, 'tokenizer': {'path': str(llama_tokenizer_dir)}}
    report = examine(open_patient(NamedData(dataset={'sources': [source]}, **config)))
    assert {(finding.kind, finding.id) for finding in report.findings} == {
        ('bad_video', 'cut.mp4'),
        ('bad_video', 'text.mp4'),
        ('missing_image', 'missing.mp4'),
    }

"""The doctor on tables whose pictures lie in their cells."""

import io

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mmgpt.data.opening import NamedData
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

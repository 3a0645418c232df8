"""Plants faults into small data sets of several formats, and knows what it planted. It knows nothing of the doctor."""

import base64
import io
import json
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

LONG = 'the larger picture of this digit is called no first and the last is called this ' * 12


class Planted(NamedTuple):
    kind: str
    file: str  # its name
    id: str


@dataclass
class Files:
    """The data sets, before they are written: annotation entries as (key, value) pairs, since keys may repeat."""

    objects: dict[str, list] = field(default_factory=dict)  # MIMIC-IT's instructions: file -> (id, record) pairs
    trains: dict[str, list] = field(default_factory=dict)
    lists: dict[str, list] = field(default_factory=dict)
    stores: dict[str, list] = field(default_factory=dict)  # file -> (image id, base64) pairs
    pictures: dict[str, bytes] = field(default_factory=dict)
    planted: list[Planted] = field(default_factory=list)

    def plant(self, kind: str, file: str, id: str) -> None:
        self.planted.append(Planted(kind, file, id))

    def record(self, file: str, id: str) -> dict:
        return next(value for key, value in self.objects[file] if key == id)


def picture(number: int, format: str = 'PNG', size: int = 24) -> bytes:
    pixels = np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format)
    return file.getvalue()


def huge_png(side: int) -> bytes:
    """A PNG of a few bytes that says it has side x side pixels."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))

    header = struct.pack('>IIBBBBB', side, side, 8, 0, 0, 0, 0)
    return b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', header) + chunk(b'IDAT', zlib.compress(b'')) + chunk(b'IEND', b'')


def text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def clean() -> Files:
    """Data without a fault: two MIMIC-IT sets, one of them with a training file, LLaVA, Alpaca and Dolly."""
    files = Files()
    for prefix, count in (('AA', 60), ('BB', 60), ('EV', 4)):
        ids = [f'{prefix}_INS_{i:03d}' for i in range(count)]
        files.objects[f'{prefix}_instructions.json'] = [
            (
                id,
                {
                    'instruction': f'What is digit {i} of this picture?',
                    'answer': f'It is the {i} that is the first and the last digit of this picture.',
                    'image_ids': [f'{prefix}_IMG_{i:03d}'],
                    'rel_ins_ids': [ids[i - 1]] if i % 3 == 1 else [],
                },
            )
            for i, id in enumerate(ids)
        ]
    files.trains['AA_train.json'] = [(f'AA_INS_{i:03d}', [f'AA_INS_{i - 1:03d}']) for i in range(1, 60)]
    files.stores['AA.json'] = [(f'AA_IMG_{i:03d}', text(picture(i))) for i in range(60)]
    files.stores['BB.parquet'] = [(f'BB_IMG_{i:03d}', text(picture(100 + i, 'JPEG'))) for i in range(60)]
    files.stores['EV.parquet'] = [(f'EV_IMG_{i:03d}', text(picture(200 + i))) for i in range(4)]
    files.pictures = {f'{i:012d}.jpg': picture(300 + i, 'JPEG') for i in range(30)}
    files.lists['llava.json'] = [
        {
            'id': f'{i:012d}',
            'image': f'{i:012d}.jpg',
            'conversations': [
                {'from': 'human', 'value': '<image>\nWhat is this?'},
                {'from': 'gpt', 'value': f'This is picture {i} and it is called the first.'},
                {'from': 'human', 'value': 'Is it the last?'},
                {'from': 'gpt', 'value': 'No, this is not the last picture.'},
            ],
        }
        for i in range(30)
    ]
    files.lists['alpaca.json'] = [
        {'instruction': f'Name digit {i}.', 'input': '', 'output': f'The digit is called {i} and is the last.'}
        for i in range(20)
    ]
    files.lists['dolly.jsonl'] = [
        {'instruction': f'What is {i}?', 'context': 'A digit.', 'response': f'It is digit {i}, the first of this.'}
        for i in range(20)
    ]
    return files


def planted() -> Files:
    """The same with faults, each in an entry of its own that no sound entry has in its context."""
    files = clean()
    for file in ('AA_instructions.json', 'BB_instructions.json'):
        for _, record in files.objects[file]:
            record['rel_ins_ids'] = []
    files.trains['AA_train.json'] = [(id, []) for id, _ in files.trains['AA_train.json']]
    _plant_mimicit(files, 'AA')
    _plant_mimicit(files, 'BB')
    _plant_between(files)
    _plant_contexts(files)
    _plant_images(files)
    _plant_llava(files)
    _plant_text(files)
    _plant_leaks(files)
    return files


def _plant_mimicit(files: Files, prefix: str) -> None:
    file = f'{prefix}_instructions.json'
    faults = [
        ('wrong_type', {'answer': 7}),
        ('wrong_type', {'instruction': None}),
        ('wrong_type', {'image_ids': f'{prefix}_IMG_003'}),
        ('wrong_type', {'rel_ins_ids': {'a': 1}}),
        ('empty_answer', {'answer': ''}),
        ('empty_answer', {'answer': ' \n\u200b\t\xa0'}),
        ('missing_image', {'image_ids': [f'{prefix}_IMG_999']}),
        ('missing_image', {'image_ids': [f'{prefix}_IMG_008', 'elsewhere.png']}),
        ('image_count', {'instruction': '<image>What is this?'}),
        ('image_count', {'answer': 'It is <image> the first.'}),
        ('truncated_answer', {'answer': LONG}),
        ('no_target', {'instruction': LONG}),
        ('self_context', {'rel_ins_ids': [f'{prefix}_INS_013']}),
        ('dangling_context', {'rel_ins_ids': ['XX_INS_000']}),
        ('split_token', {'answer': 'It is<|endofchunk|> the first.'}),
    ]
    for number, (kind, change) in enumerate(faults, 1):
        id = f'{prefix}_INS_{number:03d}'
        files.record(file, id).update(change)
        files.plant(kind, file, id)
    for number in (16, 17):
        id = f'{prefix}_INS_{number:03d}'
        files.objects[file].append((id, {'instruction': 'Again?', 'answer': 'Yes, this is the digit once more.'}))
        files.plant('duplicate_id', file, id)


def _plant_between(files: Files) -> None:
    record = {'instruction': 'Whose is it?', 'answer': 'It is the first one of them all.', 'image_ids': []}
    files.objects['BB_instructions.json'].append(('AA_INS_058', record))
    files.plant('duplicate_id', 'BB_instructions.json', 'AA_INS_058')


def _plant_contexts(files: Files) -> None:
    train = files.trains['AA_train.json']
    places = {id: place for place, (id, _) in enumerate(train)}
    for number, context, kind in (
        (20, ['AA_INS_020'], 'self_context'),
        (21, ['AA_INS_900'], 'dangling_context'),
        (22, 'AA_INS_000', 'wrong_type'),
    ):
        id = f'AA_INS_{number:03d}'
        train[places[id]] = (id, context)
        files.plant(kind, 'AA_train.json', id)
    train.append(('AA_INS_901', []))
    files.plant('dangling_context', 'AA_train.json', 'AA_INS_901')


def _plant_images(files: Files) -> None:
    png, jpeg = picture(1), picture(1, 'JPEG', 64)
    faults = [
        ('corrupt_image', text(b'these are no pixels')),
        ('corrupt_image', text(png[: len(png) // 2])),
        ('corrupt_image', text(jpeg[: len(jpeg) // 2])),
        ('corrupt_image', ''),
        ('oversized_image', text(huge_png(12_000))),
        ('oversized_image', text(huge_png(60_000))),
        ('bad_base64', 'this is not base64!'),
        ('bad_base64', '*' * 40),
    ]
    for file, prefix in (('AA.json', 'AA'), ('BB.parquet', 'BB')):
        for number, (kind, value) in enumerate(faults, 30):
            id = f'{prefix}_IMG_{number:03d}'
            files.stores[file][number] = (id, value)
            files.plant(kind, file, id)
    files.stores['BB.parquet'].append(('BB_IMG_025', text(picture(9))))
    files.plant('duplicate_id', 'BB.parquet', 'BB_IMG_025')
    files.pictures['000000000020.jpg'] = jpeg[:300]
    files.plant('corrupt_image', '000000000020.jpg', '000000000020.jpg')


def _plant_llava(files: Files) -> None:
    records = files.lists['llava.json']

    def say(number: int, turn: int, value: object) -> None:
        records[number]['conversations'][turn]['value'] = value

    say(1, 3, '  ')
    say(2, 0, '<image>\n<image>\nWhat is this?')
    say(3, 0, 'What is this?')
    say(4, 1, 4)
    say(7, 1, LONG)
    records[5]['image'] = 'nowhere.jpg'
    records[6]['conversations'] = 'What is this?'
    records[8]['conversations'].pop()
    kinds = 'empty_answer image_count image_count wrong_type missing_image wrong_type truncated_answer wrong_type'
    for number, kind in enumerate(kinds.split(), 1):
        files.plant(kind, 'llava.json', f'{number:012d}')
    records.append(json.loads(json.dumps(records[9])))
    files.plant('duplicate_id', 'llava.json', records[9]['id'])
    records[11]['id'] = records[10]['id']
    files.plant('duplicate_id', 'llava.json', records[10]['id'])


def _plant_text(files: Files) -> None:
    for file, name in (('alpaca.json', 'output'), ('dolly.jsonl', 'response')):
        stem = Path(file).stem
        files.lists[file][3][name] = ''
        files.lists[file][4][name] = ['a list']
        files.lists[file][5] = 'no object'
        files.lists[file][6]['instruction'] = LONG
        for number, kind in enumerate(('empty_answer', 'wrong_type', 'wrong_type', 'no_target'), 3):
            files.plant(kind, file, f'{stem}_{number}')


def _plant_leaks(files: Files) -> None:
    shared = {**files.record('EV_instructions.json', 'EV_INS_001'), 'image_ids': ['BB_IMG_050'], 'rel_ins_ids': []}
    files.objects['BB_instructions.json'].append(('EV_INS_001', shared))
    files.plant('leak', 'BB_instructions.json', 'EV_INS_001')
    files.stores['BB.parquet'].append(('EV_IMG_002', files.stores['EV.parquet'][2][1]))
    files.record('BB_instructions.json', 'BB_INS_051')['image_ids'] = ['EV_IMG_002']
    files.plant('leak', 'BB_instructions.json', 'BB_INS_051')


def write(files: Files, folder: Path) -> None:
    """Writes all files, an entry on each line."""
    folder.mkdir(parents=True, exist_ok=True)

    def members(pairs: list) -> str:
        return '{\n' + ',\n'.join(f'{json.dumps(key)}: {json.dumps(value)}' for key, value in pairs) + '\n}'

    for name, pairs in files.objects.items():
        (folder / name).write_text(f'{{"meta": {{"version": "1"}}, "data": {members(pairs)}}}\n')
    for name, pairs in (*files.trains.items(), *files.stores.items()):
        if name.endswith('.json'):
            (folder / name).write_text(members(pairs))
        else:
            table = pa.table({'base64': [value for _, value in pairs], 'image_id': [key for key, _ in pairs]})
            pq.write_table(table, folder / name, row_group_size=16)
    for name, records in files.lists.items():
        lines = [json.dumps(record) for record in records]
        is_lines = name.endswith('.jsonl')
        (folder / name).write_text('\n'.join(lines) if is_lines else '[\n' + ',\n'.join(lines) + '\n]')
    (folder / 'pictures').mkdir(exist_ok=True)
    for name, data in files.pictures.items():
        (folder / 'pictures' / name).write_bytes(data)


def config(folder: Path, tokenizer: Path, max_seq_len: int = 120) -> str:
    """The text of a config that trains on the files, and evaluates on some."""
    return f"""
folder = {str(folder)!r}
model = dict()
template = dict(type='Otter')
tokenizer = dict(path={str(tokenizer)!r})
image_transform = dict(size=16)
train_dataloader = dict(batch_size=1, dataset=dict(max_seq_len={max_seq_len}, sources=[
    dict(type='MimicIt', instructions=f'{{folder}}/AA_instructions.json', train=f'{{folder}}/AA_train.json',
         images=f'{{folder}}/AA.json', retriever=dict(type='RelatedInstructions')),
    dict(type='MimicIt', instructions=f'{{folder}}/BB_instructions.json', images=f'{{folder}}/BB.parquet'),
    dict(type='Llava', annotations=f'{{folder}}/llava.json', images=f'{{folder}}/pictures', dialogue=True),
    dict(type='Alpaca', annotations=f'{{folder}}/alpaca.json'),
    dict(type='Dolly', annotations=f'{{folder}}/dolly.jsonl'),
]))
val_dataloader = dict(dataset=dict(sources=[
    dict(type='MimicIt', instructions=f'{{folder}}/EV_instructions.json', images=f'{{folder}}/EV.parquet'),
]))
"""

"""Damaged annotation files and images: each gives samples or an error that says where, soon and in bounded memory."""

import base64
import io
import json
import struct

import numpy as np
import pytest
import yaml
from hypothesis import strategies as st
from PIL import Image

from mmgpt.data.builder import build_image_store
from mmgpt.data.image_stores import open_picture, write_parquet_images
from mmgpt.data.opening import NamedData
from mmgpt.data.sources.table import TABLE, source_from_files
from mmgpt.data.sources.training_data import read_training_data
from mmgpt.data.verify import examine, open_patient
from mmgpt.registry import SOURCES
from tests.data import planting
from tests.data.fuzzing import (
    SECONDS,
    at_most,
    bounded_memory,
    changes,
    clear_errors,
    counts,
    fuzz,
    most_memory,
    mutated,
)

__all__ = ['bounded_memory']
pytestmark = pytest.mark.usefixtures('bounded_memory')

DIALOGUE = [{'from': 'human', 'value': '<image>\nWhat?'}, {'from': 'gpt', 'value': 'The last digit.'}] * 2
QUESTION = {'question': 'What is it?', 'question_id': 3, 'image': 'a.png', 'image_id': 7}
RECORDS = {  # a sound file of each kind
    'mimicit': {
        'data': {
            'A': {'instruction': 'What?', 'answer': 'The last.', 'image_ids': ['a.png'], 'rel_ins_ids': ['B']},
            'B': {'instruction': 'Is it?', 'answer': 'No.', 'image_ids': [], 'rel_ins_ids': []},
        }
    },
    'llava': [{'id': '1', 'image': 'a.png', 'conversations': DIALOGUE}],
    'llava_dial': [{'id': '1', 'image': 'a.png', 'conversations': DIALOGUE}, {'id': 2, 'conversations': DIALOGUE}],
    'minigpt4': {'annotations': [{'image_id': 'a', 'caption': 'A digit.'}]},
    'aokvqa': [
        {**QUESTION, 'choices': ['a', 'b'], 'correct_choice_idx': 1, 'rationales': ['It is.'], 'split': 'train'},
    ],
    'coco_caption': [{'image': 'a.png', 'caption': ['A digit.', 'A number.']}],
    'ocr_vqa': {'a': {'imageURL': 'x/a.png', 'questions': ['Who?', 'What?'], 'answers': ['He.', 'It.']}},
    'vqa': [{**QUESTION, 'answer': ['yes', 'yes', 'no']}],
    'text_ocr': {'data': [{**QUESTION, 'answers': ['yes', 'no']}]},
    'gqa': {'1': {**QUESTION, 'fullAnswer': 'It is.', 'imageId': '7'}},
    'clevr': {'questions': [{**QUESTION, 'answer': 'no', 'split': 'val', 'image_filename': 'a.png'}]},
    'nlvrv1': [{'sentence': 'It is.', 'label': 'true', 'identifier': '1-2', 'directory': '3'}],
    'nlvrv2': [{'images': ['a.png', 'a.png'], 'sentence': 'Left is.', 'label': True}],
    'snlive': [{'Flickr30K_ID': 'a', 'sentence2': 'It is.', 'gold_label': 'neutral', 'pairID': 'p'}],
    'dolly': [{'instruction': 'What?', 'context': '', 'response': 'It.'}, {'instruction': 'Q', 'response': 'A'}],
    'alpaca': [{'instruction': 'What?', 'input': 'x', 'output': 'It.'}],
    'messages': [
        {
            'id': 'm',
            'messages': [{'role': 'user', 'content': '<image>What?'}, {'role': 'assistant', 'content': 'It.'}],
            'images': ['a.png'],
        },
        {
            'messages': [
                {'role': 'user', 'content': [{'type': 'image', 'image': 'a.png'}, {'type': 'text', 'text': 'Q'}]},
                {'role': 'assistant', 'content': [{'type': 'text', 'text': 'A'}]},
            ]
        },
    ],
    'baize': [{'topic': 't', 'input': 'Talk.\n[|Human|] Hi?\n[|AI|] Yes.\n[|Human|] '}],
}
LINES = {'dolly', 'nlvrv1', 'snlive', 'messages'}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fuzz')
    (folder / 'pictures').mkdir()
    (folder / 'pictures' / 'a.png').write_bytes(planting.picture(0))
    return folder


def test_every_source_is_fuzzed():
    fuzzed = {TABLE[name].source['type'] for name in RECORDS}
    containers = {'MimicItHub', 'ImageTextTars', 'Mmc4'}  # see test_fuzzing_containers.py
    assert fuzzed | containers == {entry.source['type'] for entry in TABLE.values()}


@counts(100)
def test_damaged_annotations(folder, llama_tokenizer_dir, prompter, count):
    @fuzz(count, st.sampled_from(sorted(RECORDS)), changes)
    def check(kind, changes):
        path = folder / f'{kind}_train.{"jsonl" if kind in LINES else "json"}'
        records = RECORDS[kind]
        text = '\n'.join(map(json.dumps, records)) if kind in LINES else json.dumps(records, indent=1)
        path.write_bytes(mutated(text.encode(), changes))
        with at_most(SECONDS):
            with clear_errors(path):
                source = source_from_files(kind, path, folder / 'pictures')
                for index in range(len(source)):
                    with clear_errors(path, path.stem):
                        sample = source[index]
                        with clear_errors('turn', 'marks', 'expected', 'text'):
                            prompter.encode(sample.turns, max_seq_len=64)
            named = NamedData.of_files(kind, path, folder / 'pictures', 'Otter', llama_tokenizer_dir, 64)
            report = examine(open_patient(named))  # the doctor never stops
            assert all(finding.message and finding.fix for finding in report.findings)
            json.dumps(report.to_dict(), ensure_ascii=False).encode()


@counts(20)
def test_damaged_training_files(folder, count):
    """``XX_train.json``, whose entries name those of the instructions."""
    instructions = folder / 'train_instructions.json'
    instructions.write_text(json.dumps(RECORDS['mimicit']))
    train = folder / 'damaged_train.json'

    @fuzz(count, changes)
    def check(changes):
        train.write_bytes(mutated(json.dumps({'A': ['B'], 'B': []}, indent=1).encode(), changes))
        with at_most(SECONDS), clear_errors(train):
            source = SOURCES.build({'type': 'MimicIt', 'instructions': instructions, 'train': train})
            for index in range(len(source)):
                source[index]


@counts(40)
def test_damaged_training_data(folder, count):
    """Otter's YAML."""
    (folder / 'instructions.json').write_text(json.dumps(RECORDS['mimicit']))
    entry = {'mimicit_path': str(folder / 'instructions.json'), 'num_samples': 3, 'task_description': ['Look.']}
    shown = {**entry, 'images_path': str(folder / 'pictures')}
    sound = yaml.safe_dump({'IMAGE_TEXT': {'A': shown}, 'TEXT_ONLY': {'B': entry}})
    path = folder / 'damaged.yaml'

    @fuzz(count, changes)
    def check(changes):
        path.write_bytes(mutated(sound.encode(), changes))
        with at_most(SECONDS), clear_errors(path):
            read_training_data(path)


ALIASES = ''.join(f'a{i}: &a{i} [{", ".join([f"*a{i - 1}"] * 9)}]\n' for i in range(1, 12))
MERGES = ''.join(f'a{i}: &a{i} {{<<: [{", ".join([f"*a{i - 1}"] * 9)}]}}\n' for i in range(1, 12))


@pytest.mark.parametrize(
    'text',
    [
        f'a0: &a0 [lol]\n{ALIASES}',
        f'a0: &a0 {{x: 1}}\n{MERGES}',
        'IMAGE_TEXT: &a [*a]',
        '&a {*a : 1}',
        '[' * 5000,
        'IMAGE_TEXT: 2001-99-99',
        'TEXT_ONLY: {A: {mimicit_path: 0b_}}',
        f'TEXT_ONLY: {{A: {{mimicit_path: {"x" * 5000}}}}}',
    ],
)
def test_training_data_that_blows_up(tmp_path, text):
    path = tmp_path / 'data.yaml'
    path.write_text(text)
    with at_most(SECONDS), most_memory(100), pytest.raises((ValueError, OSError), match=r'data\.yaml'):
        read_training_data(path)


def encoded(format: str, mode: str = 'RGB') -> bytes:
    pixels = np.random.default_rng(0).integers(0, 256, (20, 24, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(file, format)
    return file.getvalue()


PICTURES = [encoded(f) for f in ('PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM', 'ICO')]
PICTURES += [encoded('PNG', 'P'), encoded('PNG', '1'), encoded('JPEG', 'CMYK'), encoded('PNG', 'LA')]


@counts(70)
def test_damaged_pictures(count):
    @fuzz(count, st.sampled_from(PICTURES) | st.binary(max_size=60), changes)
    def check(data, changes):
        with at_most(SECONDS), clear_errors('the file'):
            picture = open_picture(mutated(data, changes), 'the file', 64_000_000)
            assert picture.mode == 'RGB'
            assert np.asarray(picture).shape == (picture.height, picture.width, 3)


@counts(30)
def test_damaged_image_stores(folder, count):
    flat = {f'key{i}': base64.b64encode(planting.picture(i, size=8)).decode() for i in range(3)}
    (folder / 'flat.json').write_text(json.dumps(flat, indent=1))
    (folder / 'wrapped.json').write_text(json.dumps({'base64': flat}))
    write_parquet_images(folder / 'one.parquet', ((key, planting.picture(0, size=8)) for key in flat), 2)

    @fuzz(count, st.sampled_from(['flat.json', 'wrapped.json', 'one.parquet']), changes)
    def check(name, changes):
        path = folder / f'damaged_{name}'
        path.write_bytes(mutated((folder / name).read_bytes(), changes))
        with at_most(SECONDS), clear_errors(path):
            store = build_image_store(path)
            for key in list(store.keys()):
                with clear_errors(path):
                    store.open(key)


def tiff_of(side: int) -> bytes:
    """A TIFF that says it is side x side pixels."""
    tags = [(256, 4, side), (257, 4, side), (258, 3, 8), (259, 3, 1), (262, 3, 1), (273, 4, 8), (278, 4, side)]
    body = struct.pack('<H', len(tags)) + b''.join(struct.pack('<HHII', tag, kind, 1, v) for tag, kind, v in tags)
    return b'II*\x00' + struct.pack('<I', 8) + body + struct.pack('<I', 0)


def icon_of(data: bytes) -> bytes:
    """An icon that says it is 16 x 16 pixels, with a PNG inside."""
    return struct.pack('<HHHBBBBHHII', 0, 1, 1, 16, 16, 0, 0, 1, 8, len(data), 22) + data


BOMBS = [planting.huge_png(20_000), planting.huge_png(10**6), tiff_of(30_000), icon_of(planting.huge_png(9000))]


@pytest.mark.parametrize('data', BOMBS)
def test_bombs_are_refused_before_they_are_decoded(data):
    with pytest.raises(ValueError, match='the file'), most_memory(100):
        open_picture(data, 'the file', 64_000_000)

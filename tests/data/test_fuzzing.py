"""Damaged annotation files and images: each gives samples or an error that says where, soon and in bounded memory."""

import base64
import io
import json
import resource
import signal
import struct
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from mmgpt.data.builder import build_image_store
from mmgpt.data.image_stores import open_picture, write_parquet_images
from mmgpt.data.opening import NamedData
from mmgpt.data.sources.table import TABLE, source_from_files
from mmgpt.data.verify import examine, open_patient
from tests.data import planting

SECONDS = 20  # that a file of a few hundred bytes may take
MEMORY = 600  # MiB: a picture of 64 million pixels of 4 bytes, and again while it becomes RGB, and a little

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
TOKENS = [
    b'null',
    b'true',
    b'[]',
    b'{}',
    b'""',
    b'1e999',
    b'-1',
    b'NaN',
    b'"',
    b'\\',
    b'\\ud800',
    b'{',
    b']',
    b',',
    b':',
]
TOKENS += [b'\x00', b'\xff\xfe', b'\xef\xbb\xbf', b'"<image>"', b'[' * 2000, b'{"a":' * 500, b'9' * 5000, b'\n' * 50]
VALUES = [*TOKENS[:8], b'"\\ud800 x"', b'["\\ud800"]', b'"\\u0000"', b'[3, null]']

places = st.floats(0, 1, exclude_max=True)
changes = st.lists(
    st.one_of(
        st.tuples(st.just('put'), places, st.sampled_from(TOKENS) | st.binary(max_size=8)),
        st.tuples(st.just('cut'), places, st.integers(1, 60)),
        st.tuples(st.just('repeat'), places, st.integers(1, 60)),
        st.tuples(st.just('flip'), places, st.integers(0, 7)),
        st.tuples(st.just('end'), places, st.none()),
        st.tuples(st.just('value'), places, st.sampled_from(VALUES)),
    ),
    min_size=1,
    max_size=4,
)


def mutated(data: bytes, changes: list) -> bytes:
    for how, where, what in changes:
        place = int(where * len(data))
        if how == 'put':
            data = data[:place] + what + data[place:]
        elif how == 'cut':
            data = data[:place] + data[place + what :]
        elif how == 'repeat':
            data = data[:place] + data[place : place + what] * 2 + data[place + what :]
        elif how == 'flip' and data:
            data = data[:place] + bytes([data[place] ^ (1 << what)]) + data[place + 1 :]
        elif how == 'end':
            data = data[:place]
        elif how == 'value':  # of a member
            colon = data.find(b':', place)
            comma = min((end for end in (data.find(mark, colon) for mark in (b',', b'}')) if end > 0), default=-1)
            if 0 < colon < comma:
                data = data[: colon + 1] + what + data[comma:]
    return data


@contextmanager
def at_most(seconds: int):
    """Interrupts what hangs."""

    def stop(*_):
        raise TimeoutError(f'took more than {seconds} s')

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def clear_errors(*names: object):
    """Lets errors pass that are meant for people: they name the file or sample that is at fault."""
    try:
        yield
    except (ValueError, KeyError, OSError) as error:
        said = ' '.join(map(str, [*error.args, *getattr(error, '__notes__', ())]))
        if not any(str(name) in said for name in names):
            pytest.fail(f'{type(error).__name__} does not say where: {said!r}')


def fuzz(count: int, *strategies):
    """Runs a check on so many drawn examples."""
    options = settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    return lambda check: options(given(*strategies)(check))()


def counts(few: int):
    return pytest.mark.parametrize('count', [few, pytest.param(10 * few, marks=pytest.mark.slow)])


@pytest.fixture(autouse=True)
def _bounded_memory():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    yield
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MEMORY * 1024  # KiB


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('fuzz')
    (folder / 'pictures').mkdir()
    (folder / 'pictures' / 'a.png').write_bytes(planting.picture(0))
    return folder


def test_every_source_is_fuzzed():
    fuzzed = {TABLE[name].source['type'] for name in RECORDS}
    tables = {'MimicItHub'}  # their files are Parquet's, as those of the image stores below
    tars = {'ImageTextTars', 'Mmc4'}  # what is damaged in them is replaced, see sources/test_web.py
    assert fuzzed | tables | tars == {entry.source['type'] for entry in TABLE.values()}


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


@pytest.mark.parametrize('data', [planting.huge_png(20_000), planting.huge_png(10**6), tiff_of(30_000)])
def test_bombs_are_refused_before_they_are_decoded(data):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match='the file'):
        open_picture(data, 'the file', 64_000_000)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100 * 1024  # KiB

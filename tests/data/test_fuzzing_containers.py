"""Damaged tables, tars and videos: each gives samples or an error that says where, soon and in bounded memory."""

import gzip
import io
import json
import re
import tarfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st

from mmgpt.data.builder import build_image_store
from mmgpt.data.image_stores import TableImages, VideoFiles
from mmgpt.data.remote_tables import RemoteTable
from mmgpt.data.sources import Mmc4, Unusable
from mmgpt.data.sources.table import source_from_files
from mmgpt.structures import Medium
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

PICTURE = {'bytes': planting.picture(0, size=8), 'path': None}
TALK = [{'role': 'user', 'content': '<image>What?'}, {'role': 'assistant', 'content': 'It.'}]
HUB = {'id': 'A', 'instruction': 'What?', 'answer': 'It.', 'related instructions': ['B']}
TABLES = {  # rows, and what reads them
    'messages': [{'id': f'm{i}', 'messages': TALK, 'images': [PICTURE]} for i in range(3)],
    'mimicit_hub': [{**HUB, 'images': [PICTURE, PICTURE]}, {**HUB, 'id': 'B', 'images': []}],
    'images': [{'id': f'i{i}', 'image': PICTURE} for i in range(3)],
}
DISGUISED = ['none', 'snappy', 'gzip', 'zstd']


def write_table(path, rows, compression='none') -> None:
    table = pa.Table.from_pylist(rows)
    if path.suffix == '.parquet':
        pq.write_table(table, path, row_group_size=2, compression=compression)
    else:
        with pa.OSFile(str(path), 'wb') as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)


def flipped_footers(data, step):
    """A Parquet file with one bit of its footer flipped, every ``step``-th of them in turn."""
    footer = int.from_bytes(data[-8:-4], 'little') + 8
    for bit in range(8 * (len(data) - footer), 8 * len(data), step):
        yield data[: bit // 8] + bytes([data[bit // 8] ^ 1 << bit % 8]) + data[bit // 8 + 1 :]


def read_all(kind, path) -> None:
    """Reads every sample and picture; errors have to name the file."""
    if kind == 'images':
        store = TableImages(path)
        for key in list(store.keys()):
            with clear_errors(path):
                store.open(key)
        return
    source = source_from_files(kind, path)
    for index in range(len(source)):
        with clear_errors(path):
            for turn in source[index].turns:
                for medium in turn.media:
                    for frame in medium.frames:
                        source.images.open(frame)


@counts(60)
def test_damaged_tables(tmp_path, count):
    @fuzz(count, st.sampled_from(sorted(TABLES)), st.sampled_from([*DISGUISED, 'arrow']), changes)
    def check(kind, form, changes):
        path = tmp_path / ('table.arrow' if form == 'arrow' else 'table.parquet')
        write_table(path, TABLES[kind], form)
        path.write_bytes(mutated(path.read_bytes(), changes))
        with at_most(SECONDS), clear_errors(path):
            read_all(kind, path)


@pytest.mark.parametrize('kind', sorted(TABLES))
def test_names_of_columns_that_are_no_text(tmp_path, kind):
    path = tmp_path / 'table.parquet'
    write_table(path, TABLES[kind])
    data = path.read_bytes()
    names = b'|'.join(name.encode() for name in [*TABLES[kind][0], 'element', 'bytes', 'path'])
    places = [match.start() for match in re.finditer(names, data)]
    assert len(places) > 5
    for place in places:
        path.write_bytes(mutated(data, [('flip', (place + 0.5) / len(data), 7)]))
        with clear_errors(path):
            read_all(kind, path)


@pytest.mark.parametrize(('kind', 'step'), [('images', 5), pytest.param('mimicit_hub', 1, marks=pytest.mark.slow)])
def test_every_bit_of_a_footer(tmp_path, kind, step):
    """Such as one that says that a column has fewer rows than the others, or a row group less than none."""
    path = tmp_path / 'table.parquet'
    write_table(path, TABLES[kind])
    for damaged in flipped_footers(path.read_bytes(), step):
        path.write_bytes(damaged)
        with clear_errors(path):
            read_all(kind, path)


@pytest.mark.parametrize('step', [29, pytest.param(3, marks=pytest.mark.slow)])
def test_every_bit_of_a_footer_that_lies_elsewhere(tmp_path, monkeypatch, step):
    """Such as one that contradicts itself about a column: asked for that column's place, pyarrow ends the process."""
    monkeypatch.setenv('MMGPT_CACHE', str(tmp_path / 'cache'))
    path = tmp_path / 'table.parquet'
    pq.write_table(pa.Table.from_pylist(TABLES['images']), path, store_schema=False)
    for number, damaged in enumerate(flipped_footers(path.read_bytes(), step)):
        path = tmp_path / f'{number}.parquet'  # another one: footers are remembered
        path.write_bytes(damaged)
        with clear_errors(path):
            table = RemoteTable(f'file://{path}')
            for place in range(len(table)):
                table[place]
        path.unlink()


@counts(15)
def test_damaged_folders_of_datasets(tmp_path, count):
    folder = tmp_path / 'saved'
    folder.mkdir()
    write_table(folder / 'data.arrow', TABLES['messages'])
    sound = json.dumps({'_data_files': [{'filename': 'data.arrow'}], '_indices_files': None, '_fingerprint': 'x'})

    @fuzz(count, changes)
    def check(changes):
        (folder / 'state.json').write_bytes(mutated(sound.encode(), changes))
        with at_most(SECONDS), clear_errors(folder):
            read_all('messages', folder)


COLUMNS = [
    pa.array([1, 2]),
    pa.array([None, None]),
    pa.array([['a'], None]),
    pa.array([{'bytes': 1}, None]),
    pa.array([{'path': 3}, {'path': 4}]),
    pa.array([{'bytes': None, 'path': 'a.png'}, None]),
    pa.array([b'\xff\xfe', b'']),
    pa.array(['a', None]),
    pa.array([1.5, float('nan')]),
    pa.array(['a', 'b']).dictionary_encode(),
    pa.array([], pa.string()),
    pa.array([[PICTURE], [None]]),
    pa.array([[('k', 1)], []], pa.map_(pa.string(), pa.int64())),
]


@pytest.mark.parametrize('ending', ['parquet', 'arrow'])
@pytest.mark.parametrize('kind', [*sorted(TABLES), 'base64'])
def test_columns_of_other_types(tmp_path, kind, ending):
    """Each column of each other type in turn."""
    path = tmp_path / f'table.{ending}'
    text = planting.text(PICTURE['bytes'])
    rows = TABLES.get(kind) or [{'image_id': f'b{i}', 'base64': text} for i in range(2)]
    for name in rows[0]:
        for column in COLUMNS:
            table = pa.Table.from_pylist(rows[: len(column)], pa.Table.from_pylist(rows).schema)
            table = table.set_column(table.column_names.index(name), name, column)
            if ending == 'parquet':
                pq.write_table(table, path)
            else:
                with pa.OSFile(str(path), 'wb') as file, pa.ipc.new_stream(file, table.schema) as writer:
                    writer.write_table(table)
            with at_most(SECONDS), clear_errors(path):
                if kind != 'base64':
                    read_all(kind, path)
                elif ending == 'parquet':
                    store = build_image_store(path)
                    for key in list(store.keys()):
                        with clear_errors(path):
                            store.open(key)


def bomb(kind: str, size: int, rows: int) -> pa.Table:
    """Rows that take a thousand times the memory of their file."""
    ids = [f'i{n}' for n in range(rows)]
    if kind == 'images':
        return pa.table({'id': ids, 'image': [{'bytes': bytes(size), 'path': None}] * rows})
    if kind == 'base64':
        return pa.table({'image_id': ids, 'base64': ['A' * size] * rows})
    talk = [TALK[0], {'role': 'assistant', 'content': 'a' * size}]
    return pa.table({'id': ids, 'messages': [talk] * rows, 'images': [[]] * rows})


@pytest.mark.parametrize('dictionary', [False, True])
@pytest.mark.parametrize('kind', ['images', 'base64', 'messages'])
def test_tables_that_blow_up(tmp_path, kind, dictionary):
    path = tmp_path / 'table.parquet'
    table = bomb(kind, 1 << 20, 60)
    pq.write_table(table, path, compression='zstd', use_dictionary=dictionary)
    del table
    assert path.stat().st_size < 100_000
    read = {
        'base64': lambda: build_image_store(path),
        'images': lambda: TableImages(path).read('i0'),
        'messages': lambda: source_from_files(kind, path)[0],
    }[kind]
    with at_most(SECONDS), most_memory(150), pytest.raises(ValueError, match=r'table\.parquet'):
        read()


@pytest.mark.parametrize('dictionary', [False, True])
def test_long_texts_that_every_row_repeats_are_data(tmp_path, dictionary):
    """As the prompts of classification sets are: 20 MB of them in a file of some 50 kB."""
    talk = [{'role': 'user', 'content': 'Which bird is it? ' * 140}, {'role': 'assistant', 'content': 'A wren.'}]
    table = pa.table({'id': [f'i{n}' for n in range(8000)], 'messages': [talk] * 8000})
    pq.write_table(table, tmp_path / 'table.parquet', compression='zstd', use_dictionary=dictionary)
    assert (tmp_path / 'table.parquet').stat().st_size < 100_000
    source = source_from_files('messages', tmp_path / 'table.parquet')
    assert source[7999].turns[1].text == 'A wren.'


def tar_of(files, form: int = tarfile.USTAR_FORMAT) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode='w', format=form) as tar:
        for name, data in files:
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target.getvalue()


PAGE = {
    'text_list': ['A cat sat.', 'It then slept.', 'End.'],
    'image_info': [
        {'matched_text_index': n, 'matched_sim': 0.3, 'image_base64': planting.text(planting.picture(n))}
        for n in range(2)
    ],
    'similarity_matrix': [[0.1, 0.3, 0.0], [0.5, 0.2, 0.1]],
}
WRITTEN = {
    'is_gpt': True,
    'example': 'Some _!_IMAGE1_!_ text _!_IMAGE2_!_ more',
    'image_map': {f'_!_IMAGE{n}_!_': {'base64_image': planting.text(planting.picture(n))} for n in (1, 2)},
}
LONG = f'{"folder" * 15}/{"x" * 60}'
TARS = {
    'image_text_tars': [
        ('0.jpg', planting.picture(0, 'JPEG')),
        ('0.txt', b'A digit.'),
        (f'{LONG}.png', planting.picture(1)),
        (f'{LONG}.txt', b'Two.'),
    ],
    'mmc4': [('0.json', json.dumps(PAGE).encode()), ('1.json', json.dumps(WRITTEN).encode())],
    'images': [('a.png', planting.picture(0)), (f'{LONG}.jpg', planting.picture(1, 'JPEG'))],
}
FORMS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def read_tar(kind, path) -> None:
    if kind == 'images':
        store = build_image_store(path)
        for key in list(store.keys()):
            with clear_errors(path):
                store.open(key)
        return
    options = {'min_bytes': 0} if kind == 'mmc4' else {}
    source = source_from_files(kind, path)
    for name, value in options.items():
        setattr(source, name, value)
    for index in range(len(source)):
        with clear_errors(path):
            source[index]


@counts(80)
def test_damaged_tars(tmp_path, count):
    """Of the headers, and of the pages and captions within."""
    heads = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 511), st.binary(min_size=1, max_size=12)), max_size=2)

    @fuzz(count, st.sampled_from(sorted(TARS)), st.sampled_from(FORMS), changes, heads, st.booleans())
    def check(kind, form, changes, heads, within):
        files = [(name, mutated(data, changes)) for name, data in TARS[kind]] if within else TARS[kind]
        data = bytearray(tar_of(files, form))
        if not within:
            for block, place, what in heads:
                begin = block * 512 + place
                data[begin : begin + len(what)] = what[: len(data) - begin]
            mend(data)
            data = data if heads else mutated(bytes(data), changes)
        path = tmp_path / 'damaged.tar'
        path.write_bytes(data)
        with at_most(SECONDS), clear_errors(path):
            read_tar(kind, path)


def mend(data: bytearray) -> None:
    """Makes the checksums of all that looks like a header true."""
    for start in range(0, len(data) - 511, 512):
        if data[start + 257 : start + 262] == b'ustar':
            data[start + 148 : start + 156] = b' ' * 8
            data[start + 148 : start + 156] = b'%06o\0 ' % sum(data[start : start + 512])


def with_size(data: bytes, size: bytes, block: int = 0) -> bytes:
    """A tar whose member says that it has another size."""
    data = bytearray(data)
    data[block * 512 + 124 : block * 512 + 136] = size
    mend(data)
    return bytes(data)


HUGE = b'\x80' + (1 << 60).to_bytes(11, 'big')
NEGATIVE = b'\xff' + ((1 << 88) - 512).to_bytes(11, 'big')
SHORT = tar_of([('0.jpg', b'x' * 10), ('0.txt', b'y' * 10)])
NAMED = tar_of([(f'{LONG}.jpg', b'x'), (f'{LONG}.txt', b'y')], tarfile.GNU_FORMAT)


@pytest.mark.parametrize('kind', ['images', 'image_text_tars'])
@pytest.mark.parametrize(
    'data',
    [
        with_size(SHORT, HUGE),
        with_size(SHORT, b'77777777777\0'),
        with_size(SHORT, NEGATIVE),
        with_size(SHORT, HUGE, 2),
        with_size(NAMED, HUGE),
        with_size(NAMED, b'77777777777\0'),
        with_size(NAMED, NEGATIVE),
        tar_of([('0.jpg', b'x'), ('x' * (1 << 20) + '.txt', b'y')], tarfile.GNU_FORMAT),
        gzip.compress(SHORT),
        b'PK\x03\x04' + bytes(1020),
    ],
)
def test_tars_that_blow_up(tmp_path, kind, data):
    path = tmp_path / 'bad.tar'
    path.write_bytes(data)
    with at_most(SECONDS), most_memory(100), pytest.raises(ValueError, match=r'bad\.tar'):
        read_tar(kind, path)


@pytest.mark.parametrize(
    ('matching', 'changes'),
    [
        ('optimal', {'image_info': [{'image_base64': 10**9}]}),
        ('optimal', {'image_info': [{'image_base64': [1, 2]}]}),
        ('optimal', {'similarity_matrix': [[10**400, 0, 0], [0, 0, 0]]}),
        ('optimal', {'similarity_matrix': [[float('nan')] * 3] * 2}),
        ('stored', {'image_info': [{**PAGE['image_info'][0], 'matched_text_index': -1}]}),
        ('stored', {'image_info': [{**PAGE['image_info'][0], 'matched_text_index': 99}]}),
        ('optimal', None),
    ],
)
def test_pages_that_are_none(tmp_path, matching, changes):
    text = '[' * 100_000 if changes is None else json.dumps({**PAGE, **changes})
    (tmp_path / '0.tar').write_bytes(tar_of([('0.json', text.encode())]))
    source = Mmc4(tmp_path / '0.tar', min_bytes=0, matching=matching)
    with at_most(SECONDS), most_memory(100), pytest.raises(Unusable, match=r"0\.tar: '0' is no page"):
        source[0]


@counts(10)
def test_damaged_videos(tmp_path, count):
    pytest.importorskip('av', reason='pip install "mmgpt[video]" brings av')
    from tests.data.test_video import write_video

    clips = tmp_path / 'clips'
    clips.mkdir()
    for name, codec in (('a.mp4', 'libx264'), ('a.avi', 'mpeg4'), ('a.mkv', 'libx264'), ('a.mpg', 'mpeg2video')):
        write_video(tmp_path / name, 6, codec)
    sound = {path.name: path.read_bytes() for path in tmp_path.glob('a.*')}

    @fuzz(count, st.sampled_from(sorted(sound)), changes)
    def check(name, changes):
        path = clips / name
        path.write_bytes(mutated(sound[name], changes))
        with at_most(SECONDS), clear_errors(path):
            store = VideoFiles(clips, 3)
            for frame in store.expand(Medium((name,))).frames:
                with clear_errors(path):
                    store.open(frame)

import base64
import gzip
import io
import json
import multiprocessing
import pickle
import struct
import tarfile
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmgpt.data.builder import build_image_store
from mmgpt.data.image_stores import (
    JsonImages,
    ParquetImages,
    TableImages,
    TarImages,
    decode_base64,
    open_picture,
    parquet,
    write_parquet_images,
)


@pytest.fixture
def pictures(make_picture):
    return {f'XX_IMG_{i:02d}': make_picture(i, format='JPEG' if i == 3 else 'PNG') for i in range(10)}


def as_text(pictures) -> dict[str, str]:
    """Base64 as it is met: mostly standard, one URL-safe, one without padding, one broken into lines."""
    text = {key: base64.b64encode(data).decode() for key, data in pictures.items()}
    text['XX_IMG_01'] = base64.urlsafe_b64encode(pictures['XX_IMG_01']).decode()
    text['XX_IMG_02'] = text['XX_IMG_02'].rstrip('=')
    text['XX_IMG_04'] = base64.encodebytes(pictures['XX_IMG_04']).decode()
    return text


def flat_json(folder, pictures):
    (folder / 'XX.json').write_text(json.dumps(as_text(pictures)))
    return JsonImages(folder / 'XX.json')


def wrapped_json(folder, pictures):
    lists = {key: [text] for key, text in as_text(pictures).items()}
    (folder / 'XX.json').write_text(json.dumps({'base64': lists}, indent=1))
    return JsonImages(folder / 'XX.json')


def parquet_file(folder, pictures):
    assert write_parquet_images(folder / 'XX.parquet', pictures.items(), rows_per_group=3) == len(pictures)
    return ParquetImages(folder / 'XX.parquet')


def parquet_folder(folder, pictures):
    """As pandas writes it: an index without a name, which becomes a column of a name of its own."""
    described = json.dumps({'index_columns': ['__index_level_0__']})
    text = as_text(pictures)
    for part, keys in enumerate((list(text)[:4], [], list(text)[4:])):
        table = pa.table({'base64': [text[key] for key in keys], '__index_level_0__': keys})
        table = table.cast(pa.schema([('base64', pa.string()), ('__index_level_0__', pa.string())]))
        pq.write_table(table.replace_schema_metadata({'pandas': described}), folder / f'XX_{part}.parquet')
    return ParquetImages(folder)


@pytest.fixture(params=['in memory', 'kept'])
def kept(request, monkeypatch):
    """Whether indexes are kept on disk, as those of big files are."""
    if request.param == 'kept':
        monkeypatch.setattr('mmgpt.data.cache.SMALL', 0)
    return request.param == 'kept'


def tar_folder(folder, pictures):
    for part, keys in enumerate((list(pictures)[:4], list(pictures)[4:])):
        with tarfile.open(folder / f'XX_{part}.tar', 'w', format=tarfile.PAX_FORMAT) as tar:
            for number, key in enumerate(keys):
                member = tarfile.TarInfo(key if number else f'./{key}')
                member.size = len(pictures[key])
                tar.addfile(member, io.BytesIO(pictures[key]))
            folder_of_the_tar = tarfile.TarInfo('a_folder')
            folder_of_the_tar.type = tarfile.DIRTYPE
            tar.addfile(folder_of_the_tar)
    return build_image_store(folder)


def arrow_table(folder, pictures):
    cells = [{'bytes': data, 'path': None} for data in pictures.values()]
    table = pa.table({'id': list(pictures), 'image': cells})
    with pa.OSFile(str(folder / 'XX.arrow'), 'wb') as file, pa.ipc.new_stream(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=4)
    return build_image_store(folder)


def datasets_parquet(folder, pictures):
    pq.write_table(pa.table({'id': list(pictures), 'image': list(pictures.values())}), folder / 'XX.parquet')
    return build_image_store({'type': 'TableImages', 'path': folder / 'XX.parquet'})


FORMS = [flat_json, wrapped_json, parquet_file, parquet_folder, tar_folder, arrow_table, datasets_parquet]


@pytest.fixture(params=FORMS)
def store(request, kept, tmp_path, pictures):
    return request.param(tmp_path, pictures)


@pytest.mark.parametrize('pages', ['plain', 'compressed', 'dictionary', 'large string'])
def test_parquet_of_every_layout(tmp_path, kept, pictures, pages):
    text = {**as_text(pictures), 'none': None, 'long': 'QUJD' * 500_000, 'twin': as_text(pictures)['XX_IMG_05']}
    schema = pa.schema([('id', pa.string()), ('base64', pa.large_string() if pages == 'large string' else pa.string())])
    table = pa.table({'id': list(text), 'base64': list(text.values())}, schema)
    pq.write_table(
        table,
        tmp_path / 'x.parquet',
        row_group_size=7,
        data_page_size=1000,
        compression='snappy' if pages == 'compressed' else 'none',
        use_dictionary=pages == 'dictionary',
    )
    store = ParquetImages(tmp_path / 'x.parquet')
    rewritten = list(tmp_path.rglob('cells-*.bin'))
    assert len(rewritten) == (kept and pages in ('compressed', 'dictionary'))
    for same in (store, pickle.loads(pickle.dumps(store)), ParquetImages(tmp_path / 'x.parquet')):
        assert {key: same.read(key) for key in pictures} == pictures
        assert same.read('twin') == pictures['XX_IMG_05']
        assert same.read('long') == b'ABC' * 500_000
        with pytest.raises(ValueError, match=r"x.parquet: image 'none' is empty"):
            same.read('none')


def test_what_is_kept_follows_its_file(tmp_path, monkeypatch, pictures):
    monkeypatch.setattr('mmgpt.data.cache.SMALL', 0)
    parquet_file(tmp_path, pictures)
    write_parquet_images(tmp_path / 'XX.parquet', [('other', pictures['XX_IMG_00'])])
    assert list(ParquetImages(tmp_path / 'XX.parquet').keys()) == ['other']
    assert len(list((tmp_path / '.mmgpt').glob('XX.parquet.picture-index-*-*'))) == 1


def test_every_form_gives_the_same_pictures(store, pictures):
    assert len(store) == len(pictures)
    assert list(store.keys()) == list(pictures)
    for key in reversed(pictures):
        assert key in store
        assert store.read(key) == pictures[key]
        picture = store.open(key)
        assert picture.mode == 'RGB'
        np.testing.assert_array_equal(picture, Image.open(io.BytesIO(pictures[key])).convert('RGB'))


def test_an_unknown_key_is_answered_with_its_neighbours(store):
    assert 'XX_IMG_99' not in store
    with pytest.raises(KeyError, match=r"there is no image 'XX_IMG_05b'; did you mean 'XX_IMG_05' or 'XX_IMG_06'"):
        store.read('XX_IMG_05b')


def _read(store, key, queue):
    queue.put(store.read(key))


def test_a_store_works_in_a_forked_worker_and_pickled(store, pictures):
    store.read('XX_IMG_00')  # its files are open here already
    context = multiprocessing.get_context('fork')
    queue = context.Queue()
    process = context.Process(target=_read, args=(store, 'XX_IMG_07', queue))
    process.start()
    assert queue.get(timeout=60) == pictures['XX_IMG_07']
    process.join()
    assert pickle.loads(pickle.dumps(store)).read('XX_IMG_00') == pictures['XX_IMG_00']


def test_an_empty_value_is_a_fault_with_its_place(tmp_path):
    table = pa.table({'id': ['a', 'b'], 'base64': ['aaaa', None]})
    pq.write_table(table, tmp_path / 'x.parquet')
    with pytest.raises(ValueError, match=r"x.parquet: image 'b' is empty"):
        ParquetImages(tmp_path / 'x.parquet').read('b')
    (tmp_path / 'x.json').write_text('{"a": "",\n "b": 7}')
    with pytest.raises(ValueError, match=r"x.json, line 2: image 'b' should be base64 text, got int"):
        JsonImages(tmp_path / 'x.json').read('b')
    with pytest.raises(ValueError, match=r"x.json: image 'a' is no picture"):
        JsonImages(tmp_path / 'x.json').open('a')


def test_files_of_another_form_are_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match='no such Parquet file'):
        ParquetImages(tmp_path / 'missing.parquet')
    with pytest.raises(FileNotFoundError, match=r'folder with \*.parquet'):
        ParquetImages(tmp_path)
    (tmp_path / 'x.parquet').write_bytes(b'no parquet')
    with pytest.raises(ValueError, match=r'x.parquet: cannot be read as a Parquet file'):
        ParquetImages(tmp_path)
    pq.write_table(pa.table({'id': ['a'], 'bytes': ['b']}), tmp_path / 'x.parquet')
    with pytest.raises(
        ValueError, match=r"expected the columns \"base64\" and one of image ids, got \['id', 'bytes'\]"
    ):
        ParquetImages(tmp_path)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=40), url_safe=st.booleans(), padded=st.booleans())
def test_base64_of_both_alphabets_with_and_without_padding(data, url_safe, padded):
    text = (base64.urlsafe_b64encode if url_safe else base64.b64encode)(data).decode()
    assert decode_base64(text if padded else text.rstrip('='), 'x') == data


@pytest.mark.parametrize('text', ['a', 'ab!d', 'abcde', 'äöüß', 'a=bc'])
def test_bad_base64_is_refused(text):
    with pytest.raises(ValueError, match='x is not valid base64'):
        decode_base64(text, 'x')


def test_modes_become_rgb():
    for mode in ('L', 'LA', 'P', 'RGBA', 'CMYK', '1'):
        file = io.BytesIO()
        Image.new(mode, (3, 2)).save(file, 'TIFF' if mode == 'CMYK' else 'PNG')
        assert open_picture(file.getvalue(), 'x', 100).mode == 'RGB'


def test_a_picture_that_is_too_large_is_refused_before_it_is_decoded():
    for side, limit, message in (
        (9_000, 64_000_000, 'has 9000 x 9000 pixels, more than max_pixels=64000000'),
        (200_000, 10**12, 'is too large for Pillow'),
    ):
        chunks = [(b'IHDR', struct.pack('>IIBBBBB', side, side, 8, 2, 0, 0, 0)), (b'IDAT', b'')]
        bomb = b'\x89PNG\r\n\x1a\n' + b''.join(
            struct.pack('>I', len(data)) + name + data + struct.pack('>I', zlib.crc32(name + data))
            for name, data in chunks
        )
        with pytest.raises(ValueError, match=f'x {message}'):
            open_picture(bomb, 'x', limit)
    file = io.BytesIO()
    Image.new('RGB', (12, 12)).save(file, 'PNG')
    with pytest.raises(ValueError, match='x has 12 x 12 pixels, more than max_pixels=143'):
        open_picture(file.getvalue(), 'x', 143)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), format=st.sampled_from(['PNG', 'JPEG', 'GIF', 'WEBP', 'BMP']))
def test_damaged_pictures_give_a_picture_or_a_fault_with_its_place(make_picture, data, format):
    good = bytearray(make_picture(0, format=format))
    start = data.draw(st.integers(0, len(good)))
    bad = good[:start] + data.draw(st.binary(max_size=8)) + good[start + data.draw(st.integers(0, 40)) :]
    try:
        assert open_picture(bytes(bad), 'the place', 10**6).mode == 'RGB'
    except ValueError as error:
        assert str(error).startswith('the place ')  # noqa: PT017 (either outcome is right)


def test_tar_files_of_another_form_are_refused(tmp_path, pictures):
    tar_folder(tmp_path, pictures)
    whole = (tmp_path / 'XX_0.tar').read_bytes()
    for content, message in (
        (gzip.compress(whole), 'is no whole, uncompressed tar'),
        (whole[:1000], r"cut off within './XX_IMG_00'"),
        (b'no tar' * 400, 'is no whole, uncompressed tar'),
    ):
        (tmp_path / 'x.tar').write_bytes(content)
        with pytest.raises(ValueError, match=message):
            TarImages(tmp_path / 'x.tar')
    with pytest.raises(FileNotFoundError, match='no such tar file'):
        TarImages(tmp_path / 'missing.tar')


def test_tables_of_another_form_are_refused(tmp_path):
    pq.write_table(pa.table({'id': ['a', None], 'image': [b'', b''], 'lists': [[1], [2]]}), tmp_path / 'x.parquet')
    for options, message in (
        ({'key': 'name'}, r"x.parquet: has no column name, it has \['id', 'image', 'lists'\]"),
        ({}, r'x.parquet: a cell of "id" is empty'),
        ({'key': 'lists'}, r'x.parquet: "lists" should be text'),
    ):
        with pytest.raises(ValueError, match=message):
            TableImages(tmp_path / 'x.parquet', **options)
    ids = [None, *map(str, range(99))]  # not among the rows that are read last
    pq.write_table(pa.table({'id': ids, 'image': [b''] * 100}), tmp_path / 'long.parquet')
    with pytest.raises(ValueError, match=r'long.parquet: a cell of "id" is empty'):
        TableImages(tmp_path / 'long.parquet')
    pq.write_table(pa.table({'id': ['a'], 'image': [{'bytes': None, 'path': 'a.png'}]}), tmp_path / 'x.parquet')
    with pytest.raises(ValueError, match=r"row 0: image 'a' holds no bytes, only the path 'a.png'"):
        TableImages(tmp_path / 'x.parquet').read('a')


def test_what_is_held_until_it_is_written_is_bounded_by_its_size(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, 'GROUP_BYTES', 1000)
    assert write_parquet_images(tmp_path / 'XX.parquet', ((str(n), bytes(300)) for n in range(7))) == 7
    metadata = pq.ParquetFile(tmp_path / 'XX.parquet').metadata
    assert [metadata.row_group(n).num_rows for n in range(metadata.num_row_groups)] == [3, 3, 1]
    assert ParquetImages(tmp_path / 'XX.parquet').read('6') == bytes(300)


def test_a_write_that_fails_leaves_nothing(tmp_path):
    def images():
        yield 'a', b'a'
        raise FileNotFoundError('b.jpg is gone')

    with pytest.raises(FileNotFoundError, match=r'b\.jpg is gone'):
        write_parquet_images(tmp_path / 'XX.parquet', images())
    assert list(tmp_path.iterdir()) == []

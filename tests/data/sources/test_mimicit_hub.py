import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmgpt.data.image_stores import FolderImages
from mmgpt.data.sources import MimicItHub
from mmgpt.structures import Medium, Sample, Turn

ROW = {
    'id': 'CGD_INS_000001',
    'instruction': 'What changed?',
    'answer': 'A car.',
    'related instructions': ['CGD_INS_2'],
}


def write(path, *rows):
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows)), path)
    return path.parent


def expected(frames):
    turns = (Turn('user', 'What changed?', (Medium(frames),)), Turn('assistant', 'A car.'))
    return Sample('CGD_INS_000001', turns, ('CGD_INS_2',), 'image', 'CGD')


def test_pictures_in_the_rows(tmp_path, make_picture):
    images = [{'bytes': make_picture(i), 'path': None} for i in range(2)]
    source = MimicItHub(write(tmp_path / 'CGD/train-0.parquet', {**ROW, 'images': images}))
    assert source[0] == expected(((0, 0), (0, 1)))
    assert source.images.read((0, 1)) == make_picture(1)
    assert source.find('CGD_INS_000001') == source[0]


def test_pictures_by_name(tmp_path, make_picture):
    (tmp_path / 'images').mkdir()
    (tmp_path / 'images/CGD_IMG_1').write_bytes(make_picture(1))
    folder = write(tmp_path / 'CGD/train-0.parquet', {**ROW, 'images': ['CGD_IMG_0', 'CGD_IMG_1']})
    source = MimicItHub(folder, FolderImages(tmp_path / 'images'))
    assert source[0] == expected(('CGD_IMG_0', 'CGD_IMG_1'))
    assert source.images.read('CGD_IMG_1') == make_picture(1)


def test_videos_are_thinned(tmp_path, make_picture):
    images = [{'bytes': make_picture(i), 'path': None} for i in range(9)]
    folder = write(tmp_path / 'DC/x.parquet', {**ROW, 'images': images}, {**ROW, 'id': 'b', 'images': None})
    source = MimicItHub(folder, kind='video', max_frames=4)
    assert source[0].turns[0].media == (Medium(((0, 0), (0, 2), (0, 5), (0, 8))),)  # int(linspace(0, 8, 4))
    assert [source[0].kind, source[1].kind] == ['video', 'text']
    with pytest.raises(ValueError, match='max_frames must be'):
        MimicItHub(folder, max_frames=0)
    with pytest.raises(ValueError, match='kind must be'):
        MimicItHub(folder, kind='text')

import pickle

import pytest

from mmgpt.data.builder import build_image_store
from mmgpt.data.image_stores import FolderImages, ParquetImages, write_parquet_images


@pytest.fixture
def folder(tmp_path, make_picture):
    for number, name in enumerate(['train2017/000000000009.png', 'train2017/000000000025.png', 'a.png']):
        path = tmp_path / 'coco' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make_picture(number))
    return tmp_path / 'coco'


def test_keys_are_paths_below_the_folder(folder, make_picture):
    images = build_image_store(str(folder))
    assert isinstance(images, FolderImages)
    assert images.read('train2017/000000000009.png') == make_picture(0)
    assert images.open('a.png').size == (12, 12)
    assert list(images.keys()) == ['a.png', 'train2017/000000000009.png', 'train2017/000000000025.png']
    assert len(images) == 3
    assert list(pickle.loads(pickle.dumps(images)).keys()) == list(images.keys())


def test_an_unknown_key_is_answered_with_what_is_near(folder):
    images = FolderImages(folder)
    with pytest.raises(KeyError, match=r"no image 'train2017/000000000010.png'; did you mean 'train2017/000000000009"):
        images.open('train2017/000000000010.png')


@pytest.mark.parametrize('key', ['../secret.png', '/etc/passwd', 'train2017/../../secret.png', 7, 'train2017'])
def test_nothing_outside_of_the_folder_is_read(folder, make_picture, key):
    (folder.parent / 'secret.png').write_bytes(make_picture(1))
    images = FolderImages(folder)
    assert key not in images
    with pytest.raises(KeyError, match='there is no image'):
        images.read(key)


def test_a_folder_of_parquet_files_is_one_store(tmp_path, make_picture):
    write_parquet_images(tmp_path / 'XX' / '0.parquet', [('a', make_picture(0))])
    assert isinstance(build_image_store(tmp_path / 'XX'), ParquetImages)
    with pytest.raises(NotADirectoryError, match='no such folder'):
        FolderImages(tmp_path / 'no')

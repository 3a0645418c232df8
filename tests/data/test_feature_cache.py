"""Features come out of the cache as they were put in, from any process, whatever happened to those that wrote."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mmgpt.data import feature_cache
from mmgpt.data.builder import build_dataloader, build_image_store
from mmgpt.data.collate import PadCollate
from mmgpt.data.feature_cache import FeatureCache, look_up, parse_size
from mmgpt.data.image_stores import FolderImages
from mmgpt.data.image_stores.base import digest_of
from mmgpt.data.sources.statements import SideBySide
from tests.conftest import picture_bytes

SHAPE = (3, 4)
PROCESSES = multiprocessing.get_context('fork')


def key(number: int) -> bytes:
    return digest_of(str(number).encode())


def features(*numbers: int) -> torch.Tensor:
    return torch.stack([torch.randn(SHAPE, generator=torch.Generator().manual_seed(number)) for number in numbers])


def put(cache: FeatureCache, *numbers: int) -> None:
    cache.put([key(number) for number in numbers], features(*numbers))


def holds(cache: FeatureCache, *numbers: int) -> bool:
    found = [cache.get(key(number)) for number in numbers]
    return all(one is not None and torch.equal(one, features(number)[0]) for number, one in zip(numbers, found))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, '_FIRST', 16384)  # so that there are several files
    return FeatureCache(tmp_path, {'encoder': 'a'}, SHAPE, torch.float32, '2MiB')


def test_what_was_put_comes_out_bit_for_bit(cache):
    assert cache.get(key(0)) is None
    for number in range(0, 900, 3):
        put(cache, number, number + 1, number + 2)
    put(cache, 5, 6)  # again
    assert len(cache) == 900
    assert len(list(cache.folder.glob('*.features'))) > 2
    assert holds(cache, *range(900))
    assert cache.get(key(900)) is None
    assert holds(pickle.loads(pickle.dumps(cache)), *range(900))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_smaller_dtypes_are_kept_as_they_are(tmp_path, dtype):
    cache = FeatureCache(tmp_path, {}, SHAPE, dtype)
    cache.put([key(1)], features(1).to(dtype))
    assert torch.equal(cache.get(key(1)), features(1)[0].to(dtype))
    with pytest.raises(ValueError, match=r'must be \(1, 3, 4\) torch\.\w+, got \(1, 3, 4\) torch.float32'):
        cache.put([key(2)], features(2))


def test_each_identity_has_features_of_its_own(cache, tmp_path):
    put(cache, 1)
    assert FeatureCache(tmp_path, {'encoder': 'b'}, SHAPE, torch.float32).get(key(1)) is None
    assert FeatureCache(tmp_path, {'encoder': 'a'}, SHAPE, torch.bfloat16).get(key(1)) is None
    assert holds(FeatureCache(tmp_path, {'encoder': 'a'}, SHAPE, torch.float32), 1)


def test_the_folder_keeps_to_its_size_and_says_why(tmp_path, monkeypatch):
    monkeypatch.setattr(feature_cache, '_FIRST', 16384)

    def open_cache(encoder, size):
        return FeatureCache(tmp_path, {'encoder': encoder}, SHAPE, torch.float32, size)

    def size():
        return sum(path.stat().st_size for path in tmp_path.glob('*/*.features'))

    first, second = open_cache('a', '32KiB'), open_cache('b', '32KiB')
    put(first, *range(50))
    put(second, *range(900))
    assert size() <= 32 << 10
    assert 'is used up, ' in second.full
    assert 'by other encoders' in second.full
    kept = len(second)
    assert 0 < kept < 900
    assert holds(second, *range(kept))
    put(second, 5000)
    assert len(second) == kept
    larger = open_cache('b', '1MiB')  # goes on where there was no room
    put(larger, *range(900))
    assert larger.full is None
    assert holds(larger, *range(900))
    assert holds(second, 899)


@pytest.mark.parametrize('size', [0, 10, 100])
def test_a_file_that_was_cut_is_told(cache, tmp_path, size):
    put(cache, 1)
    os.truncate(cache._path(0), size)
    with pytest.raises(ValueError, match='is no file of this feature cache: remove the folder'):
        FeatureCache(tmp_path, {'encoder': 'a'}, SHAPE, torch.float32).get(key(1))


def test_a_full_disk_ends_the_keeping_and_not_the_run(cache, monkeypatch):
    put(cache, 1)

    def no_space(*_):
        raise OSError(28, 'No space left on device')

    monkeypatch.setattr(os, 'pwrite', no_space)
    put(cache, 2)
    assert 'no space left' in cache.full
    assert holds(cache, 1)
    assert cache.get(key(2)) is None


def test_what_a_disk_lost_is_missed_and_made_again(cache):
    put(cache, *range(20))
    path = next(cache.folder.glob('*.features'))
    data = bytearray(path.read_bytes())
    start = data.find(features(7).numpy().tobytes())
    data[start : start + 4] = b'gone'
    path.write_bytes(data)
    again = pickle.loads(pickle.dumps(cache))
    assert again.get(key(7)) is None
    assert holds(again, *(number for number in range(20) if number != 7))
    put(again, 7)
    assert len(again) == 20
    assert holds(again, *range(20))


def test_processes_write_together_and_one_that_is_killed_leaves_nothing_wrong(cache):
    def write(first: int) -> None:
        mine = pickle.loads(pickle.dumps(cache))
        for number in range(first, 4000, 2):  # they overlap
            put(mine, number, number + 1)

    writers = [PROCESSES.Process(target=write, args=(first,)) for first in (0, 1)]
    for writer in writers:
        writer.start()
    while len(cache) < 100:
        time.sleep(0.005)
    for writer in writers:
        os.kill(writer.pid, signal.SIGKILL)
        writer.join()
    kept = [number for number in range(4000) if cache.get(key(number)) is not None]
    assert len(kept) >= 99
    assert holds(cache, *kept)
    put(cache, *range(4000))
    assert holds(cache, *range(4000))


def test_memory_stays_flat(tmp_path):
    cache = FeatureCache(tmp_path, {}, (256, 64), torch.float32, '200MB')
    cache.put([key(n) for n in range(1200)], torch.randn(1200, 256, 64))

    def anonymous():
        lines = Path('/proc/self/smaps_rollup').read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith('Anonymous:')) / 1024

    cache.get(key(0))
    before = anonymous()
    for number in range(1200):
        assert cache.get(key(number)) is not None
    assert anonymous() - before < 16  # MiB, of 79 that were read


@pytest.mark.parametrize(('text', 'size'), [('20GiB', 20 << 30), ('1.5 kB', 1500), (12, 12), ('7', 7)])
def test_sizes(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize('text', ['20 apples', '', 'GiB', True, '-1MB', None])
def test_what_is_no_size_is_told(text):
    with pytest.raises(ValueError, match='20GiB'):
        parse_size(text)


def encode(batch, cache):
    """As an encoder would: of each frame its first pixels."""
    made = batch['frames'].flatten(1)[:, :12].reshape(-1, *SHAPE).float()
    cache.put(batch['frame_digests'], made)
    return made


@pytest.mark.parametrize('workers', [0, 2])
def test_batches_mix_what_is_kept_and_what_is_not(mimicit, prompter, cache, workers):
    files = dict(instructions=str(mimicit / 'XX_instructions.json'), train=str(mimicit / 'XX_train.json'))
    common = dict(type='MimicIt', images=str(mimicit / 'XX.parquet'), **files)
    sources = [dict(common, retriever=dict(type='RelatedInstructions', num=2)), dict(common, kind='video')]

    def batches(features):
        cfg = dict(batch_size=3, num_workers=workers, dataset=dict(sources=sources))
        loader = build_dataloader(cfg, prompter)
        loader.dataset.features = features
        return loader

    def shown(batch, features):
        return [
            [[features[frame] for frame in medium if frame >= 0] for medium in row]
            for row in batch['media_frames'].tolist()
        ]

    first = next(iter(batches(cache)))
    half = len(first['frames']) // 2
    encode({'frames': first['frames'][:half], 'frame_digests': first['frame_digests'][:half]}, cache)
    mixed = 0
    for _, plain, batch in zip(range(12), batches(None), batches(cache)):
        expected = plain['frames'].flatten(1)[:, :12].reshape(-1, *SHAPE).float()
        parts = [batch['vision_features']] if 'vision_features' in batch else []
        parts += [encode(batch, cache)] if 'frames' in batch else []
        mixed += len(parts) == 2
        found = torch.cat(parts)
        assert [[[f.tolist() for f in m] for m in row] for row in shown(batch, found)] == [
            [[f.tolist() for f in m] for m in row] for row in shown(plain, expected)
        ]
    assert mixed


def test_a_kept_picture_is_not_decoded(tmp_path, prompter, cache, monkeypatch):
    for number in range(2):
        (tmp_path / f'{number}.png').write_bytes(picture_bytes(number))
    images = FolderImages(tmp_path)
    asked = look_up(cache, prompter, '0.png', images)
    assert torch.equal(asked.pixels, prompter.frame('0.png', images))
    assert asked.features is None
    cache.put([asked.digest], features(0))
    (tmp_path / 'other_name.png').write_bytes(picture_bytes(0))  # content decides
    monkeypatch.setattr('mmgpt.data.image_stores.base.open_picture', None)
    for name in ('0.png', 'other_name.png'):
        found = look_up(cache, prompter, name, images)
        assert torch.equal(found.features, features(0)[0])
        assert found.pixels is None
    (tmp_path / '0.png').write_bytes(picture_bytes(1))
    monkeypatch.undo()
    assert look_up(cache, prompter, '0.png', images).features is None


def test_a_picture_without_a_key_is_known_by_its_frame(prompter, cache):
    picture = Image.effect_noise((20, 20), 50).convert('RGB')
    asked = look_up(cache, prompter, picture, None)
    cache.put([asked.digest], features(3))
    assert torch.equal(look_up(cache, prompter, picture.copy(), None).features, features(3)[0])
    assert look_up(cache, prompter, picture.rotate(90), None).features is None


def test_digests_of_stores_tell_what_they_show(tmp_path, mimicit):
    parquet = build_image_store(str(mimicit / 'XX.parquet'))
    keys = list(parquet.keys())[:6]
    for name in keys:
        (tmp_path / name).write_bytes(parquet.read(name))
    folder = FolderImages(tmp_path)
    assert [parquet.digest(name) for name in keys] == [folder.digest(name) for name in keys]
    pixels = {name: np.asarray(folder.open(name)).tobytes() for name in keys}
    assert len({folder.digest(name) for name in keys}) == len(set(pixels.values()))
    pairs = SideBySide(folder)
    a, b = keys[:2]
    assert len({pairs.digest((a, b)), pairs.digest((b, a)), pairs.digest(a), pairs.digest((a, a))}) == 4
    with pytest.raises(KeyError, match='did you mean'):
        folder.digest(keys[0] + 'x')

    class Mirrored(FolderImages):
        def open(self, key):
            return super().open(key).transpose(Image.Transpose.FLIP_LEFT_RIGHT)

    assert Mirrored(tmp_path).digest(a) is None  # what it shows is more than what it reads


def test_frames_of_a_video_differ_by_number_and_content(tmp_path):
    av = pytest.importorskip('av')
    from mmgpt.data.image_stores import VideoFiles

    for name in ('a.mp4', 'b.mp4'):
        with av.open(str(tmp_path / name), 'w') as container:
            stream = container.add_stream('mpeg4', rate=5)
            stream.width = stream.height = 32
            for number in range(4):
                picture = Image.new('RGB', (32, 32), (60 * number, ord(name[0]), 0))
                container.mux(stream.encode(av.VideoFrame.from_image(picture)))
            container.mux(stream.encode())
    store = VideoFiles(tmp_path)
    digests = [store.digest(f'{name}#{number}') for name in ('a.mp4', 'b.mp4') for number in range(4)]
    assert len(set(digests)) == 8
    assert store.digest('a.mp4') == store.digest('a.mp4#0')
    (tmp_path / 'c.mp4').write_bytes((tmp_path / 'a.mp4').read_bytes())
    assert store.digest('c.mp4#2') == digests[2]


def test_without_a_cache_batches_are_as_before(mimicit, prompter):
    cfg = dict(
        batch_size=2,
        dataset=dict(
            sources=[
                dict(
                    type='MimicIt',
                    images=str(mimicit / 'XX.parquet'),
                    instructions=str(mimicit / 'XX_instructions.json'),
                )
            ]
        ),
    )
    batch = next(iter(build_dataloader(cfg, prompter)))
    assert 'frames' in batch
    assert not {'vision_features', 'frame_digests'} & batch.keys()
    assert isinstance(build_dataloader(cfg, prompter).collate_fn, PadCollate)

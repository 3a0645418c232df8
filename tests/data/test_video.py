import io
import pickle
import struct

import numpy as np
import pytest
from PIL import Image

from mmgpt.data.image_stores import OversizedImage, VideoFiles
from mmgpt.data.video import BadVideo, VideoReader, evenly_spaced
from mmgpt.structures import Medium

av = pytest.importorskip('av', reason='pip install "mmgpt[video]" brings av')


def write_video(path, count, codec='libx264', size=32, **options):
    """A video whose frame ``i`` is grey ``6 * i``."""
    with av.open(str(path), 'w') as file:
        stream = file.add_stream(codec, rate=10, options=options)
        stream.width = stream.height = size
        stream.pix_fmt = 'yuv420p'
        for i in range(count):
            pixels = np.full((size, size, 3), 6 * i, np.uint8)
            file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, 'rgb24')))
        file.mux(stream.encode())


def number_of(picture: Image.Image) -> int:
    return round(np.asarray(picture).mean() / 6)


def write_numbered(path, count, codec, file_format=None, b_frames=2):
    """A video whose frames hold their number as nine black or white bars; a key frame every 30."""
    if codec not in av.codecs_available:
        pytest.skip(f'FFmpeg was built without {codec}')
    with av.open(str(path), 'w', format=file_format) as file:
        stream = file.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 144, 16, 'yuv420p', 1_000_000
        stream.codec_context.gop_size, stream.codec_context.max_b_frames = 30, b_frames
        for number in range(count):
            bars = [255 * (number >> bit & 1) for bit in range(9) for _ in range(16)]
            pixels = np.broadcast_to(np.array(bars, np.uint8)[None, :, None], (16, 144, 3))
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(pixels), 'rgb24')))
        file.mux(stream.encode())


def numbered(picture: Image.Image) -> int:
    return sum((picture.getpixel((16 * bit + 8, 8))[0] > 128) << bit for bit in range(9))


@pytest.mark.parametrize(
    ('name', 'codec', 'file_format', 'b_frames'),
    [
        ('mpeg2.mpg', 'mpeg2video', None, 2),
        ('mpeg1.mpg', 'mpeg1video', None, 0),
        ('stream.mpeg', 'mpeg2video', 'mpegts', 0),
        ('h264.mpeg', 'libx264', 'mpegts', 2),
        ('h264.avi', 'libx264', None, 2),
        ('xvid.avi', 'mpeg4', None, 2),
        ('h264.mkv', 'libx264', None, 2),
    ],
)
def test_frames_behind_jumps_are_those_asked_for(tmp_path, name, codec, file_format, b_frames):
    write_numbered(tmp_path / name, 200, codec, file_format, b_frames)
    with VideoReader(tmp_path / name) as video:
        wanted = [*evenly_spaced(len(video), 7), 0, 151, 43, 44, 85, 199, 1]
        assert [numbered(video.read(number)) for number in wanted] == wanted


@pytest.mark.parametrize('ending', ['mkv', 'mpg'])
def test_frames_before_the_first_key_frame(tmp_path, ending):
    """Of a video that was cut, the first frames cannot be decoded: the first that can be stands for them."""
    write_numbered(tmp_path / 'whole.mkv', 90, 'mpeg2video')
    path = tmp_path / f'cut.{ending}'
    with av.open(str(tmp_path / 'whole.mkv')) as whole, av.open(str(path), 'w') as cut:
        stream = cut.add_stream_from_template(whole.streams.video[0])
        packets = [packet for packet in whole.demux(whole.streams.video[0]) if packet.size]
        second = [number for number, packet in enumerate(packets) if packet.is_keyframe][1]
        for packet in packets[second:]:
            packet.stream = stream
            cut.mux(packet)
    with VideoReader(path) as video:
        last = len(video) - 1
        ends = {number: numbered(video.read(number)) for number in (0, last)}
        assert 25 < ends[0] <= 31
        assert ends[last] == 89
        assert numbered(video.read(0)) == numbered(video.read(1)) == ends[0] or ending == 'mpg'
        assert numbered(video.read(last)) == numbered(video.read(last - 1)) == 89 or ending == 'mkv'
        assert numbered(video.read(0)) == ends[0]


@pytest.mark.skipif(not hasattr(av.VideoFrame, 'rotation'), reason='this PyAV does not tell how a frame is turned')
def test_a_video_filmed_upright_is_shown_upright(tmp_path):
    """A phone writes how it was held into the matrix of the track's header."""
    path = tmp_path / 'phone.mp4'
    with av.open(str(path), 'w') as file:
        stream = file.add_stream('libx264', rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 32, 'yuv420p'
        pixels = np.zeros((32, 64, 3), np.uint8)
        pixels[:, :32] = 255  # the left becomes the top
        file.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, 'rgb24')))
        file.mux(stream.encode())
    data = bytearray(path.read_bytes())
    plain = struct.pack('>9i', 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    start = data.index(plain, data.index(b'tkhd'))
    data[start : start + 36] = struct.pack('>9i', 0, 1 << 16, 0, -1 << 16, 0, 0, 32 << 16, 0, 1 << 30)
    path.write_bytes(data)
    with VideoReader(path) as video:
        picture = video.read(0)
    assert picture.size == (32, 64)
    assert picture.getpixel((16, 8))[0] > 200 > 50 > picture.getpixel((16, 56))[0]


@pytest.mark.parametrize(
    ('name', 'codec', 'options'),
    [
        ('one_key_frame.mp4', 'libx264', {}),
        ('many_key_frames.mkv', 'libx264', {'g': '4', 'bf': '2'}),
        ('mpeg4.avi', 'mpeg4', {'g': '5'}),
        ('vp9.webm', 'libvpx-vp9', {'g': '6', 'cpu-used': '8'}),
    ],
)
def test_frames_by_number_in_any_order(tmp_path, name, codec, options):
    write_video(tmp_path / name, 20, codec, **options)
    with VideoReader(tmp_path / name) as video:
        assert len(video) == 20
        for number in (0, 1, 7, 7, 19, 3, 12, 2, 18):
            picture = video.read(number)
            assert (picture.size, picture.mode) == ((32, 32), 'RGB')
            assert number_of(picture) == number
        assert [number_of(video.read(i)) for i in evenly_spaced(20, 4)] == [0, 6, 13, 19]


def test_what_is_no_video_is_refused_with_its_name(tmp_path):
    write_video(tmp_path / 'whole.mp4', 8)
    data = (tmp_path / 'whole.mp4').read_bytes()
    for name, content in (('empty.mp4', b''), ('text.mp4', b'no video' * 99), ('cut.mp4', data[: len(data) // 2])):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(BadVideo, match=name):
            VideoReader(tmp_path / name)
    with pytest.raises(FileNotFoundError, match=r'no video file .*missing'):
        VideoReader(tmp_path / 'missing.mp4')
    with pytest.raises(OversizedImage, match=r'whole.mp4 has 32 x 32 pixels, more than max_pixels=1023'):
        VideoReader(tmp_path / 'whole.mp4', max_pixels=1023)
    with (
        VideoReader(tmp_path / 'whole.mp4') as video,
        pytest.raises(BadVideo, match='has 8 frames, there is no frame 8'),
    ):
        video.read(8)


@pytest.fixture
def store(tmp_path):
    for name, count in (('long.mp4', 20), ('short.mp4', 3)):
        write_video(tmp_path / name, count)
    Image.new('RGB', (4, 4), 'white').save(tmp_path / 'still.png')
    return VideoFiles(tmp_path, num_frames=5)


def test_a_medium_of_a_video_has_frames_evenly_spaced(store):
    store.open('long.mp4#3')  # a decoder is at work
    for store in (store, pickle.loads(pickle.dumps(store))):  # noqa: B020
        medium = store.expand(Medium(('long.mp4',)))
        assert medium.frames == tuple(f'long.mp4#{i}' for i in (0, 5, 10, 14, 19))
        assert [number_of(store.open(key)) for key in medium.frames] == [0, 5, 10, 14, 19]
        assert store.expand(Medium(('short.mp4',))).frames == ('short.mp4#0', 'short.mp4#1', 'short.mp4#2')
        still = Medium(('still.png',))
        assert store.expand(still) == still
        assert store.open('still.png').size == (4, 4)
    assert number_of(Image.open(io.BytesIO(store.read('long.mp4#7')))) == 7


def test_keys_of_videos(store):
    assert 'long.mp4' in store
    assert 'long.mp4#3' in store
    assert 'gone.mp4#3' not in store
    assert sorted(store.keys()) == ['long.mp4', 'short.mp4', 'still.png']
    with pytest.raises(KeyError, match=r"there is no image 'lomg.mp4'; did you mean .*'long.mp4'"):
        store.expand(Medium(('lomg.mp4',)))
    with pytest.raises(KeyError):
        store.open('../long.mp4')
    with pytest.raises(ValueError, match='num_frames must be at least 1'):
        VideoFiles(store.path, num_frames=0)


def test_several_videos_of_different_lengths_in_one_instruction(store, tmp_path, prompter):
    import json

    from mmgpt.data.collate import PadCollate
    from mmgpt.data.dataset import InstructionDataset
    from mmgpt.data.source_entry import SourceEntry
    from mmgpt.data.sources import MimicIt

    data = {'a': {'instruction': 'What differs?', 'answer': 'All.', 'image_ids': ['short.mp4', 'long.mp4']}}
    (tmp_path / 'XX_instructions.json').write_text(json.dumps({'data': data}))
    source = MimicIt(tmp_path / 'XX_instructions.json', store, kind='video', media='each')
    batch = PadCollate(0)([InstructionDataset([SourceEntry(source)], prompter)[(0, 0, 0)]])
    assert batch['media_frames'].tolist() == [[[0, 1, 2, -1, -1], [3, 4, 5, 6, 7]]]
    assert [round(frame.float().mean().item() / 6) for frame in batch['frames']] == [0, 1, 2, 0, 5, 10, 14, 19]


def test_a_message_with_a_video_file(store, tmp_path, prompter):
    import json

    from mmgpt.data.dataset import InstructionDataset
    from mmgpt.data.source_entry import SourceEntry
    from mmgpt.data.sources.messages import Messages

    question = [{'type': 'video', 'video': 'short.mp4'}, {'type': 'text', 'text': 'What?'}]
    messages = [{'role': 'user', 'content': question}, {'role': 'assistant', 'content': 'Grey.'}]
    (tmp_path / 'x.jsonl').write_text(json.dumps({'messages': messages}))
    item = InstructionDataset([SourceEntry(Messages(tmp_path / 'x.jsonl', store))], prompter)[(0, 0, 0)]
    assert [len(medium.frames) for medium in item.encoded.media] == [3]
    assert item.encoded.kind == 'video'

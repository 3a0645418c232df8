import base64
import io

import numpy as np
import pytest
from PIL import Image

from mmgpt.hub.pictures import evenly_spaced, open_picture, open_video


def picture(value=0, size=(8, 6)) -> Image.Image:
    pixels = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png(image: Image.Image) -> bytes:
    file = io.BytesIO()
    image.save(file, 'PNG')
    return file.getvalue()


@pytest.mark.parametrize('form', ['pil', 'path', 'str', 'file url', 'bytes', 'data url', 'url-safe', 'base64'])
def test_every_form_of_a_picture_gives_the_same_pixels(tmp_path, form):
    image = picture()
    data = png(image)
    path = tmp_path / 'a b.png'
    path.write_bytes(data)
    text = base64.b64encode(data).decode()
    value = {
        'pil': image,
        'path': path,
        'str': str(path),
        'file url': f'file://{path}',
        'bytes': data,
        'data url': f'data:image/png;base64,{text}',
        'url-safe': 'data:image/png;base64,' + base64.urlsafe_b64encode(data).decode().rstrip('='),
        'base64': text,
    }[form]
    assert np.array_equal(np.asarray(open_picture(value)), np.asarray(image))


def test_grey_and_transparent_pictures_become_rgb():
    assert open_picture(Image.new('L', (3, 2), 7)).getpixel((0, 0)) == (7, 7, 7)
    assert open_picture(Image.new('RGBA', (3, 2))).mode == 'RGB'


def test_exif_orientation_is_applied(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    picture(size=(8, 6)).save(tmp_path / 'turned.jpg', exif=exif)
    assert open_picture(tmp_path / 'turned.jpg').size == (6, 8)
    assert open_picture(Image.open(tmp_path / 'turned.jpg')).size == (6, 8)


def test_16_bits_of_grey_are_the_same_from_a_file_and_from_pil(tmp_path):
    grey = Image.fromarray(np.arange(64, dtype=np.uint16).reshape(8, 8) * 1000)
    grey.save(tmp_path / 'grey.png')
    expected = (np.asarray(grey) >> 8).astype(np.uint8)
    for value in (grey, tmp_path / 'grey.png'):
        assert np.array_equal(np.asarray(open_picture(value))[..., 0], expected)


@pytest.mark.parametrize('exif', [b'Exif\0\0XX', b'Exif\0\0II*\0'])
def test_damaged_exif_data_cost_a_picture_nothing(exif):
    file = io.BytesIO()
    picture().save(file, 'JPEG', exif=exif)
    assert open_picture(file.getvalue()).size == (8, 6)
    assert open_picture(Image.open(file)).size == (8, 6)


@pytest.mark.parametrize(
    ('value', 'error', 'message'),
    [
        ('https://example.org/cat.png', ValueError, 'nothing is fetched'),
        ('nowhere/cat.png', FileNotFoundError, r'nowhere/cat\.png'),
        ('~nobody-here/cat.png', FileNotFoundError, r'~nobody-here/cat\.png'),
        ('data:image/png,raw', ValueError, 'base64'),
        ('data:text/html;base64,PGI+', ValueError, 'text/html'),
        ('data:image/png;base64,####', ValueError, 'base64'),
        (b'not a picture', ValueError, 'no picture'),
        (png(picture())[:60], ValueError, 'damaged'),
        (7, TypeError, 'int'),
    ],
)
def test_what_is_no_picture_is_told(value, error, message):
    with pytest.raises(error, match=message):
        open_picture(value)


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch):
    data = png(picture())
    monkeypatch.setattr(Image.Image, 'load', lambda self: pytest.fail('decoded'))
    with pytest.raises(ValueError, match='8 x 6 pixels, more than max_pixels=47'):
        open_picture(data, max_pixels=47)


@pytest.mark.parametrize(('total', 'wanted'), [(1, 1), (9, 3), (10, 4), (100, 16), (5, 8), (7, None)])
def test_frames_are_evenly_spaced(total, wanted):
    indices = evenly_spaced(total, wanted)
    assert len(indices) == min(total, wanted or total)
    assert indices == sorted(set(indices))
    if len(indices) > 1:
        assert indices[0] == 0
        assert indices[-1] == total - 1
        steps = np.diff(indices)
        assert steps.max() - steps.min() <= 1


def test_a_list_of_pictures_is_a_video():
    frames = [picture(i) for i in range(9)]
    assert [f.tobytes() for f in open_video(frames, 3)] == [frames[i].tobytes() for i in (0, 4, 8)]
    assert len(open_video(frames)) == 9


def test_a_video_file_is_read_at_evenly_spaced_frames(tmp_path):
    av = pytest.importorskip('av', reason='pip install "mmgpt[video]"')
    path = tmp_path / 'v.mp4'
    with av.open(path, 'w') as video:
        stream = video.add_stream('mpeg4', rate=5)
        stream.width = stream.height = 32
        for i in range(9):
            frame = av.VideoFrame.from_ndarray(np.full((32, 32, 3), i * 25, dtype=np.uint8), format='rgb24')
            video.mux(stream.encode(frame))
        video.mux(stream.encode())
    levels = [np.asarray(frame).mean() for frame in open_video(path, 3)]
    assert levels == pytest.approx([0, 100, 200], abs=4)


@pytest.mark.parametrize(
    ('value', 'error', 'message'),
    [
        ([], ValueError, 'empty'),
        ('nowhere.mp4', FileNotFoundError, 'nowhere.mp4'),
        ('http://example.org/v.mp4', ValueError, 'nothing is fetched'),
        ('data:image/png;base64,AAAA', ValueError, 'data URL of a video'),
        (3.5, TypeError, 'float'),
    ],
)
def test_what_is_no_video_is_told(value, error, message):
    with pytest.raises(error, match=message):
        open_video(value)


def test_a_video_as_a_data_url(tmp_path):
    av = pytest.importorskip('av', reason='pip install "mmgpt[video]"')
    path = tmp_path / 'grey.mp4'
    with av.open(str(path), 'w') as video:
        stream = video.add_stream('mpeg4', rate=10)
        stream.width = stream.height = 32
        for level in (0, 100, 200):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(np.full((32, 32, 3), level, np.uint8))))
        video.mux(stream.encode())
    url = 'data:video/mp4;base64,' + base64.b64encode(path.read_bytes()).decode()
    for one, other in zip(open_video(url), open_video(path), strict=True):
        assert np.array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.parametrize('as_url', [True, False])
def test_a_playlist_in_a_videos_clothes_opens_no_other_file(tmp_path, as_url):
    """FFmpeg would follow it, to files and over the network."""
    av = pytest.importorskip('av', reason='pip install "mmgpt[video]"')
    inner = tmp_path / 'inner.ts'
    with av.open(str(inner), 'w') as video:
        stream = video.add_stream('mpeg2video', rate=25)
        stream.width = stream.height = 32
        for _ in range(25):
            video.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8))))
        video.mux(stream.encode())
    playlist = tmp_path / 'harmless.mp4'
    playlist.write_text(f'#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1.0,\nfile://{inner}\n#EXT-X-ENDLIST\n')
    value = 'data:video/mp4;base64,' + base64.b64encode(playlist.read_bytes()).decode() if as_url else playlist
    with pytest.raises(OSError, match='not a video that can be read'):
        open_video(value)


def test_a_file_that_is_no_video_is_told(tmp_path):
    pytest.importorskip('av', reason='pip install "mmgpt[video]"')
    (tmp_path / 'v.mp4').write_bytes(b'nothing')
    with pytest.raises(OSError, match=r'v\.mp4'):
        open_video(tmp_path / 'v.mp4')

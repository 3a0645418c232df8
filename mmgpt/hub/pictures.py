"""Pictures and videos from what a user hands over: PIL images, paths, data URLs, lists of frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from mmgpt.data.image_stores import decode_base64, upright_rgb
from mmgpt.data.image_stores import open_picture as decode_picture
from mmgpt.data.video import VideoReader, evenly_spaced

MAX_PIXELS = 64_000_000  # of one picture: what a header claims is checked before anything is decoded
_DATA_URL = re.compile(r'data:(?P<type>[\w.+/-]*)(?:;[\w.+=-]+)*;base64,(?P<data>.*)', re.DOTALL)
_BASE64 = re.compile(r'[A-Za-z0-9+/=_\s-]{64,}')


def open_picture(value: Any, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Opens one picture as RGB, turned upright as its EXIF data say.

    Args:
        value: a PIL image, a path, a ``data:image/...;base64,`` URL, base64 text, or the bytes of an image file.
        max_pixels: larger pictures are refused before they are decoded.

    Raises:
        OSError: there is no such file.
        ValueError: no picture that can be read, an http address, or more than ``max_pixels`` pixels.
        TypeError: for any other kind of value.
    """
    if isinstance(value, Image.Image):
        return upright_rgb(value)
    if isinstance(value, bytes):
        return decode_picture(value, 'the given bytes', max_pixels)
    if isinstance(value, str):
        if value.startswith(('http://', 'https://')):
            raise ValueError(f'nothing is fetched over the network: save {value:.200} to a file and give its path')
        if value.startswith('data:'):
            return decode_picture(_data_url(value, 'image'), 'the data URL', max_pixels)
        if len(value) > 255 and _BASE64.fullmatch(value):
            return decode_picture(decode_base64(value, 'the base64 text'), 'the base64 text', max_pixels)
    if isinstance(value, str | os.PathLike):
        path = local_path(value)
        if not path.is_file():
            raise FileNotFoundError(f'there is no picture file {path}')
        return decode_picture(path.read_bytes(), str(path), max_pixels)
    raise TypeError(f'expected a PIL image, a path or a data URL, got {type(value).__name__}')


def open_video(value: Any, num_frames: int | None = None) -> tuple[Image.Image, ...]:
    """The frames of a video as RGB pictures, see ``video_frames``."""
    return tuple(video_frames(value, num_frames))


def video_frames(value: Any, num_frames: int | None = None, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """The frames of a video as RGB pictures, decoded one by one.

    Args:
        value: a list of pictures (each as ``open_picture`` takes it), the path of a video file, or a
            ``data:video/...;base64,`` URL.
        num_frames: of a longer video that many frames are kept, evenly spaced with the first and the last; None: all.
        max_pixels: of a frame; larger ones are refused before they are decoded.

    Raises:
        OSError: there is no such file, or no frame of it can be read.
        ValueError: an empty list, an http address, a data URL of something else, or too many pixels.
        ImportError: a video file without PyAV.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if not value:
            raise ValueError('a video needs at least one frame, got an empty list')
        for i in evenly_spaced(len(value), num_frames):
            yield open_picture(value[i], max_pixels)
        return
    if isinstance(value, str) and value.startswith(('http://', 'https://')):
        raise ValueError(f'nothing is fetched over the network: save {value:.200} to a file and give its path')
    if isinstance(value, str) and value.startswith('data:'):
        source: Path | bytes = _data_url(value, 'video')
    elif isinstance(value, str | os.PathLike):
        source = local_path(value)
        if not source.is_file():
            raise FileNotFoundError(f'there is no video file {source}')
    else:
        raise TypeError(f'expected a list of pictures or the path of a video, got {type(value).__name__}')
    with VideoReader(source, max_pixels) as video:
        for number in evenly_spaced(len(video), num_frames):
            yield video.read(number)


def local_path(value: str | os.PathLike) -> Path:
    """A path from a path or a ``file://`` address.

    Raises:
        OSError: it begins with the home of a user that there is not.
    """
    text = os.fspath(value)
    try:
        return Path(text.removeprefix('file://')).expanduser()
    except RuntimeError as error:
        raise FileNotFoundError(f'there is no file {text}: {error}') from error


def _data_url(url: str, kind: str) -> bytes:
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise ValueError(f"expected a URL of the form 'data:{kind}/...;base64,...', got {url[:40]!r}")
    if not match['type'].startswith(f'{kind}/'):
        raise ValueError(f'expected a data URL of a {kind} ({kind}/...), got {match["type"]!r}')
    return decode_base64(match['data'], 'the data URL')

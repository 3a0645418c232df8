"""Pictures and videos from what a user hands over: PIL images, paths, data URLs, lists of frames."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from mmgpt.data.image_stores import decode_base64
from mmgpt.data.image_stores import open_picture as decode_picture
from mmgpt.data.video import VideoReader, evenly_spaced

MAX_PIXELS = 64_000_000  # of one picture: what a header claims is checked before anything is decoded
_DATA_URL = re.compile(r'data:(?P<type>[\w.+/-]*)(?:;[\w.+=-]+)*;base64,(?P<data>.*)', re.DOTALL)
_BASE64 = re.compile(r'[A-Za-z0-9+/=_\s-]{64,}')


def open_picture(value: Any) -> Image.Image:
    """Opens one picture as RGB, turned upright as its EXIF data say.

    Args:
        value: a PIL image, a path, a ``data:image/...;base64,`` URL, base64 text, or the bytes of an image file.

    Raises:
        OSError: there is no such file.
        ValueError: no picture that can be read, an http address, or more than ``MAX_PIXELS`` pixels.
        TypeError: for any other kind of value.
    """
    if isinstance(value, Image.Image):
        return value.convert('RGB')
    if isinstance(value, bytes):
        return _decode(value, 'the given bytes')
    if isinstance(value, str):
        if value.startswith(('http://', 'https://')):
            raise ValueError(f'nothing is fetched over the network: save {value:.200} to a file and give its path')
        if value.startswith('data:'):
            return _decode(_data_url(value), 'the data URL')
        if len(value) > 255 and _BASE64.fullmatch(value):
            return _decode(decode_base64(value, 'the base64 text'), 'the base64 text')
    if isinstance(value, str | os.PathLike):
        path = local_path(value)
        if not path.is_file():
            raise FileNotFoundError(f'there is no picture file {path}')
        return _decode(path.read_bytes(), str(path))
    raise TypeError(f'expected a PIL image, a path or a data URL, got {type(value).__name__}')


def open_video(value: Any, num_frames: int | None = None) -> tuple[Image.Image, ...]:
    """The frames of a video as RGB pictures.

    Args:
        value: a list of pictures (each as ``open_picture`` takes it), or the path of a video file.
        num_frames: of a longer video that many frames are kept, evenly spaced with the first and the last; None: all.

    Raises:
        OSError: there is no such file, or no frame of it can be read.
        ImportError: a video file without PyAV.
    """
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        if not value:
            raise ValueError('a video needs at least one frame, got an empty list')
        return tuple(open_picture(value[i]) for i in evenly_spaced(len(value), num_frames))
    if isinstance(value, str) and value.startswith(('http://', 'https://', 'data:')):
        raise ValueError(f'a video is a list of pictures or the path of a file, got {value:.100}')
    if not isinstance(value, str | os.PathLike):
        raise TypeError(f'expected a list of pictures or the path of a video, got {type(value).__name__}')
    path = local_path(value)
    if not path.is_file():
        raise FileNotFoundError(f'there is no video file {path}')
    with VideoReader(path, MAX_PIXELS) as video:
        return tuple(video.read(number) for number in evenly_spaced(len(video), num_frames))


def local_path(value: str | os.PathLike) -> Path:
    """A path from a path or a ``file://`` address."""
    text = os.fspath(value)
    return Path(text.removeprefix('file://')).expanduser()


def _decode(data: bytes, name: str) -> Image.Image:
    return ImageOps.exif_transpose(decode_picture(data, name, MAX_PIXELS))


def _data_url(url: str) -> bytes:
    match = _DATA_URL.fullmatch(url)
    if match is None:
        raise ValueError(f"expected a URL of the form 'data:image/png;base64,...', got {url[:40]!r}")
    if not match['type'].startswith('image/'):
        raise ValueError(f'expected a data URL of a picture (image/...), got {match["type"]!r}')
    return decode_base64(match['data'], 'the data URL')

"""What an image store is, and how bytes become a picture safely."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from mmgpt.data.key_index import KeyIndex
from mmgpt.structures import Medium

# What pictures come in; some of Pillow's other formats run programs (PostScript).
FORMATS = ('PNG', 'JPEG', 'WEBP', 'GIF', 'BMP', 'TIFF', 'PPM', 'JPEG2000', 'AVIF', 'ICO')

_URL_SAFE = bytes.maketrans(b'-_', b'+/')


class BadBase64(ValueError):
    """What should be the base64 text of a picture is none."""


class OversizedImage(ValueError):
    """A picture has more pixels than its store allows; it was not decoded."""


class ImageStore(ABC):
    """Pictures by key. A store costs little memory, opens its files in each process anew, and can be pickled.

    A subclass sets :attr:`path` and :attr:`index` and defines :meth:`read`.

    Args:
        path: the file or folder, for messages.
        index: the keys of the store.
        max_pixels: pictures with more pixels are refused before they are decoded.
    """

    def __init__(self, path: str | Path, index: KeyIndex, max_pixels: int = 64_000_000) -> None:
        self.path = Path(path)
        self.index = index
        self.max_pixels = max_pixels

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The encoded picture (PNG, JPEG, …) of a key.

        Raises:
            KeyError: the store has no such key.
            BadBase64: the stored text is no base64.
        """

    def open(self, key: str) -> Image.Image:
        """The picture of a key as RGB.

        Raises:
            KeyError: the store has no such key.
            BadBase64, OversizedImage: see there.
            ValueError: the picture cannot be decoded.
        """
        return open_picture(self.read(key), f'{self.path}: image {key!r}', self.max_pixels)

    def digest(self, key: str) -> bytes | None:
        """Sixteen bytes that tell what :meth:`open` shows for a key without decoding it; None where only opening tells.

        Raises:
            KeyError: the store has no such key.
            BadBase64: the stored text is no base64.
        """
        return digest_of(self.read(key)) if type(self).open is ImageStore.open else None

    def expand(self, medium: Medium) -> Medium:
        """The medium whose frames are keys of single pictures, where a key of it may stand for several."""
        return medium

    def keys(self) -> Iterable[str]:
        """All keys, in the order of the store."""
        return iter(self.index)

    def __len__(self) -> int:
        return len(self.index)

    def __contains__(self, key: str) -> bool:
        return self.index.find(key) is not None

    def place(self, key: str) -> int:
        """The place of a key in the store's order.

        Raises:
            KeyError: the store has no such key.
        """
        place = self.index.find(key) if isinstance(key, str) else None
        if place is None:
            near = ' or '.join(map(repr, self.index.nearest(str(key))))
            raise KeyError(f'{self.path}: there is no image {key!r}; did you mean {near or "another file"}?')
        return place


def digest_in(images: ImageStore, key: str) -> bytes | None:
    """``images.digest(key)``; None for a store from outside that has no such method."""
    return images.digest(key) if hasattr(images, 'digest') else None


def digest_of(*parts: bytes | memoryview) -> bytes:
    """Sixteen bytes that tell contents apart, one part after the other.

    Example:
        >>> digest_of(b'a', b'b') == digest_of(b'ab'), digest_of(b'ab').hex()
        (True, '3dc9ae220222e2e156b2a5abb60d01c7')
    """
    sum = hashlib.blake2b(digest_size=16)
    for part in parts:
        sum.update(part)
    return sum.digest()


def decode_base64(text: str | bytes, where: str) -> bytes:
    """Decodes base64 of the standard and of the URL-safe alphabet, with or without padding.

    Args:
        text: the base64 text; blanks and line breaks are ignored.
        where: file and key, for the message.

    Raises:
        BadBase64: the text is none.

    Example:
        >>> decode_base64('_-8', 'a file')
        b'\\xff\\xef'
    """
    if not isinstance(text, str | bytes | bytearray | memoryview):
        raise BadBase64(f'{where} should be base64 text, got {type(text).__name__}')
    data = text.encode('ascii', errors='replace') if isinstance(text, str) else bytes(text)
    data = b''.join(data.split()).rstrip(b'=').translate(_URL_SAFE)
    try:
        return base64.b64decode(data + b'=' * (-len(data) % 4), validate=True)
    except binascii.Error as error:
        raise BadBase64(f'{where} is not valid base64 ({error}); it begins {data[:20]!r}') from error


def open_picture(data: bytes, where: str, max_pixels: int) -> Image.Image:
    """Decodes PNG, JPEG and the like to RGB, turned upright where the camera says how it was held.

    Of several frames it is the first. 16 bits of grey become 8 by their upper half.

    Args:
        data: the encoded picture.
        where: file and key, for the message.
        max_pixels: larger pictures are refused before they are decoded.

    Raises:
        OversizedImage: it is too large.
        ValueError: it is no picture, or damaged.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # of Pillow, about sizes and damage: both are errors here
            picture = Image.open(io.BytesIO(data), formats=_formats())
            width, height = _size(picture)
            if width * height > max_pixels:
                raise OversizedImage(f'{where} has {width} x {height} pixels, more than max_pixels={max_pixels}')
            picture.load()
            return upright_rgb(picture)
    except OversizedImage:
        raise
    except Image.DecompressionBombError as error:
        raise OversizedImage(
            f'{where} is too large for Pillow, whatever max_pixels={max_pixels} says: {error}'
        ) from error
    except Image.UnidentifiedImageError as error:
        raise ValueError(
            f'{where} is no picture that can be read: {len(data)} bytes, beginning {data[:12]!r}'
        ) from error
    except Exception as error:  # on damaged data Pillow's decoders raise almost anything
        raise ValueError(f'{where} is damaged ({len(data)} bytes): {error}') from error


def _size(picture: Image.Image) -> tuple[int, int]:
    """Width and height, before anything is decoded: an icon may hold a PNG of another size than it says."""
    if picture.format == 'ICO':
        return picture.ico.frame(picture.ico.getentryindex(picture.size)).size
    return picture.size


def upright_rgb(picture: Image.Image) -> Image.Image:
    """A decoded picture as RGB, turned and with 16 bits of grey made 8 as ``open_picture`` does."""
    with suppress(Exception):  # damaged EXIF data, which costs the picture nothing else
        picture = ImageOps.exif_transpose(picture)
    if picture.mode.startswith('I'):  # 16 bits, which Pillow would cut off at 255
        picture = Image.fromarray((np.asarray(picture).clip(0, 65535) >> 8).astype(np.uint8))
    return picture if picture.mode == 'RGB' else picture.convert('RGB')


@cache
def _formats() -> list[str]:
    """Those of ``FORMATS`` that this Pillow was built with."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]

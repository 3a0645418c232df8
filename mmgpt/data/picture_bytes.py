"""Pictures as the bytes of files, and as addresses that hold those."""

from __future__ import annotations

import base64
import io
from typing import Any

from PIL import Image


def encoded(picture: Image.Image, kind: str = 'png', **options: Any) -> bytes:
    """A picture as a file: 'png' or 'jpeg', with Pillow's options of the kind."""
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def data_url(data: bytes, kind: str = 'png') -> str:
    """The address of a picture that holds its file."""
    return f'data:image/{kind};base64,{base64.b64encode(data).decode()}'

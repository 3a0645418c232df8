"""Pictures as base64 in a JSON file."""

from __future__ import annotations

from pathlib import Path

from mmgpt.data.image_stores.base import BadBase64, ImageStore, decode_base64
from mmgpt.data.json_index import JsonObject
from mmgpt.registry import IMAGE_STORES


@IMAGE_STORES.register_module()
class JsonImages(ImageStore):
    """MIMIC-IT's classic image file: a JSON object from image id to base64 text, flat or below ``"base64"``.

    The file is indexed once and mapped into memory; a picture is read when it is asked for.

    Args:
        path: the JSON file. A value may be a list, whose first element counts.
        max_pixels: pictures with more pixels are refused.

    Raises:
        FileNotFoundError, ValueError: see :class:`~mmgpt.data.json_index.JsonObject`.
    """

    def __init__(self, path: str | Path, max_pixels: int = 64_000_000) -> None:
        self._members = JsonObject(path, member='base64', optional=True)
        super().__init__(path, self._members.keys, max_pixels)

    def read(self, key: str) -> bytes:
        """See :meth:`ImageStore.read`."""
        place = self.place(key)
        value = self._members[place]
        where = f'{self.path}, line {self._members.line(place)}: image {key!r}'
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, str):
            raise BadBase64(f'{where} should be base64 text, got {type(value).__name__}')
        return decode_base64(value, where)

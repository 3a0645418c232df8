"""Checks of pictures: every one that a sample shows is decoded once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from mmgpt.data.image_stores import BadBase64, ImageStore, OversizedImage, decode_base64
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.verify.entries import Entries
from mmgpt.data.verify.findings import Fault
from mmgpt.data.video import VIDEO_ENDINGS, BadVideo
from mmgpt.structures import Medium


class JsonEntries(ImageStore):
    """A JSON image file as :class:`~mmgpt.data.image_stores.JsonImages` has it, read in spite of its faults.

    Args:
        path: the JSON file, flat or wrapped.
        max_pixels: pictures with more pixels are refused.
    """

    def __init__(self, path: str | Path, max_pixels: int = 64_000_000) -> None:
        self.entries = Entries(path, member='base64', optional=True, keyed=True)
        super().__init__(path, KeyIndex(self.entries.keys or []), max_pixels)

    def read(self, key: str) -> bytes:
        """See :meth:`ImageStore.read`."""
        try:
            value = self.entries.value(self.place(key))
        except ValueError as error:
            raise BadBase64(f'is not valid JSON: {error}') from error
        if isinstance(value, list) and value:
            value = value[0]
        if not isinstance(value, str):
            raise BadBase64(f'should be base64 text, got {type(value).__name__}')
        return decode_base64(value, 'the text')


def check_images(store: ImageStore, keys: Iterable[str]) -> Iterator[tuple[str, Fault]]:
    """Decodes pictures, and of videos the frames that a run would, and tells which could not be, by key."""
    for key in keys:
        try:
            for frame in store.expand(Medium((key,))).frames:
                store.open(frame)
        except BadBase64 as error:
            yield key, Fault('bad_base64', str(error), 'write the encoded picture as base64, or take it out')
        except OversizedImage as error:
            yield key, Fault('oversized_image', str(error), 'make it smaller, or raise max_pixels of the image store')
        except KeyError as error:
            yield key, Fault('missing_image', str(error.args[0]), 'add the image, or take the sample out')
        except (ValueError, OSError) as error:
            is_video = isinstance(error, BadVideo) or key.lower().endswith(VIDEO_ENDINGS)
            kind, what = ('bad_video', 'video') if is_video else ('corrupt_image', 'picture')
            yield key, Fault(kind, str(error), f'replace the {what} by a whole one, or take it out')

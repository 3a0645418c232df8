"""Pictures in tar files."""

from __future__ import annotations

from array import array
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

from mmgpt.data.image_stores.mapped import Located, MappedImages
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.tar_members import tar_members
from mmgpt.registry import IMAGE_STORES


@IMAGE_STORES.register_module()
class TarImages(MappedImages):
    """The files in a tar file, or in all ``*.tar`` of a folder; keys are their names in it, without a leading ``./``.

    The files are walked once for the places of their members; a picture is then read out of the mapped file.

    Args:
        path: an uncompressed tar file, or a folder of them (read in the order of their names).
        max_pixels: pictures with more pixels are refused.

    Raises:
        FileNotFoundError: there is no such file, or no ``*.tar`` in the folder.
        ValueError: a file is no tar file, compressed, or cut off; the message names it.
    """

    ending, kind = '.tar', 'tar'

    def locate(self, rewritten: Callable[[int], BinaryIO]) -> Located:
        """See :meth:`MappedImages.locate`."""
        names: list[str] = []
        spans = array('q')
        for number, file in enumerate(self.files):
            for member in tar_members(file):
                names.append(member.name.removeprefix('./'))
                spans.extend((number, member.offset, member.size))
        return Located(KeyIndex(names), np.array(spans, np.int64).reshape(-1, 3))

    def read(self, key: str) -> bytes:
        """See :meth:`ImageStore.read`."""
        return self.cell(key)[1]

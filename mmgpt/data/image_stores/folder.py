"""Pictures as files in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path

from mmgpt.data.image_stores.base import ImageStore
from mmgpt.data.key_index import KeyIndex
from mmgpt.registry import IMAGE_STORES


@IMAGE_STORES.register_module()
class FolderImages(ImageStore):
    """A folder of picture files; keys are paths below it, such as ``train2017/000000000009.jpg``.

    A picture is opened by its path. The folder is listed only for what needs all names: ``len``, ``keys`` and the
    suggestion for a missing one.

    Args:
        path: the folder.
        max_pixels: pictures with more pixels are refused.

    Raises:
        NotADirectoryError: there is no such folder.
    """

    def __init__(self, path: str | Path, max_pixels: int = 64_000_000) -> None:
        self.path = Path(path)
        self.max_pixels = max_pixels
        if not self.path.is_dir():
            raise NotADirectoryError(f'{self.path}: there is no such folder (of pictures)')

    @cached_property
    def index(self) -> KeyIndex:
        """All files below the folder, sorted."""
        folders = os.walk(self.path)
        names = (os.path.relpath(os.path.join(root, name), self.path) for root, _, files in folders for name in files)
        return KeyIndex(sorted(name.replace(os.sep, '/') for name in names))

    def read(self, key: str) -> bytes:
        """See :meth:`ImageStore.read`."""
        if key not in self:
            self.place(key)  # raises, and names what is near
        return (self.path / key).read_bytes()

    def keys(self) -> Iterable[str]:
        """All keys, sorted."""
        return iter(self.index)

    def __contains__(self, key: str) -> bool:
        if not isinstance(key, str) or Path(key).is_absolute() or '..' in Path(key).parts:
            return False  # outside of the folder
        return os.path.isfile(self.path / key)  # False too for names that no file can have

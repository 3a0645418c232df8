"""Stores whose pictures lie somewhere in big files: each is found once, then read out of the mapped file."""

from __future__ import annotations

import io
import mmap
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from mmgpt.data.cache import cached, is_small, mapped_array
from mmgpt.data.image_stores.base import ImageStore
from mmgpt.data.key_index import KeyIndex


class Located(NamedTuple):
    """Where pictures lie."""

    keys: KeyIndex
    spans: np.ndarray  # (N, 3) int64: number of the file, start, length; a length of -1 = there is none


class MappedImages(ImageStore):
    """Pictures by their places in files. A subclass defines :meth:`locate`, and ``read`` by means of :meth:`cell`.

    It names the ``ending`` of its files and their ``kind``, for messages.

    The places of big files are found once and kept (:func:`mmgpt.data.cache.cached`), those of small ones are found
    at each opening.

    Args:
        path: a file, or a folder of them (read in the order of their names).
        max_pixels: pictures with more pixels are refused.

    Raises:
        FileNotFoundError: there is no such file, or none in the folder.
    """

    ending: str
    kind: str

    def __init__(self, path: str | Path, max_pixels: int = 64_000_000) -> None:
        path = Path(path)
        self.files = sorted(path.glob(f'*{self.ending}')) if path.is_dir() else [path]
        if not self.files or not self.files[0].is_file():
            raise FileNotFoundError(f'{path}: there is no such {self.kind} file or folder with *{self.ending} files')
        self._folder: Path | None = None  # of what is kept
        self._cells: dict[int, bytes] = {}  # what was rewritten of small files
        self._maps: dict[int, mmap.mmap] = {}
        if is_small(self.files):
            rewritten: dict[int, io.BytesIO] = {}
            keys, self._spans = self.locate(lambda number: rewritten.setdefault(number, io.BytesIO()))
            self._cells = {number: cells.getvalue() for number, cells in rewritten.items()}
        else:
            self._folder = cached('picture-index', self.files, self._save, type(self).__name__)
            keys, self._spans = KeyIndex.load(self._folder), self._load_spans()
        super().__init__(path, keys, max_pixels)

    @abstractmethod
    def locate(self, rewritten: Callable[[int], BinaryIO]) -> Located:
        """Finds the pictures of all files.

        Args:
            rewritten: opens a file for the pictures of the file of a number, where they cannot be read in their
                place; the spans are places in it then.

        Raises:
            ValueError: a file is not as it should be; the message names it.
        """

    def cell(self, key: str) -> tuple[Path, bytes | None]:
        """The file of a key, and the bytes that lie at its place, None where there are none.

        Raises:
            KeyError: the store has no such key.
        """
        number, start, length = map(int, self._spans[self.place(key)])
        return self.files[number], None if length < 0 else self._data(number)[start : start + length]

    def _data(self, number: int) -> bytes | mmap.mmap:
        """What the places of a file's pictures are places in."""
        if number in self._cells:
            return self._cells[number]
        if number not in self._maps:
            path = None if self._folder is None else self._folder / _cells_name(number)
            with (self.files[number] if path is None or not path.is_file() else path).open('rb') as file:
                self._maps[number] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        return self._maps[number]

    def _save(self, folder: Path) -> None:
        opened: list[BinaryIO] = []

        def cells(number: int) -> BinaryIO:
            opened.append((folder / _cells_name(number)).open('wb'))
            return opened[-1]

        try:
            keys, spans = self.locate(cells)
        finally:
            for file in opened:
                file.close()
        keys.save(folder)
        np.save(folder / 'spans.npy', spans)

    def _load_spans(self) -> np.ndarray:
        return mapped_array(self._folder / 'spans.npy')

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, '_maps': {}, '_spans': self._spans if self._folder is None else None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        if self._folder is not None:
            self._spans = self._load_spans()


def _cells_name(number: int) -> str:
    return f'cells-{number:05d}.bin'

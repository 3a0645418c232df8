"""Pictures in the cells of a table."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from mmgpt.data.image_stores.base import ImageStore, digest_of, open_picture
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.table_records import Blob, TableRecords


class CellImages(ImageStore):
    """The pictures that stand in the rows of tables, under keys ``(row, number)``, and those of another store.

    Args:
        tables: their rows are counted through.
        column: of the pictures.
        others: where strings are looked up: keys, and the paths of cells that hold no bytes.
        max_pixels: pictures with more pixels are refused.
    """

    def __init__(
        self,
        tables: Sequence[TableRecords],
        column: str,
        others: ImageStore | None = None,
        max_pixels: int = 64_000_000,
    ) -> None:
        super().__init__(tables[0].path, KeyIndex([]) if others is None else others.index, max_pixels)
        self.path = tables[0].path  # may be an address
        self.tables, self.column, self.others = list(tables), column, others
        self._starts = np.concatenate([[0], np.cumsum([len(table) for table in tables])])

    def read(self, key: str | tuple[int, int]) -> bytes:
        """See :meth:`ImageStore.read`."""
        data, path = self._cell(key)
        if data is not None:
            return data
        if self.others is None:
            raise KeyError(f'{self.path} names the picture {path!r} and does not hold it: set images to where it lies')
        return self.others.read(path)

    def open(self, key: str | tuple[int, int]) -> Image.Image:
        """See :meth:`ImageStore.open`."""
        return open_picture(self.read(key), f'{self.path}: image {key!r}', self.max_pixels)

    def digest(self, key: str | tuple[int, int]) -> bytes:
        """See :meth:`ImageStore.digest`."""
        return digest_of(self.read(key))

    def __contains__(self, key: str | tuple[int, int]) -> bool:
        try:
            data, path = self._cell(key)
        except KeyError:
            return False
        return data is not None or (self.others is not None and path in self.others)

    def _cell(self, key: str | tuple[int, int]) -> Blob:
        if not isinstance(key, tuple):
            return Blob(None, key)
        place, item = key
        number = int(np.searchsorted(self._starts, place, side='right')) - 1
        try:
            return self.tables[number].blob(place - int(self._starts[number]), self.column, item)
        except IndexError as error:
            raise KeyError(f'{self.path}: there is no image {key!r}: {error}') from error

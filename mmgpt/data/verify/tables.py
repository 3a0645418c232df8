"""The rows of Parquet and Arrow files, as the doctor reads them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from PIL import Image

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.image_stores.cells import CellImages
from mmgpt.data.remote_files import is_remote
from mmgpt.data.remote_tables import RemoteTable
from mmgpt.data.table_records import TableRecords
from mmgpt.data.verify.entries import Slip

_CELL = re.compile(r'row (\d+), picture (\d+)')


class TableEntries:
    """A table with the face of :class:`~mmgpt.data.verify.entries.Entries`. Its rows have no lines.

    Args:
        path: as of :class:`~mmgpt.data.table_records.TableRecords`, or an address.
    """

    layout = 'table'
    keys = None
    slips: list[Slip] = []

    def __init__(self, path: str | Path) -> None:
        self.table = RemoteTable(path) if is_remote(path) else TableRecords(path)
        self.path = self.table.path

    def __len__(self) -> int:
        return len(self.table)

    def raw(self, number: int) -> bytes:
        """The row as text, without its pictures."""
        return json.dumps(self.value(number), default=str).encode()

    def value(self, number: int) -> dict[str, Any]:
        """The row, without the bytes of its pictures."""
        return self.table[number]

    def line(self, number: int) -> None:
        """None."""


class CellStore(ImageStore):
    """The pictures in the cells of tables by names, ``row 3, picture 0``.

    Args:
        cells: has them by row and number.
    """

    def __init__(self, cells: CellImages) -> None:
        self.cells, self.path, self.max_pixels = cells, cells.path, cells.max_pixels

    def read(self, key: str) -> bytes:
        """See :meth:`ImageStore.read`."""
        return self.cells.read(self._key(key))

    def open(self, key: str) -> Image.Image:
        """See :meth:`ImageStore.open`."""
        return self.cells.open(self._key(key))

    def __contains__(self, key: str) -> bool:
        return self._key(key) in self.cells

    @staticmethod
    def name(row: int, number: int) -> str:
        """What the picture of a cell is called."""
        return f'row {row}, picture {number}'

    @staticmethod
    def _key(name: str) -> str | tuple[int, int]:
        found = _CELL.fullmatch(name)
        return name if found is None else (int(found[1]), int(found[2]))

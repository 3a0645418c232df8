"""Pictures in Arrow and Parquet tables with an id, as the ``datasets`` library has them."""

from __future__ import annotations

from pathlib import Path

from mmgpt.data.image_stores.base import ImageStore
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.table_records import TableRecords
from mmgpt.registry import IMAGE_STORES


@IMAGE_STORES.register_module()
class TableImages(ImageStore):
    """A table with a column of ids and one of pictures (bytes, or ``{"bytes", "path"}``): MIMIC-IT's ``XX_Images``.

    Arrow files are mapped and read in their place. Of a Parquet file a row group is read for each picture: save tables
    with big ones as Arrow first (``datasets``: ``save_to_disk``).

    Args:
        path: a file or folder that :class:`~mmgpt.data.table_records.TableRecords` takes.
        key: the column of the ids; numbers count as their text.
        column: of the pictures.
        max_pixels: pictures with more pixels are refused.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it cannot be read or has other columns; the message names it.
    """

    def __init__(self, path: str | Path, key: str = 'id', column: str = 'image', max_pixels: int = 64_000_000) -> None:
        self.table = TableRecords(path)
        if missing := [name for name in (key, column) if name not in self.table.columns]:
            raise ValueError(f'{path}: has no column {" and ".join(missing)}, it has {self.table.columns}')
        self.column = column
        super().__init__(path, KeyIndex(self.table.texts(key)), max_pixels)

    def read(self, key: str) -> bytes:
        """See :meth:`ImageStore.read`."""
        place = self.place(key)
        try:
            data, path = self.table.blob(place, self.column)
        except IndexError as error:
            raise ValueError(f'image {key!r} is missing: {error}') from error
        if data is None:
            raise ValueError(f'{self.table.where(place)}: image {key!r} holds no bytes, only the path {path!r}')
        return data

"""The pictures of any image store as MIMIC-IT's Parquet."""

from __future__ import annotations

from pathlib import Path

from mmgpt.data.converters.base import image_id, read_key
from mmgpt.data.converters.pictures import PART_BYTES, Encoder, PictureParts, Pictures, Report, Unit
from mmgpt.data.image_stores import ImageStore


def write_parquet(
    images: ImageStore,
    out: str | Path,
    prefix: str | None = None,
    encoder: Encoder | None = None,
    jobs: int = 1,
    part_bytes: int = PART_BYTES,
) -> Report:
    """Writes all pictures of a store into a Parquet file, or a folder of them where they are more than ``part_bytes``.

    What cannot be decoded is left out and reported. A run that was interrupted goes on where it stopped.

    Args:
        images: the store.
        out: such as ``LA.parquet``; must not be there.
        prefix: the ids become ``LA_IMG_{file name up to its first dot}``; None = they are the keys of the store.
        encoder: how pictures are written; default: as they are, to the byte.
        jobs: pictures that are read at the same time.
        part_bytes: of a file, about.

    Raises:
        FileExistsError: ``out`` is there.
        ValueError: there is no picture, or an earlier run began with other settings.
    """
    encoder, report = encoder or Encoder(size=None), Report()

    def unit(key: str) -> Unit:
        id = key if prefix is None else image_id(prefix, key)
        return Unit(key, lambda: Pictures([(id, encoder.still(read_key(images, key), f'{images.path}: {key}'))]))

    settings = {'images': str(images.path), 'prefix': prefix, 'encoder': list(encoder)}
    parts = PictureParts(out, settings, part_bytes)
    parts.write(map(unit, images.keys()), report, jobs)
    parts.finish()
    return report

"""The pictures of any image store as MIMIC-IT's Parquet."""

from __future__ import annotations

from pathlib import Path

from mmgpt.data.converters.base import image_id, read_key
from mmgpt.data.converters.pictures import PART_BYTES, Encoder, PictureParts, Pictures, Report, Unit
from mmgpt.data.image_stores import ImageStore, VideoFiles
from mmgpt.data.video import VIDEO_ENDINGS


def write_parquet(
    images: ImageStore,
    out: str | Path,
    prefix: str | None = None,
    encoder: Encoder | None = None,
    jobs: int = 1,
    part_bytes: int = PART_BYTES,
) -> Report:
    """Writes all pictures of a store into a Parquet file, or a folder of them where they are more than ``part_bytes``.

    What cannot be decoded is left out and reported, and so are videos, of which an id would have one picture. A run
    that was interrupted goes on where it stopped.

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

    def pictures(key: str) -> Pictures:
        where = f'{images.path}: {key}'
        if isinstance(images, VideoFiles) and key.lower().endswith(VIDEO_ENDINGS):
            raise ValueError(
                f'{where} is a video, of which one picture would be left: name the folder as images instead'
            )
        return Pictures(
            [(key if prefix is None else image_id(prefix, key), encoder.still(read_key(images, key), where))]
        )

    def unit(key: str) -> Unit:
        return Unit(key, lambda: pictures(key))

    settings = {'images': str(images.path), 'prefix': prefix, 'encoder': list(encoder)}
    parts = PictureParts(out, settings, part_bytes)
    parts.write(map(unit, images.keys()), report, jobs)
    parts.finish()
    return report

"""Pictures and frames become one Parquet file or several, so that a broken run goes on where it stopped."""

from __future__ import annotations

import json
import shutil
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mmgpt.data.image_stores.base import open_picture
from mmgpt.data.image_stores.parquet import write_parquet_images
from mmgpt.data.picture_bytes import encoded
from mmgpt.data.whole_file import whole_file

PART_BYTES = 1_500_000_000  # some readers of Parquet fail on strings beyond 2 GB
MAX_PIXELS = 250_000_000


class Pictures(NamedTuple):
    """What a unit holds: image ids with encoded pictures."""

    items: list[tuple[str, bytes]]
    interval: float = 0.0  # seconds between the frames of a video


class Unit(NamedTuple):
    """What is read, written and resumed as one: a picture, or all frames of a video."""

    name: str  # for messages; a unit that is resumed is known by it
    read: Callable[[], Pictures]


class Written(NamedTuple):
    """What was written of a unit."""

    ids: list[str]
    interval: float = 0.0

    def between(self, start: float, end: float) -> list[str]:
        """The frames of the seconds ``start`` to ``end``, or the nearest one."""
        first = min(round(start / self.interval), len(self.ids) - 1)
        return self.ids[first : max(first + 1, round(end / self.interval))]


@dataclass
class Report:
    """What a conversion made, and what it could not use.

    Args:
        pictures: how many were written.
        instructions: how many each file holds.
        resumed: units that an earlier run had written.
        faults: the name of each input that is missing or broken, and why.
    """

    pictures: int = 0
    instructions: dict[str, int] = field(default_factory=dict)
    resumed: int = 0
    faults: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain data."""
        return {'pictures': self.pictures, 'instructions': self.instructions, 'faults': self.faults}

    def __str__(self) -> str:
        lines = [f'{self.pictures} pictures' + (f', {self.resumed} inputs from before' if self.resumed else '')]
        lines += [f'{name}: {count} records' for name, count in self.instructions.items()]
        if self.faults:
            lines.append(f'{len(self.faults)} inputs are missing or broken:')
            lines += [f'  {name}: {why}' for name, why in list(self.faults.items())[:20]]
            lines += [f'  … and {len(self.faults) - 20} more'] * (len(self.faults) > 20)
        return '\n'.join(lines)


class Encoder(NamedTuple):
    """How pictures are written.

    Args:
        size: height and width in pixels, the aspect is not kept; None = as they are, stills to the byte.
        quality: of JPEG, from 1 to 95; None = PNG.
    """

    size: int | None = 224
    quality: int | None = None

    def still(self, data: bytes, where: str) -> bytes:
        """An encoded picture, checked by decoding it.

        Raises:
            ValueError: it cannot be decoded; the message begins with ``where``.
        """
        picture = open_picture(data, where, MAX_PIXELS)
        return data if self.size is None else self.frame(picture)

    def frame(self, picture: Image.Image) -> bytes:
        """A picture as PNG or JPEG."""
        if self.size is not None and picture.size != (self.size, self.size):
            picture = picture.resize((self.size, self.size), Image.Resampling.LANCZOS)
        return encoded(picture) if self.quality is None else encoded(picture, 'jpeg', quality=self.quality)


class PictureParts:
    """Writes the pictures of units into Parquet files beside ``path``, and puts them there in the end.

    One file becomes ``path`` itself; where there are several, ``path`` is a folder of them, which
    :class:`~mmgpt.data.image_stores.ParquetImages` reads alike. A file that is whole is not made again by a later run.

    Args:
        path: such as ``SD.parquet``; must not be there yet.
        settings: what the pictures depend on, plain data: a run with others does not go on with these.
        part_bytes: of base64 text in a file, about.

    Raises:
        FileExistsError: ``path`` is there.
        ValueError: an earlier run began with other settings.
    """

    def __init__(self, path: str | Path, settings: Mapping[str, Any], part_bytes: int = PART_BYTES) -> None:
        self.path = Path(path)
        self.part_bytes = part_bytes
        if self.path.exists():
            raise FileExistsError(f'{self.path} is there already: delete it, or name another --out')
        self.folder = self.path.with_name(f'.{self.path.name}.parts')
        self.folder.mkdir(parents=True, exist_ok=True)
        begun = self.folder / 'settings.json'
        if begun.exists() and (before := json.loads(begun.read_text())) != dict(settings):
            raise ValueError(f'{self.folder} was begun with {before}, not {dict(settings)}: delete it to begin anew')
        begun.write_text(json.dumps(dict(settings)))
        self.written: dict[str, Written] = {}
        self.files = 0
        while (ledger := self._ledger()).exists():
            self.written |= {name: Written(*entry) for name, entry in json.loads(ledger.read_text()).items()}
            self.files += 1

    def write(self, units: Iterable[Unit], report: Report, jobs: int = 1) -> None:
        """Reads and writes what is not written yet.

        Args:
            units: in a fixed order.
            report: told what is missing or broken.
            jobs: units that are read at the same time.
        """
        report.resumed = len(self.written)
        seen = {id for entry in self.written.values() for id in entry.ids}
        read = _read((unit for unit in units if unit.name not in self.written), jobs, report)
        for first in read:
            part: dict[str, Written] = {}
            write_parquet_images(self._part(), self._items(first, read, part, seen, report))
            _write_text(self._ledger(), json.dumps(part))
            self.written |= part
            self.files += 1
        report.pictures = len(seen)

    def finish(self) -> None:
        """Puts the files in their place.

        Raises:
            ValueError: there is no picture.
        """
        if not self.files:
            shutil.rmtree(self.folder)
            raise ValueError(f'{self.path}: there is no picture to write')
        if self.files == 1:
            self.files = 0
            self._part().rename(self.path)
            shutil.rmtree(self.folder)
        else:
            for ledger in self.folder.glob('*.json'):
                ledger.unlink()
            self.folder.rename(self.path)

    def _items(
        self, first: tuple[Unit, Pictures], read: Iterator[tuple[Unit, Pictures]], part: dict, seen: set, report: Report
    ) -> Iterator[tuple[str, bytes]]:
        """The pictures of one file; a unit is never cut in two."""
        size = 0
        unit, pictures = first
        while True:
            items = [item for item in pictures.items if item[0] not in seen]
            if len(items) < len(pictures.items):
                report.faults[unit.name] = 'has the image ids of another input'
            yield from items
            seen |= {id for id, _ in items}
            part[unit.name] = Written([id for id, _ in pictures.items], pictures.interval)
            size += sum(len(data) for _, data in items) * 4 // 3
            if size >= self.part_bytes or (following := next(read, None)) is None:
                return
            unit, pictures = following

    def _part(self) -> Path:
        return self.folder / f'part-{self.files:05d}.parquet'

    def _ledger(self) -> Path:
        return self.folder / f'part-{self.files:05d}.json'


def _read(units: Iterator[Unit], jobs: int, report: Report) -> Iterator[tuple[Unit, Pictures]]:
    """The units that can be read, in their order; a few are read ahead."""
    waiting: deque[tuple[Unit, Future]] = deque()

    def result() -> Iterator[tuple[Unit, Pictures]]:
        unit, future = waiting.popleft()
        try:
            pictures = future.result()
        except FileNotFoundError as error:
            report.faults[unit.name] = f'is missing: {error}'
        except (OSError, ValueError) as error:
            report.faults[unit.name] = f'is broken: {error}'
        else:
            if pictures.items:
                yield unit, pictures
            else:
                report.faults[unit.name] = 'is broken: it has no frame'

    with ThreadPoolExecutor(jobs) as pool:
        for unit in units:
            waiting.append((unit, pool.submit(unit.read)))
            if len(waiting) > 2 * jobs:
                yield from result()
        while waiting:
            yield from result()


def _write_text(path: Path, text: str) -> None:
    with whole_file(path) as partial:
        partial.write_text(text, encoding='utf-8')

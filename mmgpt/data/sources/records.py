"""What the sources of instruction records share: indexed files, ids, validation, a fixed share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np

from mmgpt.data.image_stores import ImageStore
from mmgpt.data.json_index import JsonObject
from mmgpt.data.json_list import open_records
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.remote_tables import RemoteTable
from mmgpt.data.sources.base import Source
from mmgpt.structures import Kind, Sample, Turn


class Record(Mapping):
    """One record, and where it stands: asks for its fields in the form they should have.

    Args:
        fields: the record as it was parsed.
        where: tells file and line, for messages; finding a line takes time.
        key: its name in a file that is an object.
        file: the name of its file.
        place: its number in the source's files.

    Raises:
        ValueError: it is no object, or a field is not of the form that is asked for.
    """

    def __init__(self, fields: Any, where: Callable[[], str], key: str = '', file: str = '', place: int = 0) -> None:
        if not isinstance(fields, dict):
            raise ValueError(f'{where()}: expected an object, got {shorten(fields)}')
        self.fields, self.where = fields, where
        self.key, self.file, self.place = key, file, place

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def text(self, name: str, default: str | None = None) -> str:
        """A string; ``default`` where it is absent or null."""
        value = self.fields.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            self.fail(name, 'a string')
        return value

    def texts(self, name: str, at_least: int = 0) -> list[str]:
        """A list of strings."""
        value = self.fields.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value) or len(value) < at_least:
            self.fail(name, f'a list of {f"at least {at_least} " if at_least else ""}strings')
        return value

    def records(self, name: str, at_least: int = 0) -> list[Record]:
        """A list of objects."""
        value = self.fields.get(name)
        if not isinstance(value, list) or len(value) < at_least:
            self.fail(name, f'a list of at least {at_least} objects')
        return [Record(item, partial(self._where_inside, name, place)) for place, item in enumerate(value)]

    def number(self, name: str, below: int | None = None) -> int:
        """A whole number from 0."""
        value = self.fields.get(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < 0 or (below is not None and value >= below):
            self.fail(name, 'a whole number from 0' + ('' if below is None else f' to {below - 1}'))
        return value

    def word(self, name: str) -> str:
        """A string or a whole number, as a string: what ids and file names are."""
        value = self.fields.get(name)
        if isinstance(value, bool) or not isinstance(value, str | int) or value == '':
            self.fail(name, 'a string or a whole number')
        return str(value)

    def _where_inside(self, name: str, place: int) -> str:
        return f'{self.where()}: "{name}"[{place}]'

    def fail(self, name: str, expected: str) -> NoReturn:
        """Raises the fault of a field."""
        got = shorten(self.fields[name]) if name in self.fields else f'no such field; it has {list(self.fields)[:8]}'
        raise ValueError(f'{self.where()}: "{name}" should be {expected}, got {got}')


class Records(Source):
    """Samples out of the records of annotation files.

    The files are indexed and mapped into memory; a record is parsed and checked when it is asked for. A subclass
    defines :meth:`read`, and :attr:`id_field` where its records have an id of their own.

    Args:
        annotations: a file, or several that are joined: a list, JSON lines, an object, or a table (Parquet, Arrow).
            Parquet files may lie elsewhere, see :class:`~mmgpt.data.remote_tables.RemoteTable`.
        images: the pictures' store; None = the samples are text only.
        sample: so many records, drawn once, are all there is (at most all of them); None = all.
        sample_seed: of that draw.
        name: of the source; None = the name of the first file.
        keep: for subclasses: which records count. All are read for it once.

    Raises:
        FileNotFoundError: a file is not there.
        ValueError: a file is no such JSON, or has to be read in full for ``keep`` and lies elsewhere.
    """

    member: ClassVar[str | None] = None  # where the file is an object: its member with the records
    lines: ClassVar[bool] = False  # the published file has lines, whatever its name
    id_field: ClassVar[str | None] = None  # None: the file's own key, or file name and number
    context_field: ClassVar[str | None] = None  # the ids of a record's context samples; None: it has none

    def __init__(
        self,
        annotations: str | Path | Sequence[str | Path],
        images: ImageStore | None = None,
        sample: int | None = None,
        sample_seed: int = 42,
        name: str | None = None,
        keep: Callable[[Record], bool] | None = None,
    ) -> None:
        paths = [annotations] if isinstance(annotations, str | Path) else list(annotations)
        if not paths:
            raise ValueError('annotations must name at least one file')
        if sample is not None and sample < 1:
            raise ValueError(f'sample must be at least 1 or None, got {sample}')
        super().__init__(name or Path(paths[0]).stem, images)
        self.files = [open_records(path, self.member, self.lines) for path in paths]
        self._starts = np.concatenate([[0], np.cumsum([len(file) for file in self.files])])
        total = int(self._starts[-1])
        if keep is not None and self._is_streamed:
            raise ValueError(
                f'{paths[0]}: all records of a {type(self).__name__} source are read to find those that count, so it '
                'cannot be streamed: download it first'
            )
        self.keep = keep
        self._chosen = None if keep is None else np.flatnonzero([keep(self._record(i)) for i in range(total)])
        if sample is not None and sample < len(self):
            drawn = np.random.default_rng(sample_seed).permutation(len(self))[:sample]
            if self._is_streamed:
                drawn = np.sort(drawn)  # those of a block stay together
            self._chosen = drawn if self._chosen is None else self._chosen[drawn]
        self._ids: KeyIndex | None = None

    def __len__(self) -> int:
        return int(self._starts[-1]) if self._chosen is None else len(self._chosen)

    @property
    def annotation_files(self) -> list[Path]:
        """See :attr:`Source.annotation_files`."""
        return [path for file in self.files for path in getattr(file, 'on_disk', [file.path])]

    @property
    def blocks(self) -> np.ndarray | None:
        """See :attr:`Source.blocks`: the row groups, where some are fetched from elsewhere."""
        if not self._is_streamed:
            return None
        sizes = np.concatenate([getattr(file, 'group_sizes', [len(file)]) for file in self.files])
        if self._chosen is None:
            return sizes
        ends = np.searchsorted(self._chosen, np.cumsum(sizes))
        return np.diff(ends, prepend=0)

    @property
    def _is_streamed(self) -> bool:
        return any(isinstance(file, RemoteTable) for file in self.files)

    def __getitem__(self, index: int) -> Sample:
        return self.draw(index, np.random.default_rng(index))

    def draw(self, index: int, rng: np.random.Generator) -> Sample:
        """See :meth:`Source.draw`."""
        if not 0 <= index < len(self):
            raise IndexError(f'{self.name} has {len(self)} samples, there is no index {index}')
        return self._sample(index if self._chosen is None else int(self._chosen[index]), rng)

    def find(self, id: str) -> Sample:
        """See :meth:`Source.find`. The first call reads the ids of all records."""
        if self._ids is None:
            self._ids = KeyIndex(self._id(self._record(place), place) for place in range(int(self._starts[-1])))
        place = self._ids.find(id)
        if place is None:
            near = ' or '.join(map(repr, self._ids.nearest(id)))
            raise KeyError(f'{self.files[0].path}: there is no record {id!r}; did you mean {near}?')
        return self._sample(place, np.random.default_rng(place))

    @abstractmethod
    def read(self, record: Record, rng: np.random.Generator) -> tuple[Turn, ...]:
        """The turns of a record.

        Args:
            record: asked for its fields, it checks them.
            rng: whatever the published set chooses at random is drawn from it.

        Raises:
            ValueError: the record is not as its format says; the message names file and line.
        """

    def context(self, record: Record) -> tuple[str, ...]:
        """The ids of a record's context samples, where it has them."""
        field = self.context_field
        return tuple(record.texts(field)) if field is not None and record.get(field) else ()

    def kind_of(self, record: Record, turns: tuple[Turn, ...]) -> Kind:
        """What the sample is reported as."""
        return 'image' if any(turn.media for turn in turns) else 'text'

    def _record(self, place: int) -> Record:
        number = int(np.searchsorted(self._starts, place, side='right')) - 1
        file, inside = self.files[number], place - int(self._starts[number])
        key = file.keys[inside] if isinstance(file, JsonObject) else ''
        return Record(file[inside], partial(file.where, inside), key, file.path.name, place)

    def _id(self, record: Record, place: int) -> str:
        if self.id_field is not None and record.get(self.id_field) is not None:
            return record.word(self.id_field)
        return record.key or f'{self.name}_{place}'

    def _sample(self, place: int, rng: np.random.Generator) -> Sample:
        record = self._record(place)
        turns = self.read(record, rng)
        return Sample(
            self._id(record, place),
            turns,
            self.context(record),
            self.kind_of(record, turns),
            self.name,
            language=record.text('language', ''),
        )


def shorten(value: Any) -> str:
    """A value as it is shown in a message.

    Example:
        >>> shorten('a' * 100)[-10:]
        'aaaaaaaaa…'
    """
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:79] + '…'


def choose(options: Sequence[str], rng: np.random.Generator) -> str:
    """One of several, drawn."""
    return options[int(rng.integers(len(options)))]


def dialogue(pairs: Sequence[tuple[str, str]], media: tuple = ()) -> tuple[Turn, ...]:
    """Question and answer in turn; the media stand before the first question."""
    turns: list[Turn] = []
    for number, (question, answer) in enumerate(pairs):
        turns += [Turn('user', question, () if number else media), Turn('assistant', answer)]
    return tuple(turns)

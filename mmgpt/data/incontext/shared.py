"""Context that shares a picture, clip, scene or album with the sample."""

from __future__ import annotations

import copy
import re
from array import array
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np

from mmgpt.data.cache import mapped_array
from mmgpt.data.incontext.base import Choice
from mmgpt.data.incontext.pool import frames_of, kept, samples_of
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.sources import Source
from mmgpt.registry import RETRIEVERS
from mmgpt.structures import Sample


@RETRIEVERS.register_module()
class SharedMedia(Choice):
    """Other samples that show one of the same pictures; in the order of the file.

    With the defaults these are the other instructions of a picture, pair, clip or album. What frames of a scene share
    is a part of their ids: ``pattern=r'scene\\d+'``. With ``by='id'`` samples are related whose own ids share it.
    Examples that serve as context only, as of a training file that lists last rounds, are among them where the sample
    names them, in the file or in its record; they stand first.

    Args:
        num, pick: see :class:`Choice`.
        by: what is compared, the 'images' of samples or their 'id'.
        pattern: a regular expression; its first group, or all that it matches, is compared instead of the whole.
            What it does not match is related to nothing.
    """

    earlier = False  # only those that stand before the sample

    def __init__(
        self,
        num: int | tuple[int, int] | None = None,
        pick: Literal['random', 'first', 'last'] = 'random',
        by: Literal['images', 'id'] = 'images',
        pattern: str | None = None,
    ) -> None:
        super().__init__(num, pick)
        if by not in ('images', 'id'):
            raise ValueError(f"by must be 'images' or 'id', got {by!r}")
        if by == 'id' and pattern is None:
            raise ValueError("by='id' needs a pattern: ids as a whole are never the same")
        self.by, self.pattern = by, pattern
        self._folder: Path | None = None
        self._source: Source | None = None

    def bind(self, source: Source) -> SharedMedia:
        """The retriever for the samples of a source; the relations are found once and kept on disk."""
        bound = copy.copy(self)
        bound._source = source
        bound._folder = kept(
            source, 'relation-table', lambda folder: self._make(source, folder), [self.by, self.pattern], []
        )
        bound._load()
        return bound

    def __call__(self, sample: Sample, rng: np.random.Generator) -> list[str]:
        """See :class:`~mmgpt.data.incontext.base.Retriever`."""
        if self._folder is None:
            raise ValueError(f'{type(self).__name__} knows no samples: call bind(source) first')
        own = self._ids.find(sample.id)
        groups = [group for group in map(self._groups.find, self._shared(sample)) if group is not None]
        places = {int(place) for group in groups for place in self._members[slice(*self._starts[group : group + 2])]}
        places.discard(own)
        if self.earlier:
            places = {place for place in places if own is not None and place < own}
        return self.choose([*self._context_only(sample), *(self._ids[place] for place in sorted(places))], rng)

    def _context_only(self, sample: Sample) -> list[str]:
        """Ids that a sample or its record names, of examples that share something with it and are no samples."""
        named, own = dict.fromkeys(sample.context_ids), set(self._shared(sample))
        with suppress(KeyError):  # a query from elsewhere
            named |= dict.fromkeys(self._source.find(sample.id).context_ids)
        found = []
        for id in named:
            if id != sample.id and self._ids.find(id) is None:
                with suppress(KeyError):  # named, and not there
                    if not own.isdisjoint(self._shared(self._source.find(id))):
                        found.append(id)
        return found

    def _shared(self, sample: Sample) -> list[str]:
        """What others may share with a sample."""
        values = frames_of(sample) if self.by == 'images' else [sample.id]
        if self.pattern is None:
            return values
        matches = (re.search(self.pattern, value) for value in values)
        return list(dict.fromkeys(match.group(bool(match.groups())) for match in matches if match))

    def _make(self, source: Source, folder: Path) -> None:
        numbers: dict[str, int] = {}
        ids, groups, places = [], array('q'), array('q')
        for place, sample in enumerate(samples_of(source)):
            ids.append(sample.id)
            for value in self._shared(sample):
                groups.append(numbers.setdefault(value, len(numbers)))
                places.append(place)
        groups, places = (np.frombuffer(numbered, np.int64) for numbered in (groups, places))
        order = np.argsort(groups, kind='stable')
        counts = np.bincount(groups, minlength=len(numbers))
        KeyIndex(ids).save(folder)
        (folder / 'groups').mkdir()
        KeyIndex(numbers).save(folder / 'groups')
        np.save(folder / 'starts.npy', np.concatenate([[0], np.cumsum(counts)]))
        np.save(folder / 'members.npy', places[order])

    def _load(self) -> None:
        self._ids, self._groups = KeyIndex.load(self._folder), KeyIndex.load(self._folder / 'groups')
        self._starts, self._members = (mapped_array(self._folder / f'{name}.npy') for name in ('starts', 'members'))

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name not in ('_starts', '_members')}

    def __setstate__(self, state: dict) -> None:
        self.__dict__.update(state)
        if self._folder is not None:
            self._load()


@RETRIEVERS.register_module()
class EarlierRounds(SharedMedia):
    """The earlier rounds of the same conversation, in their order: those that share pictures and stand before it.

    Args:
        num, pick, by, pattern: as of :class:`SharedMedia`; with ``by='id', pattern=r'(.+)_\\d+$'`` the rounds
            ``LACONV_00_INS_000000000009_0``, ``…_1``, … belong together.
    """

    earlier = True

    def __init__(
        self,
        num: int | tuple[int, int] | None = None,
        pick: Literal['random', 'first', 'last'] = 'last',
        by: Literal['images', 'id'] = 'images',
        pattern: str | None = None,
    ) -> None:
        super().__init__(num, pick, by, pattern)

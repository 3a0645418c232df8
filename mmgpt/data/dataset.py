"""From the address of a sample to its ids and frames: the data set that the workers read."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Literal, NamedTuple

import numpy as np
from PIL.Image import DecompressionBombError
from torch import Tensor
from torch.utils.data import Dataset

from mmgpt.data.address import Address, Length
from mmgpt.data.feature_cache import CachedFrame, FeatureCache
from mmgpt.data.frames import FrameKey, FrameReader
from mmgpt.data.prompter import Prompter
from mmgpt.data.source_entry import Blocks, SourceEntry
from mmgpt.data.sources import Source, Unusable
from mmgpt.data.tokens import Tokens
from mmgpt.structures import KINDS, Encoded, Sample, Turn, Unreadable

# What reading a broken record or picture raises. Errors of code, such as TypeError, are none of them.
UNREADABLE = (OSError, ValueError, LookupError, SyntaxError, EOFError, struct.error, zlib.error, DecompressionBombError)
TRIES = 100  # samples of a source that are left out in turn: then its rules and its data do not fit


class NothingUsable(ValueError):
    """No sample of a source is any good."""


class Item(NamedTuple):
    """A sample that is ready to be collated."""

    encoded: Encoded  # its media name frames by FrameKey
    frames: dict[FrameKey, Tensor | CachedFrame]  # (3, H, W) uint8, each distinct once; the items of a batch share it
    unreadable: tuple[Unreadable, ...] = ()  # what would have stood here


class InstructionDataset(Dataset):
    """All sources as one data set whose items are found by :class:`Address`.

    Context examples are dropped, the oldest first, while the row is longer than ``max_seq_len``; only then the text is
    cut. An item depends on ``(seed, address)`` alone, never on the worker that makes it.

    Args:
        entries: the sources.
        prompter: makes ids and frames.
        max_seq_len: limit of a row's text in tokens; None = no limit.
        seed: of retrieval and augmentation.
        replace_unreadable: a sample that cannot be read, a broken picture or record, is replaced by another one of its
            source, a function of the seed and its address; in a packed row by one that is no longer. The item tells of
            it. Else the error is raised.
        keep_pictures: MiB of pictures, decoded and resized, that each worker keeps until its end, for sets that are
            seen often and fit; the augmentation of a picture is drawn anew all the same. Default: none.

    Attributes:
        features: where set, frames come out of this cache, and pictures are decoded only where it has none.
    """

    metainfo: dict = {}  # MMEngine's Runner asks for it

    def __init__(
        self,
        entries: Sequence[SourceEntry],
        prompter: Prompter,
        max_seq_len: int | None = None,
        seed: int = 0,
        replace_unreadable: bool = False,
        keep_pictures: float = 0,
    ) -> None:
        if not entries:
            raise ValueError('a data set needs at least one source')
        if max_seq_len is not None and max_seq_len < 1:
            raise ValueError(f'max_seq_len must be at least 1 or None, got {max_seq_len}')
        if keep_pictures < 0:
            raise ValueError(f'keep_pictures must be a number of MiB, 0 or more, got {keep_pictures}')
        self.entries = list(entries)
        self.prompter = prompter
        self.max_seq_len = max_seq_len
        self.seed = seed
        self.replace_unreadable = replace_unreadable
        self.features: FeatureCache | None = None
        self._frames = FrameReader(self.entries, prompter, seed, keep_pictures)

    def __len__(self) -> int:
        return sum(len(entry.source) for entry in self.entries)

    @property
    def sizes(self) -> list[int]:
        """The number of samples of each source."""
        return [len(entry.source) for entry in self.entries]

    @property
    def quotas(self) -> list[int]:
        """How many samples an epoch sees of each source."""
        return [entry.quota for entry in self.entries]

    @property
    def blocks(self) -> list[Blocks | None]:
        """Of each source the runs of samples that are read together."""
        return [entry.blocks for entry in self.entries]

    @property
    def visual(self) -> list[bool]:
        """Whether a source has pictures."""
        return [entry.source.images is not None for entry in self.entries]

    def encode(self, address: Address) -> Encoded:
        """The ids, labels and media of a sample with its context; reads no pixels."""
        return self._first(address)[1]

    def named(self, address: Address) -> Encoded:
        """As :meth:`encode`, its media frame by frame under the names that an item has; reads no pixels either."""
        used, encoded, _ = self._first(address)
        with _located(self.entries[used.source], used):
            return replace(encoded, media=self._frames.names(used, encoded.media))

    def measure(self, address: Address) -> Length:
        """How many tokens a sample has with its context, and whether that depends on the epoch; reads no pixels."""
        used, encoded, rng = self._first(address)
        untouched = rng.bit_generator.state == self._rng(used).bit_generator.state
        return Length(len(encoded.input_ids), lasting=untouched and used == Address(*address))

    def _first(self, address: Address) -> tuple[Address, Encoded, np.random.Generator]:
        """The first of the candidates for an address whose record can be read, and the generator it has used."""
        for candidate in self._candidates(Address(*address)):
            rng = self._rng(candidate)
            try:
                return candidate, self._encode(candidate, rng), rng
            except UNREADABLE as error:
                self._give_up(error)
                reason = error
        raise NothingUsable(f'{TRIES} samples in turn cannot be read, the last one since: {reason}') from reason

    def _candidates(self, address: Address) -> Iterator[Address]:
        """The sample of an address, then those that may take its place."""
        yield address
        rng = np.random.default_rng((self.seed, *address, 0, 0))  # where media have one number more, from 1
        for _ in range(TRIES - 1):
            yield address._replace(index=int(rng.integers(len(self.entries[address.source].source))))

    def _give_up(self, error: Exception) -> None:
        """Raises an error again that no other sample makes good."""
        if not self.replace_unreadable or isinstance(error, NothingUsable):
            raise error

    def _rng(self, address: Address) -> np.random.Generator:
        return np.random.default_rng((self.seed, *address))

    def _encode(self, address: Address, rng: np.random.Generator) -> Encoded:
        entry = self.entries[address.source]
        with _located(entry, address):
            context, sample, tokens = self._usable(entry, address.index, rng)
            shown = [*context, sample] if entry.marks == 'every' else [sample]
            return Encoded(
                id=sample.id,
                input_ids=tokens.input_ids,
                labels=tokens.labels,
                media=tokens.media,
                context_ids=tuple(example.id for example in context),
                kind=max((example.kind for example in shown), key=KINDS.index),
                weight=sample.weight * entry.loss_weight,
                language=sample.language or entry.language,
                attend_next=None if entry.attend_next is None else self._chance(address) < entry.attend_next,
            )

    def _chance(self, address: Address) -> float:
        """From 0 to 1, by a generator of its own: all else is drawn alike with it and without."""
        return np.random.default_rng((self.seed, *address, 0)).random()  # where media have numbers from 1

    def _usable(self, entry: SourceEntry, index: int, rng: np.random.Generator) -> tuple[list[Sample], Sample, Tokens]:
        """A sample with its context as ids. One that is left out is replaced by another one of its source."""
        for _ in range(TRIES):
            try:
                sample = draw(entry.source, index, rng)
                context = []
                if entry.retriever is not None:
                    context = [entry.source.find(id) for id in entry.retriever(sample, rng)]
                tokens = self._tokens(context, sample, entry)
                while tokens.cut and context:
                    context = context[1:]
                    tokens = self._tokens(context, sample, entry)
                if hasattr(entry.source, 'check'):  # a source from outside need not have it
                    entry.source.check(tokens, rng)
                return context, sample, tokens
            except Unusable as error:
                reason = error
                index = int(rng.integers(len(entry.source)))
        raise NothingUsable(f'{TRIES} samples in turn cannot be used, the last one since: {reason}') from reason

    def __getitem__(self, address: Address) -> Item:
        return self.__getitems__([address])[0]

    def __getitems__(self, batch: Sequence[Address | list[Address]]) -> list[Item | list[Item]]:
        """The items of a batch; a frame that several of them show is decoded once.

        Args:
            batch: of each row the sample, or a list of those that are packed.
        """
        frames: dict[FrameKey, Tensor | CachedFrame] = {}
        return [
            [self._item(Address(*address), frames, packed=True) for address in row]
            if isinstance(row, list)
            else self._item(Address(*row), frames)
            for row in batch
        ]

    def _item(self, address: Address, frames: dict[FrameKey, Tensor | CachedFrame], packed: bool = False) -> Item:
        """The sample of an address, or what takes its place; where that has to fit a plan, no longer one."""
        room: int | None = None
        reasons: list[tuple[Address, Exception]] = []
        longer: list[Item] = []
        for candidate in self._candidates(address):
            try:
                encoded = self._encode(candidate, self._rng(candidate))
                room = len(encoded.input_ids) if room is None else room  # as measured
                item = self._read(candidate, encoded, frames)
            except UNREADABLE as error:
                self._give_up(error)
                reasons.append((candidate, error))
                continue
            if not packed or len(encoded.input_ids) <= room:
                return self._told(item, reasons)
            longer.append(item)
        if longer:
            return self._told(min(longer, key=lambda item: len(item.encoded.input_ids)), reasons)
        last = reasons[-1][1]
        raise NothingUsable(
            f'{TRIES} samples in turn cannot be read, the last one since: {type(last).__name__}: {last}'
        )

    def _told(self, item: Item, reasons: list[tuple[Address, Exception]]) -> Item:
        """The item with what could not be read in its place."""
        return item._replace(
            unreadable=tuple(
                Unreadable(
                    self.entries[address.source].source.name,
                    address.index,
                    address.epoch,
                    f'{type(error).__name__}: {error}',
                    item.encoded.id,
                )
                for address, error in reasons
            )
        )

    def _read(self, address: Address, encoded: Encoded, frames: dict[FrameKey, Tensor | CachedFrame]) -> Item:
        with _located(self.entries[address.source], address):
            media = self._frames.read(address, encoded.media, frames, self.features)
        return Item(replace(encoded, media=media), frames)

    def _tokens(self, context: Sequence[Sample], sample: Sample, entry: SourceEntry) -> Tokens:
        return self.prompter.encode(
            compose(context, sample, entry.marks), max_seq_len=entry.max_seq_len or self.max_seq_len
        )


def draw(source: Source, index: int, rng: np.random.Generator) -> Sample:
    """The sample of an index; a source from outside need not have :meth:`~mmgpt.data.sources.Source.draw`."""
    return source.draw(index, rng) if hasattr(source, 'draw') else source[index]


def compose(context: Sequence[Sample], sample: Sample, marks: Literal['every', 'first'] = 'every') -> list[Turn]:
    """The turns of a sample after those of its context.

    Args:
        context: oldest first; their system turns are left out.
        sample: the query; its system turn stands in front of everything.
        marks: which turns keep their media, see :class:`SourceEntry`.
    """
    system = [turn for turn in sample.turns if turn.role == 'system']
    turns = [turn for example in (*context, sample) for turn in example.turns if turn.role != 'system']
    if marks == 'first' and turns:
        media = tuple(medium for turn in sample.turns for medium in turn.media)
        turns = [replace(turn, media=()) if turn.media else turn for turn in turns]
        turns[0] = replace(turns[0], media=media)
    return system + turns


@contextmanager
def _located(entry: SourceEntry, address: Address) -> Iterator[None]:
    """Adds to an error which sample it is about."""
    try:
        yield
    except Exception as error:
        error.add_note(f'while reading sample {address.index} of the source {entry.source.name!r}')
        raise

"""Checks between samples: ids that repeat, and what training and evaluation share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmgpt.data.image_stores import FolderImages, ImageStore
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.verify.annotations import Annotations
from mmgpt.data.verify.findings import Fault, Finding, Severity
from mmgpt.data.verify.images import JsonEntries
from mmgpt.data.verify.mimicit import MimicItFile, check_context
from mmgpt.data.verify.tables import CellStore

FEW = 0.1  # of the entries of a file


@dataclass
class Census:
    """Who is in an annotation file.

    Args:
        annotations: the file.
        evaluated: the file is read by an evaluation, not by training.
    """

    annotations: Annotations
    evaluated: bool = False
    ids: list[str | None] = field(default_factory=list)  # of the entries, in their order
    prints: list[bytes] = field(default_factory=list)  # of the entries' contents
    contexts: dict[int, Sequence[str]] = field(default_factory=dict)  # of entries, where they are still to be checked
    shown: list[pa.Array] = field(default_factory=list)  # keys of images, as often as they are shown
    shown_by: list[np.ndarray] = field(default_factory=list)  # the entries that show them

    def showing(self, keys: Sequence[str]) -> Iterator[tuple[str, int]]:
        """The key and the entry, wherever one of ``keys`` is shown."""
        wanted = pa.array(keys, pa.large_string())
        for names, entries in zip(self.shown, self.shown_by):
            for place in np.flatnonzero(pc.is_in(names, wanted).to_numpy(zero_copy_only=False)):
                yield names[int(place)].as_py(), int(entries[place])


def fingerprint(raw: bytes) -> bytes:
    """Tells entries with another content apart; blanks around it do not count."""
    return blake2b(raw.strip(), digest_size=8).digest()


def repeated_ids(census: Census) -> Iterator[Finding]:
    """Ids that an annotation file has more than once.

    Where the ids are the keys of a JSON object, an id finds the last of its entries, and the others are told. In a
    list the first one is taken for the right one; the same id with another content is a slip where few do it, and
    where many do, it is the file's way (LLaVA's mixed file names several conversations by their one picture), and a
    warning.
    """
    if len(set(census.ids)) == len(census.ids):
        return
    annotations = census.annotations
    entries = list(enumerate(census.ids))
    right: dict[str, int] = {}
    others = sorted(
        (number, id)
        for number, id in (reversed(entries) if annotations.keyed else entries)
        if id is not None and right.setdefault(id, number) != number
    )
    for number, id in others:
        alike = census.prints[number] == census.prints[right[id]]
        place = _nth(annotations, right[id])
        what = 'the same content' if alike else 'another content'
        message = f'the id is used by {place} already, with {what}'
        if annotations.keyed:
            message = f'the id is used again by {place}, with {what}, and finds that one; --fix keeps it'
        slip = alike or annotations.keyed or len(others) <= FEW * len(census.ids)
        yield _repeated(annotations, number, id, message, 'error' if slip else 'warning')


def _nth(annotations: Annotations, number: int) -> str:
    line = annotations.entries.line(number)
    return f'row {number}' if line is None else f'line {line}'


def wrong_contexts(censuses: Sequence[Census]) -> Iterator[Finding]:
    """Context ids, of sets whose files do not tell their ids at once, that are the sample's own or point nowhere."""
    for census in censuses:
        if not census.contexts:
            continue
        annotations = census.annotations
        ids = KeyIndex(id for c in censuses if c.annotations.set == annotations.set for id in c.ids if id is not None)
        for number, context in census.contexts.items():
            id = census.ids[number]
            for fault in check_context(id, context, ids, annotations.file):
                yield annotations.finding(number, id, fault)


def repeated_between(censuses: Sequence[Census]) -> Iterator[Finding]:
    """Ids that several files have as keys, unless their records are tagged with different languages.

    As within a list, the same id with another content is an error where few do it, and a warning where many do.
    """
    keyed = [c for c in censuses if isinstance(c.annotations, MimicItFile) and not c.evaluated]
    for number, later in enumerate(keyed):
        for earlier in keyed[:number]:
            if earlier.annotations.file == later.annotations.file:
                continue
            places = earlier.annotations.ids.places(later.annotations.ids)
            again = np.flatnonzero(places >= 0)
            for place in map(int, again):
                alike = later.prints[place] == earlier.prints[places[place]]
                if not alike and _language(earlier, int(places[place])) != _language(later, place):
                    continue  # translations share their ids
                what = 'the same content' if alike else 'another content'
                message = f'{earlier.annotations.file} has this id too, with {what}'
                slip = alike or len(again) <= FEW * len(later.ids)
                yield _repeated(later.annotations, place, later.ids[place], message, 'error' if slip else 'warning')


def _language(census: Census, number: int) -> str:
    """The language of a record, as it or its set says."""
    try:
        record = census.annotations.entries.value(number)
    except ValueError:
        record = None
    return (record.get('language') if isinstance(record, dict) else None) or census.annotations.language


def repeated_images(store: ImageStore) -> Iterator[Finding]:
    """Keys that an image store has more than once; the last image is the one that a run shows, and that is checked."""
    repeated = set() if isinstance(store, FolderImages | CellStore) else set(store.index.duplicates())
    for place, key in enumerate(store.keys() if repeated else ()):
        if key in repeated and place != store.place(key):
            yield Finding(
                'duplicate_id',
                'error',
                str(store.path),
                store.entries.line(place) if isinstance(store, JsonEntries) else None,
                key,
                'the image id is used again in this file, and the last image that has it is the one that is shown',
                'give it another id, or take this one out, which is never shown',
                ((str(store.path), place),),
            )


def leaks(censuses: Sequence[Census]) -> Iterator[Finding]:
    """Samples of the training whose id or image is one of the evaluation's."""
    ids: dict[str, str] = {}
    images: dict[str, str] = {}
    for census in censuses:
        if census.evaluated:
            file = census.annotations.file
            ids |= {id: file for id, _, _ in _samples(census) if id is not None}
            images |= {_global_name(census, key): file for key, _, _ in _shown_by_samples(census)}
    for census in censuses if ids or images else ():
        if census.evaluated:
            continue
        told = set()
        for id, file, number in _samples(census):
            if id in ids:
                told.add((file.file, number))
                message = f'the sample is one of the evaluation too: {ids[id]} has its id'
                yield _leak(file, number, id, message)
        for key, (file, number), id in _shown_by_samples(census):
            name = _global_name(census, key)
            if name in images and (file.file, number) not in told:
                told.add((file.file, number))
                yield _leak(file, number, id, f'its image {key!r} is shown in the evaluation too, by {images[name]}')


def _shown_by_samples(census: Census) -> Iterator[tuple[str, tuple[Annotations, int], str | None]]:
    """The images, the entries that make samples of those that show them, and their ids."""
    for names, entries in zip(census.shown, census.shown_by):
        for key, number in zip(names.to_pylist(), entries.tolist()):
            sample = census.annotations.sample_at(number, census.ids[number])
            if sample is not None:
                yield key, sample, census.ids[number]


def _global_name(census: Census, key: str) -> str:
    """What an image is called among those of all stores: ids are the same everywhere, names of files are not."""
    store = census.annotations.images
    if isinstance(store, FolderImages):
        return str((store.path / key).resolve())
    return f'{store.path}: {key}' if isinstance(store, CellStore) else key


def _samples(census: Census) -> Iterator[tuple[str | None, Annotations, int]]:
    """The ids of the samples, and where each is listed."""
    for number, id in enumerate(census.ids):
        sample = census.annotations.sample_at(number, id)
        if sample is not None:
            yield census.annotations.given_id(number, id), *sample


def _repeated(annotations: Annotations, number: int, id: str, message: str, severity: Severity) -> Finding:
    fix = 'give it another id, tag the records with their "language", or take one of the two out'
    return annotations.finding(number, id, Fault('duplicate_id', message, fix, severity))


def _leak(annotations: Annotations, number: int, id: str | None, message: str) -> Finding:
    return annotations.finding(number, id, Fault('leak', message, 'take it out of the training'))

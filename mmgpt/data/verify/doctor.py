"""Looks through data sets and tells all that is wrong with them."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mmgpt.data.image_stores import FolderImages, ImageStore
from mmgpt.data.key_index import KeyIndex
from mmgpt.data.verify.annotations import Annotations
from mmgpt.data.verify.answers import count_words, describe_lengths
from mmgpt.data.verify.entries import Entries
from mmgpt.data.verify.findings import Fault, Finding, Report
from mmgpt.data.verify.identity import (
    Census,
    fingerprint,
    leaks,
    repeated_between,
    repeated_ids,
    repeated_images,
    wrong_contexts,
)
from mmgpt.data.verify.images import JsonEntries, check_images
from mmgpt.data.verify.tables import CellStore, TableEntries
from mmgpt.data.verify.texts import TextCheck

ENTRIES_AT_ONCE = 500  # that a worker is given
IMAGES_AT_ONCE = 64


@dataclass
class Patient:
    """What the doctor looks through.

    Args:
        annotations: the files of all sets; those of an evaluation are in ``evaluated`` too.
        texts: how texts are checked.
        evaluated: the files that an evaluation reads.
        findings: what was found while the files were opened.
    """

    annotations: list[Annotations]
    texts: TextCheck
    evaluated: list[Annotations] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    @property
    def stores(self) -> list[ImageStore]:
        """The image stores, each once."""
        stores = {id(a.images): a.images for a in self.annotations if a.images is not None}
        return list(stores.values())


class _Examination(NamedTuple):
    """What a worker says of some entries of a file."""

    findings: list[Finding]
    ids: list[str | None]
    prints: list[bytes]
    lengths: list[int]  # of answers
    shown: list[str]
    shown_by: list[int]
    contexts: dict[int, Sequence[str]]


class _Progress:
    """Told how much is to do and how much was done; see :func:`mmgpt.data.verify.examine`."""

    def start(self, what: str, total: int) -> None:
        """A new part of the work begins."""

    def advance(self, count: int) -> None:
        """So much of it was done."""


def examine(patient: Patient, jobs: int = 1, progress: _Progress | None = None) -> Report:
    """Looks through data sets.

    Args:
        patient: the sets, opened by :func:`mmgpt.data.verify.open_patient`.
        jobs: number of processes.
        progress: has ``start(what, total)`` and ``advance(count)``; None = silent.

    Returns:
        all findings, and the lengths of the answers of each set.
    """
    progress = progress or _Progress()
    samples = [a.samples for a in patient.annotations]
    report = Report(samples=sum(n for n, a in zip(samples, patient.annotations) if a not in patient.evaluated))
    report.add(patient.findings)
    for entries in (*(a.entries for a in patient.annotations), *(s.entries for s in _json_stores(patient))):
        report.add(_slips(entries))
    censuses = [Census(a, a in patient.evaluated) for a in patient.annotations]
    with _Workers(patient, jobs) as workers:
        _examine_entries(censuses, workers, report, progress)
        for store in patient.stores:
            report.add(repeated_images(store))
        _examine_images(patient, censuses, workers, report, progress)
    for census in censuses:
        report.add(repeated_ids(census))
    report.add(wrong_contexts(censuses))
    report.add(repeated_between(censuses))
    report.add(leaks(censuses))
    report.add(_empty(patient.annotations, samples, {finding.file for finding in report.findings}))
    report.sort()
    return report


def _examine_entries(censuses: list[Census], workers: _Workers, report: Report, progress: _Progress) -> None:
    tasks = [
        (number, start, min(start + ENTRIES_AT_ONCE, len(census.annotations.entries)))
        for number, census in enumerate(censuses)
        for start in range(0, len(census.annotations.entries), ENTRIES_AT_ONCE)
    ]
    progress.start('samples', sum(end - start for _, start, end in tasks))
    lengths: dict[str, list[int]] = {}
    for (number, start, end), done in zip(tasks, workers.map(_examine_some, tasks)):
        census = censuses[number]
        report.add(done.findings)
        census.ids += done.ids
        census.prints += done.prints
        census.contexts |= done.contexts
        if done.shown:
            census.shown.append(pa.array(done.shown, pa.large_string()))
            census.shown_by.append(np.array(done.shown_by))
        lengths.setdefault(census.annotations.set, []).extend(done.lengths)
        progress.advance(end - start)
    report.answer_lengths = {name: describe_lengths(words) for name, words in lengths.items()}


def _examine_images(
    patient: Patient, censuses: list[Census], workers: _Workers, report: Report, progress: _Progress
) -> None:
    tasks = []
    for number, store in enumerate(patient.stores):
        shown = [names for c in censuses if c.annotations.images is store for names in c.shown]
        keys = pc.unique(pa.chunked_array(shown, pa.large_string())).to_pylist() if shown else []
        keys = _in_the_order_of(store, keys)
        tasks += [(number, keys[i : i + IMAGES_AT_ONCE]) for i in range(0, len(keys), IMAGES_AT_ONCE)]
    progress.start('images', sum(len(keys) for _, keys in tasks))
    faulty: dict[int, dict[str, Fault]] = {}
    for (number, keys), faults in zip(tasks, workers.map(_examine_some_images, tasks)):
        for key, fault in faults:
            faulty.setdefault(number, {})[key] = fault
        progress.advance(len(keys))
    for number, faults in faulty.items():
        store = patient.stores[number]
        shown_by: dict[str, list[tuple[Census, int]]] = {}
        for census in censuses:
            if census.annotations.images is store:
                for key, entry in census.showing(list(faults)):
                    shown_by.setdefault(key, []).append((census, entry))
        report.add(_of_image(store, key, fault, shown_by[key]) for key, fault in faults.items())


def _of_image(store: ImageStore, key: str, fault: Fault, shown_by: Sequence[tuple[Census, int]]) -> Finding:
    places = tuple((census.annotations.file, entry) for census, entry in shown_by)
    samples = ', '.join(dict.fromkeys(repr(census.ids[entry]) for census, entry in shown_by[:5]))
    message = f'{fault.message}; shown by {samples}' + (f' and {len(shown_by) - 5} more' if len(shown_by) > 5 else '')
    if isinstance(store, FolderImages):
        file, line = str(store.path / key), None
        own = ((file, 0),)
    elif isinstance(store, CellStore):
        file, line, own = str(store.path), None, ()
    else:
        file, place = str(store.path), store.place(key)
        line = store.entries.line(place) if isinstance(store, JsonEntries) else None
        own = ((file, place),)
    return Finding(fault.kind, fault.severity, file, line, key, message, fault.fix, own + places)


def _json_stores(patient: Patient) -> list[JsonEntries]:
    return [store for store in patient.stores if isinstance(store, JsonEntries)]


def _slips(entries: Entries | TableEntries) -> Iterator[Finding]:
    """Where a file is no JSON."""
    for slip in entries.slips:
        line, message = entries.line_at(slip.position), f'the file is not valid JSON: {slip.message}'
        yield Finding('wrong_type', 'error', str(entries.path), line, None, message, 'mend the file at this place')


def _empty(annotations: Sequence[Annotations], samples: Sequence[int], told: set[str]) -> Iterator[Finding]:
    """Sets without a sample, where no fault of their files has been told."""
    full = {file.set for file, count in zip(annotations, samples) if count or file.file in told}
    for name, file in {file.set: file.file for file in reversed(annotations) if file.set not in full}.items():
        message = f'the set {name!r} has no samples: nothing is trained on or asked of it'
        yield Finding('wrong_type', 'warning', file, None, None, message, 'name a file that has some, or take it out')


def _in_the_order_of(store: ImageStore, keys: list[str]) -> list[str]:
    """Neighbours in the store are read together; keys that the store lacks have been told already."""
    if isinstance(store, CellStore):
        return [key for key in keys if key in store]  # as they are shown: row by row
    if isinstance(store, FolderImages):
        return sorted(key for key in keys if key in store)
    places = store.index.places(KeyIndex(keys))
    return [keys[i] for i in np.argsort(places, kind='stable') if places[i] >= 0]


def _examine_some(patient: Patient, task: tuple[int, int, int]) -> _Examination:
    file, start, end = task
    annotations = patient.annotations[file]
    entries, store = annotations.entries, annotations.images
    result = _Examination([], [], [], [], [], [], {})
    for number in range(start, end):
        examined = annotations.examine(number)
        faults = list(examined.faults)
        if not annotations.unopened:
            faults += _missing(examined.shown, store)
        is_context = annotations.sample_at(number, examined.id) is None  # it is never cut, but left out
        limit = None if is_context else annotations.max_seq_len
        for sample in examined.samples:
            faults += patient.texts(sample, limit)
            result.lengths.extend(count_words(turn.text) for turn in sample.turns if turn.role == 'assistant')
        result.findings.extend(annotations.finding(number, examined.id, fault) for fault in dict.fromkeys(faults))
        if examined.context:
            result.contexts[number] = examined.context
        result.ids.append(examined.id)
        result.prints.append(fingerprint(entries.raw(number)))
        if store is not None:
            result.shown.extend(examined.shown)
            result.shown_by.extend([number] * len(examined.shown))
    return result


def _missing(keys: Sequence[str], store: ImageStore | None) -> Iterator[Fault]:
    """Images that are named and not there."""
    if store is None:
        for key in keys[:1]:
            message = f'the image {key!r} is named, and the set has no images'
            yield Fault('missing_image', message, 'name the folder or file of the images')
        return
    for key in keys:
        if key not in store:
            fix = 'add the image, or take the sample out'
            yield Fault('missing_image', f'there is no image {key!r} in {store.path}', fix)


def _examine_some_images(patient: Patient, task: tuple[int, list[str]]) -> list[tuple[str, Fault]]:
    number, keys = task
    return list(check_images(patient.stores[number], keys))


_PATIENT: Patient | None = None  # of a worker process


class _Workers:
    """Runs functions of the patient, in processes that got it once."""

    def __init__(self, patient: Patient, jobs: int) -> None:
        self.patient = patient
        self.pool = None
        if jobs > 1:
            # Forked workers share the indexes and need not import anything; elsewhere they are started anew.
            method = 'fork' if 'fork' in multiprocessing.get_all_start_methods() else 'spawn'
            os.environ.setdefault('TOKENIZERS_PARALLELISM', 'false')  # its threads do not survive a fork
            context = multiprocessing.get_context(method)
            self.pool = ProcessPoolExecutor(jobs, context, initializer=_take, initargs=(patient,))

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *exc: Any) -> None:
        if self.pool is not None:
            self.pool.shutdown(cancel_futures=True)

    def map(self, function: Any, tasks: Iterable[Any]) -> Iterator[Any]:
        """The function's results, in the order of the tasks."""
        if self.pool is None:
            return (function(self.patient, task) for task in tasks)
        return self.pool.map(_call, ((function, task) for task in tasks))


def _take(patient: Patient) -> None:
    global _PATIENT
    _PATIENT = patient


def _call(work: tuple[Any, Any]) -> Any:
    function, task = work
    return function(_PATIENT, task)

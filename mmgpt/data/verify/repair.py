"""Writes data sets again without what is faulty in them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mmgpt.data.image_stores import FolderImages, ImageStore, ParquetImages
from mmgpt.data.remote_files import is_remote
from mmgpt.data.table_records import arrow_table
from mmgpt.data.verify.annotations import Annotations
from mmgpt.data.verify.doctor import Patient
from mmgpt.data.verify.entries import Entries
from mmgpt.data.verify.findings import Report
from mmgpt.data.verify.images import JsonEntries
from mmgpt.data.verify.mimicit import MimicItFile, TrainFile
from mmgpt.data.verify.others import SourceSamples
from mmgpt.data.verify.records import RecordsFile
from mmgpt.data.verify.tables import CellStore, TableEntries

Drops = dict[str, set[int]]  # file -> entries that are left out


def check_target(out: str | Path) -> Path:
    """The folder that the repaired files go to.

    Raises:
        FileExistsError: it is there and not empty.
    """
    out = Path(out)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f'{out} is there already: name a folder that is not')
    return out


def repair(patient: Patient, report: Report, out: str | Path) -> list[tuple[Path, int]]:
    """Writes the files of all sets to a folder, without the entries that have errors and what depends on them.

    An entry with an error is left out of its file, whatever the error. An image that is left out takes the entries
    that show it along, and an instruction that is left out takes its entry of the training file along; lists of
    context ids lose the ids that are no longer there. Everything else stays as it is: other entries byte for byte.
    Files of pictures are linked where the file system can, not copied.

    Args:
        patient: the sets.
        report: what was found in them.
        out: a folder that is not there yet, or empty. The files keep their names; where two have the same, they keep
            their folders too. It is written beside its place and renamed when it is whole.

    Returns:
        the files written, each with the number of entries it has lost.

    Raises:
        FileExistsError: ``out`` is there and not empty.
        ValueError: a set is of a format that the doctor does not know, lies elsewhere, or has images that cannot be
            opened.
    """
    out = check_target(out)
    if unknown := [a.file for a in patient.annotations if isinstance(a, SourceSamples)]:
        raise ValueError(f'entries cannot be left out of {", ".join(unknown)}: the doctor does not know its format')
    if streamed := [a.file for a in patient.annotations if is_remote(a.file)]:
        raise ValueError(f'entries cannot be left out of {", ".join(streamed)}: download what lies elsewhere first')
    if unopened := [a.file for a in patient.annotations if a.unopened]:
        raise ValueError(f'nothing is left out of {", ".join(unopened)}: the images cannot be opened; mend them first')
    drops: Drops = {}
    for finding in report.findings:
        if finding.severity == 'error':
            for file, entry in finding.drops:
                drops.setdefault(file, set()).add(entry)
    annotations = list({a.file: a for a in patient.annotations}.values())
    stores = {str(store.path): store for store in map(_files_of, patient.stores) if store is not None}.values()
    names = _names([*(a.entries.path for a in annotations), *(store.path for store in stores)])
    partial = out.with_name(f'.{out.name}.{os.getpid()}.part')
    shutil.rmtree(partial, ignore_errors=True)
    written = []
    try:
        for file in annotations:
            lost = _write_annotations(file, annotations, drops, partial / names[file.entries.path])
            written.append((out / names[file.entries.path], lost))
        for store in stores:
            lost = _write_store(store, drops, partial / names[store.path])
            written.append((out / names[store.path], lost))
        out.parent.mkdir(parents=True, exist_ok=True)
        partial.replace(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return written


def _files_of(store: ImageStore) -> ImageStore | None:
    """The store that has files of its own: of pictures in the cells of a table the one that they point to."""
    return store.cells.others if isinstance(store, CellStore) else store


def _names(paths: Iterable[Path]) -> dict[Path, Path]:
    """Where each file goes: its name, with its folders where names are not enough."""
    paths = list(dict.fromkeys(paths))
    if len({path.name for path in paths}) == len(paths):
        return {path: Path(path.name) for path in paths}
    root = os.path.commonpath([path.absolute().parent for path in paths])
    return {path: path.absolute().relative_to(root) for path in paths}


def _write_annotations(annotations: Annotations, files: Sequence[Annotations], drops: Drops, path: Path) -> int:
    entries = annotations.entries
    gone = drops.get(annotations.file, set())
    contexts, field, removed = {}, None, set()
    if isinstance(annotations, MimicItFile):
        contexts = _contexts(entries, gone, _removed(annotations, drops), 'rel_ins_ids')
    elif isinstance(annotations, TrainFile):
        removed = _removed(annotations.instructions, drops)
        gone = gone | {number for number, key in enumerate(entries.keys) if key in removed}
        contexts = _contexts(entries, gone, removed, None)
    elif isinstance(annotations, RecordsFile) and annotations.source.context_field is not None:
        field = annotations.source.context_field
        removed = _lost([file for file in files if file.set == annotations.set], drops)
        if not isinstance(entries, TableEntries):
            contexts = _contexts(entries, gone, removed, field)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(entries, TableEntries):
        _write_table(entries, gone, field, removed, path)
    elif not gone and not contexts and not entries.slips:
        shutil.copy2(entries.path, path)
    else:
        _write_entries(entries, gone, contexts, path)
    return len(gone)


def _removed(instructions: MimicItFile, drops: Drops) -> set[str]:
    """The ids that the instructions lose; one of which another entry stays is not lost."""
    gone, keys = drops.get(instructions.file, set()), instructions.entries.keys
    return {keys[number] for number in gone} - {key for number, key in enumerate(keys) if number not in gone}


def _lost(files: Sequence[Annotations], drops: Drops) -> set[str]:
    """As :func:`_removed`, of files of records, whose ids stand in their entries."""
    gone: set[str | None] = set()
    kept: set[str | None] = set()
    for file in files if any(file.file in drops for file in files) else ():
        dropped = drops.get(file.file, ())
        for number in range(len(file.entries)):
            (gone if number in dropped else kept).add(file.examine(number).id)
    return gone - kept


def _contexts(entries: Entries, gone: set[int], removed: set[str], name: str | None) -> dict[int, bytes]:
    """The entries whose list of context ids loses some, as they are to be written."""
    changed = {}
    for number in range(len(entries) if removed else 0):
        if number in gone:
            continue
        value = entries.value(number)
        context = value if name is None else value.get(name)
        kept = [id for id in context or () if id not in removed]
        if context and kept != context:
            value = kept if name is None else {**value, name: kept}
            key = '' if entries.keys is None else f'{_json(entries.keys[number])}: '
            changed[number] = f'{key}{_json(value)}'.encode()
    return changed


def _write_entries(entries: Entries, gone: set[int], changed: dict[int, bytes], path: Path) -> None:
    separator = b'\n' if entries.layout == 'lines' else b',\n'
    with path.open('wb') as file:
        file.write(entries.head)
        first = True
        for number in range(len(entries)):
            if number not in gone:
                file.write((b'' if first else separator) + changed.get(number, entries.raw(number)))
                first = False
        file.write(entries.tail)


def _write_store(store: ImageStore, drops: Drops, path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(store, FolderImages):
        lost = 0
        for key in store.index:
            if drops.get(str(store.path / key)):
                lost += 1
            else:
                _link(store.path / key, path / key)
        path.mkdir(exist_ok=True)
        return lost
    gone = drops.get(str(store.path), set())
    if isinstance(store, JsonEntries):
        if gone or store.entries.slips:
            _write_entries(store.entries, gone, {}, path)
        else:
            _link(store.path, path)
    elif isinstance(store, ParquetImages):
        start = 0
        for file in store.files:
            target = path / file.name if store.path.is_dir() else path
            start += _write_parquet(file, {place - start for place in gone}, target)
    else:  # of another kind: it keeps images that nothing shows any more
        gone = set()
        if store.path.is_dir():
            shutil.copytree(store.path, path, copy_function=_link, dirs_exist_ok=True)
        else:
            _link(store.path, path)
    return len(gone)


def _write_table(entries: TableEntries, gone: set[int], field: str | None, removed: set[str], path: Path) -> None:
    """Writes a table without some rows, and without the ids of them in a column: Parquet as Parquet, Arrow as Arrow.

    What lies beside is as it was.
    """
    if entries.path.is_dir():
        for file in entries.path.iterdir():
            if file.is_file() and file not in entries.table.files:
                _link(file, path / file.name)
    start = 0
    for file in entries.table.files:
        target = path / file.name if entries.path.is_dir() else path
        write = _write_arrow if file.suffix == '.arrow' else _write_parquet
        start += write(file, {number - start for number in gone}, target, field, removed)


def _write_arrow(file: Path, gone: set[int], path: Path, field: str | None, removed: set[str]) -> int:
    """Writes an Arrow file as :func:`_rest` leaves it; returns how many rows it had."""
    table = arrow_table(file)
    kept = _rest(table, gone, field, removed)
    path.parent.mkdir(parents=True, exist_ok=True)
    with pa.OSFile(str(path), 'wb') as target, pa.ipc.new_stream(target, table.schema) as writer:
        writer.write_table(kept)
    return table.num_rows


def _write_parquet(
    file: Path, gone: set[int], path: Path, field: str | None = None, removed: Collection[str] = ()
) -> int:
    """Writes a file as :func:`_rest` leaves it, in its own row groups; returns how many rows it had."""
    parquet = pq.ParquetFile(file, memory_map=True)
    rows = parquet.metadata.num_rows
    if not removed and not any(0 <= row < rows for row in gone):
        _link(file, path)
        return rows
    path.parent.mkdir(parents=True, exist_ok=True)
    with pq.ParquetWriter(path, parquet.schema_arrow, compression='none', use_dictionary=False) as writer:
        row = 0
        for group in range(parquet.num_row_groups):
            table = parquet.read_row_group(group, use_threads=False)
            kept = _rest(table, {number - row for number in gone}, field, removed)
            row += table.num_rows
            if kept.num_rows:
                writer.write_table(kept)
    return rows


def _rest(table: pa.Table, gone: set[int], field: str | None, removed: Collection[str]) -> pa.Table:
    """A table without the rows of ``gone``, and the lists of its column ``field`` without the ids of ``removed``."""
    kept = table.filter(pa.array([row not in gone for row in range(table.num_rows)], pa.bool_()))
    if not removed or field not in kept.column_names:
        return kept
    place = kept.column_names.index(field)
    column = kept.schema.field(place)
    lists = [ids and [id for id in ids if id not in removed] for ids in kept.column(place).to_pylist()]
    return kept.set_column(place, column, pa.array(lists, column.type))


def _link(file: str | Path, path: str | Path) -> None:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(file, path)
    except OSError:  # another file system, or one without links
        shutil.copy2(file, path)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

"""Any source as Parquet files that Hugging Face ``datasets`` loads, pictures included."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from PIL import Image

from mmgpt.data.cache import digest
from mmgpt.data.converters.pictures import Report
from mmgpt.data.image_stores import ImageStore
from mmgpt.data.picture_bytes import encoded
from mmgpt.data.sources import Broken, Source, Unusable
from mmgpt.data.whole_file import whole_file
from mmgpt.structures import Kind, Medium, Sample, Turn

SHARD_BYTES = 500_000_000
PROBED = 8  # rows of a source, about
ROWS_PER_GROUP = 16  # rows are read by their groups: small ones make random access fast

_PART = pa.struct([('type', pa.string()), ('text', pa.string()), ('count', pa.int64())])
_MESSAGE = pa.struct([('role', pa.string()), ('content', pa.list_(_PART))])
_IMAGE = pa.struct([('bytes', pa.binary()), ('path', pa.string())])
_TEXT, _NUMBER = {'dtype': 'string', '_type': 'Value'}, {'dtype': 'int64', '_type': 'Value'}
_FEATURES = {  # as datasets describes the columns: without it, pictures would be mere bytes
    'id': _TEXT,
    'source': _TEXT,
    'language': _TEXT,
    'messages': [{'role': _TEXT, 'content': [{'type': _TEXT, 'text': _TEXT, 'count': _NUMBER}]}],
    'images': [{'_type': 'Image'}],
    'context_ids': [_TEXT],
}
SCHEMA = pa.schema(
    [
        ('id', pa.string()),
        ('source', pa.string()),
        ('language', pa.string()),
        ('messages', pa.list_(_MESSAGE)),
        ('images', pa.list_(_IMAGE)),
        ('context_ids', pa.list_(pa.string())),
    ],
    metadata={'huggingface': json.dumps({'info': {'features': _FEATURES}})},
)


def write_dataset(
    sources: Sequence[Source],
    out: str | Path,
    split: str = 'train',
    shard_bytes: int = SHARD_BYTES,
    languages: Sequence[str] = (),
) -> Report:
    """Writes the samples of sources as a data set of messages and images.

    ``datasets.load_dataset(out)`` loads it, and the source ``Messages`` reads ``out/data``: text, order of media, kind,
    language and context stay. Where a record leaves a choice, the one of ``source[index]`` is written. The folder is
    written beside its place and renamed; a run that was interrupted goes on after its last whole file, if it is of the
    same sources.

    Args:
        sources: one after the other.
        out: the folder to write; must not be there.
        split: the name of the split.
        shard_bytes: of the pictures in a file, about.
        languages: of each source, the tag of its samples that have none themselves.

    Returns:
        How many samples and pictures were written, the samples that could not be read, and how many examples are named
        as context that are no samples themselves (as with ``XX_train.json``; those are not written), or whose id
        samples of several sources have (as translations do; of these the last is read back).

    Raises:
        FileExistsError: ``out`` is there.
        ValueError: no sample could be read, an earlier run began with other sources, or ``datasets`` takes no split of
            that name.
    """
    out = Path(out)
    if out.exists():
        raise FileExistsError(f'{out} is there already: delete it, or name another --out')
    if not re.fullmatch(r'\w+(\.\w+)*', split):
        raise ValueError(
            f'the name of a split has letters, digits and underscores, in words with dots between; got {split!r}'
        )
    folder = out.with_name(f'.{out.name}.part')
    (folder / 'data').mkdir(parents=True, exist_ok=True)
    tags = languages or [''] * len(sources)
    _same_run(folder, _described(sources, tags))
    report, done, shards, samples = Report(), 0, 0, 0
    while (ledger := folder / f'{shards:05d}.json').exists():
        before = json.loads(ledger.read_text())
        done, shards, samples = before['next'], shards + 1, samples + before['samples']
        report.pictures += before['pictures']
        report.faults |= before['faults']
    report.resumed = samples
    rows = _rows(list(zip(sources, tags, strict=True)), done, report)
    for first in rows:
        written, pictures, done = _write_shard(folder / 'data' / f'{shards:05d}.parquet', first, rows, shard_bytes)
        samples, report.pictures = samples + written, report.pictures + pictures
        entry = {'next': done, 'samples': written, 'pictures': pictures, 'faults': report.faults}
        (folder / f'{shards:05d}.json').write_text(json.dumps(entry))
        shards += 1
    if not shards:
        shutil.rmtree(folder)
        raise ValueError(f'{out}: there is no sample to write\n{report}')
    absent, shared = _unclear(folder / 'data')
    if absent:
        report.faults['context examples'] = (
            f'{len(absent)} that samples name, such as {min(absent)!r}, are not among the samples and were not '
            'written: what is read back cannot show them'
        )
    if shared:
        report.faults['ids of several sources'] = (
            f'{len(shared)} that samples name as context, such as {min(shared)!r}, are ids of several sources or '
            'languages: what is read back shows the last one to all of them; write each source into a folder of its own'
        )
    for ledger in folder.glob('*.json'):
        ledger.unlink()
    for number in range(shards):
        name = f'{split}-{number:05d}-of-{shards:05d}.parquet'
        (folder / 'data' / f'{number:05d}.parquet').rename(folder / 'data' / name)
    report.instructions[out.name] = samples
    folder.rename(out)
    return report


def _described(sources: Sequence[Source], tags: Sequence[str]) -> list[list[Any]]:
    """What is written, as plain data: of each source its name, size, language, files with their sizes, and rows."""
    return [
        [
            source.name, len(source), tag,
            [[str(file), file.stat().st_size] for file in source.annotation_files if file.is_file()],
            f'rows {digest(list(_probed(source)))}',
        ]
        for source, tag in zip(sources, tags, strict=True)
    ]  # fmt: skip


def _probed(source: Source) -> Iterator[str]:
    """Some rows, which tell whether a source is read as it was: its options are known to it alone."""
    for index in range(0, len(source), max(1, len(source) // PROBED)):
        try:
            yield repr(row_of(source[index], source.images))
        except (OSError, ValueError, KeyError) as error:
            yield type(error).__name__


def _same_run(folder: Path, settings: list[list[Any]]) -> None:
    """Refuses to go on with what was begun with other settings, and notes them where nothing was."""
    begun = folder / 'settings.json'
    if begun.exists() and (before := json.loads(begun.read_text())) != settings:
        raise ValueError(f'{folder} was begun with {before}, not {settings}: delete it to begin anew')
    begun.write_text(json.dumps(settings))


def _unclear(folder: Path) -> tuple[set[str], set[str]]:
    """Ids that the samples in a folder name as context: those that none of them has, and those of several sources."""
    sources: dict[str, tuple[str, str]] = {}
    shared: set[str] = set()
    context: set[str] = set()
    for file in folder.glob('*.parquet'):
        table = pq.read_table(file, columns=['id', 'source', 'language', 'context_ids'])
        for id, *source in zip(*(table.column(name).to_pylist() for name in ('id', 'source', 'language'))):
            if sources.setdefault(id, source) != source:
                shared.add(id)
        context.update(pc.list_flatten(table.column('context_ids')).to_pylist())
    return context - sources.keys(), context & shared


Row = tuple[int, dict[str, Any]]  # the number of its sample, and its columns


def _write_shard(path: Path, first: Row, rows: Iterator[Row], shard_bytes: int) -> tuple[int, int, int]:
    """Samples and pictures of the file, and the number of the sample that comes next."""
    samples = pictures = size = 0
    number, row = first
    group: list[dict[str, Any]] = []
    settings = {'compression': 'none', 'use_dictionary': False}
    with whole_file(path) as partial, pq.ParquetWriter(partial, SCHEMA, **settings) as writer:
        while True:
            group.append(row)
            samples, pictures = samples + 1, pictures + len(row['images'])
            size += sum(len(image['bytes']) for image in row['images']) + 500
            following = next(rows, None) if size < shard_bytes else None
            if following is None or len(group) == ROWS_PER_GROUP:
                writer.write_table(pa.Table.from_pylist(group, SCHEMA))
                group = []
            if following is None:
                break
            number, row = following
    return samples, pictures, number + 1


def _rows(sources: Sequence[tuple[Source, str]], done: int, report: Report) -> Iterator[Row]:
    """The samples from a number on; those that cannot be read are reported."""
    number = 0
    for source, language in sources:
        for index in range(len(source)):
            number += 1
            if number > done:
                try:
                    sample = source[index]
                    yield number - 1, row_of(replace(sample, language=sample.language or language), source.images)
                except (OSError, ValueError, KeyError) as error:
                    if isinstance(error, Unusable) and not isinstance(error, Broken):
                        continue  # as the rules of its set want it
                    why = error.args[0] if isinstance(error, KeyError) else error
                    report.faults[f'{source.name}, sample {index}'] = str(why)


def row_of(sample: Sample, images: ImageStore | None) -> dict[str, Any]:
    """A sample as messages and images.

    Raises:
        OSError, ValueError, KeyError: a picture is missing or broken.
    """
    pictures: list[dict[str, Any]] = []
    return {
        'id': sample.id,
        'source': sample.source,
        'language': sample.language,
        'messages': [
            {'role': turn.role, 'content': _content(turn, sample.kind, images, pictures)} for turn in sample.turns
        ],
        'images': pictures,
        'context_ids': list(sample.context_ids),
    }


def _content(turn: Turn, kind: Kind, images: ImageStore | None, pictures: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The parts of a turn; its pictures are put to those of the row, from which a part takes the next ones."""
    parts: list[dict[str, Any]] = []
    for medium in turn.media:
        medium = medium if images is None else images.expand(medium)
        pictures += [_picture(frame, images) for frame in medium.frames]
        parts.append(_part(medium, kind))
    parts.append({'type': 'text', 'text': turn.text})
    if turn.input:
        parts.append({'type': 'input', 'text': turn.input})
    return parts


def _part(medium: Medium, kind: Kind) -> dict[str, Any]:
    if kind == 'video':
        return {'type': 'video', 'count': len(medium.frames)}
    return {'type': 'image'} if len(medium.frames) == 1 else {'type': 'image_set', 'count': len(medium.frames)}


def _picture(frame: Hashable | Image.Image, images: ImageStore | None) -> dict[str, Any]:
    if isinstance(frame, Image.Image):
        return {'bytes': encoded(frame), 'path': None}
    if images is None:
        raise ValueError(f'the picture {frame!r} is the key of an image store, and the source has none')
    return {'bytes': images.read(frame), 'path': frame if isinstance(frame, str) else None}

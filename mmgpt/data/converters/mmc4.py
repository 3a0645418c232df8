"""The documents of Multimodal C4 and their pictures as tars of pages, which the source ``Mmc4`` reads."""

from __future__ import annotations

import base64
import io
import json
import tarfile
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mmgpt.data.converters.pictures import Report
from mmgpt.data.image_stores import ImageStore
from mmgpt.data.whole_file import whole_file


def write_pages(
    documents: Sequence[str | Path], images: ImageStore, out: str | Path, pages_per_tar: int = 30_000
) -> Report:
    """Writes ``{shard}_{number}.tar`` of ``{line}.json`` with each picture that there is in its entry.

    A tar is written beside its place and renamed, and one that is there is not written again.

    Args:
        documents: ``docs_shard_{n}_v2.jsonl``, or the ``.zip`` that it comes in.
        images: the pictures by the names that the documents give them (``image_name``).
        out: the folder of the tars.
        pages_per_tar: how many go into one.

    Returns:
        How many pages and pictures were written. Pictures that could not be fetched are common and only counted.

    Raises:
        OSError: a file is missing.
        ValueError: a line is no JSON object, or two files would be written to the same tars; the message names them.
    """
    out, report = Path(out), Report()
    shards: dict[str, Path] = {}
    for path in map(Path, documents):
        shard = path.name.removesuffix('.zip').removesuffix('.jsonl')
        if shard in shards:
            raise ValueError(f'{shards[shard]} and {path} would both be written to {shard}_000.tar: name one of them')
        shards[shard] = path
    out.mkdir(parents=True, exist_ok=True)
    absent = 0
    for shard, path in shards.items():
        lines = _lines(path)
        for number in range(10**6):
            tar = out / f'{shard}_{number:03d}.tar'
            chunk = [entry for _, entry in zip(range(pages_per_tar), lines)]
            if not chunk:
                break
            if tar.exists():
                report.resumed += 1
                continue
            with whole_file(tar) as partial, tarfile.open(partial, 'w') as file:
                for line, page in chunk:
                    found = _embed(page, images)
                    report.pictures, absent = report.pictures + found, absent + len(page['image_info']) - found
                    data = json.dumps(page, ensure_ascii=False).encode('utf-8', 'surrogatepass')
                    member = tarfile.TarInfo(f'{line:08d}.json')
                    member.size = len(data)
                    file.addfile(member, io.BytesIO(data))
            report.instructions[tar.name] = len(chunk)
    if absent:
        report.faults[str(images.path)] = f'does not have {absent} of {absent + report.pictures} pictures'
    return report


def _embed(page: dict[str, Any], images: ImageStore) -> int:
    """Puts the pictures of a page into it; returns how many there are."""
    found = 0
    for entry in page['image_info']:
        name = entry.get('image_name')
        if isinstance(name, str) and name in images:
            entry['image_base64'] = base64.b64encode(images.read(name)).decode()
            found += 1
    return found


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """The number of each line, and its page."""
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file (docs_shard_*.jsonl or .zip)')
    with zipfile.ZipFile(path) if path.suffix == '.zip' else path.open('rb') as file:
        members = [file.open(name) for name in file.namelist()] if isinstance(file, zipfile.ZipFile) else [file]
        number = 0
        for member in members:
            for line in member:
                number += 1
                try:
                    page = json.loads(line)
                except ValueError as error:
                    raise ValueError(f'{path}, line {number}: is no JSON: {error}') from error
                if not isinstance(page, dict) or not isinstance(page.get('image_info'), list):
                    raise ValueError(f'{path}, line {number}: expected an object with "image_info", got {line[:80]!r}')
                yield number, page

"""From what a user named to what the doctor looks through, in spite of faults."""

from __future__ import annotations

import json
from collections.abc import Mapping
from itertools import chain
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mmgpt.data.builder import ENTRY_KEYS, build_image_store, build_tokenizer, named_sources
from mmgpt.data.image_stores import ImageStore, JsonImages
from mmgpt.data.image_stores.cells import CellImages
from mmgpt.data.opening import NamedData
from mmgpt.data.prompter import Prompter
from mmgpt.data.remote_files import is_remote
from mmgpt.data.sources import MimicIt, Records
from mmgpt.data.table_records import is_table
from mmgpt.data.templates import Template
from mmgpt.data.verify.annotations import Annotations
from mmgpt.data.verify.doctor import Patient
from mmgpt.data.verify.entries import Entries
from mmgpt.data.verify.findings import Finding
from mmgpt.data.verify.images import JsonEntries
from mmgpt.data.verify.mimicit import MimicItFile
from mmgpt.data.verify.others import SourceSamples
from mmgpt.data.verify.records import RecordsFile
from mmgpt.data.verify.tables import CellStore, TableEntries
from mmgpt.data.verify.texts import TextCheck
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.registry import IMAGE_STORES, SOURCES, TEMPLATES

LINES = ('.jsonl', '.ndjson')


def open_patient(data: NamedData) -> Patient:
    """Opens all that ``data`` names. A file's faults become findings; only what is not there at all is an error.

    Raises:
        OSError: a file, folder or tokenizer is not there.
        ValueError, TypeError: a source of a kind that the doctor does not know could not be opened.
    """
    template = TEMPLATES.build(dict(data.template))
    findings: list[Finding] = []
    prompter = _open_prompter(data, template, findings)
    stores: dict[str, ImageStore | None] = {}
    annotations, evaluated = [], []
    for sources, files in ((data.dataset['sources'], annotations), (data.evaluated, evaluated)):
        for source in chain.from_iterable(map(named_sources, sources)):
            for file in _open_source(source, stores, findings):
                named = source.get('images')
                file.unopened = named is not None and stores[_name(named)] is None
                file.language = source.get('language') or ''
                file.max_seq_len = source.get('max_seq_len') or data.dataset.get('max_seq_len')
                files.append(file)
    return Patient(annotations + evaluated, TextCheck(template, prompter), evaluated, findings)


def _open_prompter(data: NamedData, template: Template, findings: list[Finding]) -> Prompter | None:
    tokenizer = build_tokenizer(data.tokenizer, template)
    try:
        return Prompter(template, tokenizer, ImageTransform(**data.image_transform))
    except ValueError as error:
        path = str(data.tokenizer['path'])
        fix = 'take another tokenizer or template, or add the token to the tokenizer as a special one'
        findings.append(Finding('split_token', 'error', path, None, None, str(error), fix))
        return None


def _open_source(
    cfg: Mapping[str, Any], stores: dict[str, ImageStore | None], findings: list[Finding]
) -> list[Annotations]:
    cfg = {key: value for key, value in cfg.items() if key not in ENTRY_KEYS}
    kind = SOURCES.get(cfg.pop('type'))
    images = cfg.pop('images', None)
    if images is not None:
        name = _name(images)
        if name not in stores:
            stores[name] = _open_store(images, findings)
        images = stores[name]
    if issubclass(kind, MimicIt):
        train = cfg.get('train')
        path = Path(cfg['instructions'])
        set = cfg.get('name') or path.stem.removesuffix('_instructions')
        description = max(cfg.get('task_descriptions') or [''], key=len)
        train = None if train is None else Entries(train, keyed=True)
        entries = Entries(path, member='data', keyed=True)
        media = {name: cfg[name] for name in ('media', 'max_frames') if name in cfg}
        file = MimicItFile(set, entries, images, train, description, **media)
        return [file] if file.train is None else [file, file.train]
    if issubclass(kind, Records):
        paths = cfg.pop('annotations')
        paths = [paths] if isinstance(paths, str | Path) else paths
        paths = [path if is_remote(path) else Path(path) for path in paths]
        cfg |= {'images': images}
        tables = is_remote(paths[0]) or is_table(paths[0])
        return _open_tables(kind, paths, cfg, findings) if tables else _open_records(kind, paths, cfg)
    source = kind(**cfg, **({} if images is None else {'images': images}))
    named = (cfg[name] for name in ('shards', 'annotations', 'path') if isinstance(cfg.get(name), str))
    return [SourceSamples(source, next(named, source.name))]


def _name(images: str | Path | Mapping[str, Any]) -> str:
    return json.dumps(images, sort_keys=True, default=str)


def _open_records(kind: type[Records], paths: list[Path], cfg: dict[str, Any]) -> list[Annotations]:
    source, files, first = _reader(kind, paths, cfg), [], 0
    for path in paths:
        entries = Entries(path, kind.member, lines=_has_lines(path, kind))
        files.append(RecordsFile(source, entries, cfg['images'], first))
        first += len(entries)
    return files


def _open_tables(
    kind: type[Records], paths: list[Path | str], cfg: dict[str, Any], findings: list[Finding]
) -> list[Annotations]:
    try:
        source = kind(annotations=paths, **{**cfg, 'sample': None})
    except ValueError as error:
        fix = 'write the file anew; nothing in it was looked at'
        findings.append(Finding('wrong_type', 'error', str(paths[0]), None, None, str(error), fix))
        return []
    images = CellStore(source.images) if isinstance(source.images, CellImages) else cfg['images']
    files, first = [], 0
    for path in paths:
        files.append(RecordsFile(source, TableEntries(path), images, first))
        first += len(files[-1].entries)
    return files


def _has_lines(path: Path, kind: type[Records]) -> bool:
    """As :func:`mmgpt.data.json_list.open_records` tells it."""
    if path.suffix in LINES or not kind.lines or not path.is_file():
        return path.suffix in LINES
    with path.open('rb') as file:
        return file.read(256).removeprefix(b'\xef\xbb\xbf').lstrip()[:1] == b'{'


def _reader(kind: type[Records], paths: list[Path], cfg: dict[str, Any]) -> Records:
    """A source that reads records, opened on empty files of the same names: the real ones may have faults."""
    with TemporaryDirectory() as folder:
        empty = []
        for path in paths:
            text = '' if path.suffix in LINES else '[]'
            empty.append(Path(folder) / path.name)
            empty[-1].write_text(text, encoding='utf-8')
        source = kind(annotations=empty, **{**cfg, 'sample': None})
        source.files = []
    return source


def _open_store(images: str | Path | Mapping[str, Any], findings: list[Finding]) -> ImageStore | None:
    options = dict(images) if isinstance(images, Mapping) else {'path': images}
    is_json = Path(options['path']).suffix == '.json'
    if 'type' in options:
        is_json = IMAGE_STORES.get(options['type']) is JsonImages
    try:
        if is_json:
            return JsonEntries(**{name: value for name, value in options.items() if name != 'type'})
        return build_image_store(images)
    except ValueError as error:
        fix = 'write the image store anew; its images were not looked at'
        findings.append(Finding('wrong_type', 'error', str(options['path']), None, None, str(error), fix))
        return None

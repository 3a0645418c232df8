"""Misspelt paths and hub ids in a config; whether what a config names is there is asked where a run begins."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from mmgpt.data.remote_files import is_remote
from mmgpt.engine.config_source import Key, did_you_mean
from mmgpt.engine.inputs import KNOWN_ON_THE_HUB, at, data_builder, runs_beside, source_files


def path_faults(config: Mapping[str, Any], file: Path) -> Iterator[tuple[Key, str]]:
    """The key and message of each name of a file, a folder or weights that is nearly that of one that there is.

    Args:
        config: its top-level keys.
        file: of the config; the runs of the configs beside it may be named.
    """
    builder = data_builder(config)
    if builder is not None:
        usual = inspect.signature(type(builder)).parameters.get('folder')
        yield from _slips(('data_builder', 'folder'), str(builder.folder), [str(usual.default)] if usual else [])
    files = source_files(config)
    files['tokenizer', 'path'] = at(config, 'tokenizer', 'path')
    files['load_from',] = config.get('load_from')
    runs = runs_beside(file)
    for key, path in files.items():
        if not isinstance(path, str) or is_remote(path) or Path(path).exists() or path in runs:
            continue
        below = builder is not None and Path(path).is_relative_to(builder.folder)
        if below and hasattr(builder, 'files'):
            known = [str(made) for made in builder.files()]
            if path not in known:
                yield key, f'{key[-1]}: there is no {path!r}{did_you_mean(path, known, or_list=False)}'
        elif not below or builder.is_built():
            close = _nearest(Path(path), taken=set(files.values()))
            if close is None and builder is not None and not below and path not in KNOWN_ON_THE_HUB:
                made = [*runs, str(builder.folder / Path(path).name)]
                close = next(iter(difflib.get_close_matches(path, made)), None)
            if close is not None:
                yield key, f'{key[-1]}: there is no {path!r}; did you mean {close!r}?'
    for key in (
        ('tokenizer', 'path'),
        ('model', 'vision_encoder', 'weights'),
        ('model', 'language_decoder', 'weights'),
    ):
        yield from _slips(key, at(config, *key), KNOWN_ON_THE_HUB)


def _slips(key: Key, name: Any, known: Sequence[str]) -> Iterator[tuple[Key, str]]:
    """A fault where a name that is not there differs from a known one by a single letter."""
    if isinstance(name, str) and not Path(name).exists():
        for other in known:
            if _one_letter_off(name, other):
                yield key, f'{key[-1]}: there is no {name!r}; did you mean {other!r}?'


def _nearest(path: Path, taken: Set[str | None]) -> str | None:
    """The path with its missing part named as what stands there, if that is nearly the same.

    What is ``taken`` by another key is meant only where a single letter differs: sets of data have similar names.
    """
    known, wrong = path.parent, path
    while not known.is_dir():
        known, wrong = known.parent, known
    there = sorted(p.name for p in known.iterdir())
    free = [name for name in there if str(known / name) not in taken]
    close = [name for name in there if _one_letter_off(wrong.name, name)]
    close += difflib.get_close_matches(wrong.name, free, n=1, cutoff=0.8)
    return str(known / close[0] / path.relative_to(wrong)) if close else None


def _one_letter_off(name: str, other: str) -> bool:
    """Whether two names are the same but for one letter."""
    pairs = [a + b for a, b in zip(name, other) if a != b]
    return len(name) == len(other) and len(pairs) == 1 and pairs[0].isalpha()

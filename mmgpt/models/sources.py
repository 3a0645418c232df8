"""Where the weights of a part came from: towers that a checkpoint names instead of holding them again.

A tower that is not trained is the same in every checkpoint as on the hub or in the folder that it was loaded from. A
checkpoint then has a ``references.json``: part -> path or hub id, revision, the tensors that are taken from there with
the dtype that they were trained beside, and size, time and SHA-256 of each weight file, by which a changed file is
recognised.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoModelForCausalLM
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME

from mmgpt.models.config import FlamingoConfig
from mmgpt.models.trainable import plain
from mmgpt.registry import VISION_ENCODERS

FILE = 'references.json'
WHOLE = 'model'  # the part that stands for all of them
WEIGHTS = ('*.safetensors', '*.bin', '*.pt')  # of these kinds, the first that a folder holds
_HUB_PREFIX = 'hf-hub:'  # of open_clip


class SourceError(OSError):
    """Weights that a checkpoint refers to and that are not there, or not the same any more."""


@dataclass(frozen=True)
class Source:
    """Where the weights of a part were loaded from.

    Args:
        path: a folder, a file, or a hub id.
        revision: of the hub id.
    """

    path: str
    revision: str | None = None

    def locate(self) -> Path:
        """The folder or file on this machine; what the hub has and this machine lacks is downloaded.

        Raises:
            SourceError: it is not there.
        """
        path = Path(self.path).expanduser()
        if path.exists():
            return path.absolute()
        name = self.path.removeprefix(_HUB_PREFIX)
        if not re.fullmatch(r'[\w.-]+(/[\w.-]+)?', name) or path.is_absolute():
            raise SourceError(f'there is no {path}')
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(name, revision=self.revision, local_files_only=True))
        except OSError:
            pass
        try:
            return Path(snapshot_download(name, revision=self.revision, allow_patterns=[*WEIGHTS, '*.json']))
        except OSError as error:
            at = f' --revision {self.revision}' if self.revision else ''
            raise SourceError(
                f'{name} is no folder, not in the cache of the hub, and cannot be downloaded ({error}); '
                f'while there is network: hf download {name}{at}'
            ) from error

    def state(self, part: str, config: FlamingoConfig) -> dict[str, Tensor]:
        """Its tensors by their names in the model, in their own dtype; memory-mapped where that is possible.

        Args:
            part: ``'vision_encoder'``, ``'language_model'``, or ``'model'``: all of it.
            config: of the model.
        """
        place = str(self.locate())
        if part == WHOLE:
            return stored_state(place) | referenced_state(place, config)
        with torch.random.fork_rng(devices=[]):  # what is built here must not move a run's random numbers
            if part == 'language_model':
                module = AutoModelForCausalLM.from_pretrained(place, dtype='auto')
            else:
                module = VISION_ENCODERS.build(config.vision_encoder)
                module.load_weights(place, None)
        return {f'{part}.{name}': tensor for name, tensor in module.state_dict().items()}


def unchanged_names(model: Any, part: str, names: Iterable[str]) -> list[str]:
    """Those of ``names`` whose tensors in ``model`` equal, bit for bit, what their source gives in their dtype."""
    state = model.sources[part].state(part, model.config)
    own = model.state_dict()

    def is_unchanged(name: str) -> bool:
        there, here = state.get(plain(name)), own[name].cpu()
        return there is not None and there.shape == here.shape and torch.equal(there.to(here.dtype), here)

    return [name for name in names if is_unchanged(name)]


def write_references(folder: Path, model: Any, names: Mapping[str, list[str]]) -> None:
    """Writes ``references.json``.

    Args:
        folder: of the checkpoint.
        model: has ``sources``.
        names: part -> the tensors that are taken from its source.
    """
    entries, state = {}, model.state_dict()
    for part, taken in names.items():
        source = model.sources[part]
        place = source.locate()
        entries[part] = {
            'path': str(place) if Path(source.path).expanduser().exists() else source.path,
            'revision': place.name if place.parent.name == 'snapshots' else source.revision,
            'files': {path.name: _mark(path) for path in _weight_files(place)},
            'tensors': {name: str(state[name].dtype).removeprefix('torch.') for name in taken},
        }
    (folder / FILE).write_text(json.dumps(entries, indent=1))


def read_references(folder: str | Path) -> dict[str, dict[str, Any]]:
    """The entries of a folder's ``references.json``; none where it has none."""
    path = Path(folder) / FILE
    return json.loads(path.read_text()) if path.is_file() else {}


def find_sources(folder: str | Path, sources: Mapping[str, Source] | None = None) -> dict[str, Source]:
    """Where the towers are that a checkpoint refers to; each weight file is the very one that it was written with.

    Args:
        folder: of the checkpoint.
        sources: part -> where to look first, for a source that has moved.

    Raises:
        SourceError: a source is not there, or its files have changed.
    """
    return {
        part: _find(part, folder, Source(entry['path'], entry['revision']), entry['files'], (sources or {}).get(part))
        for part, entry in read_references(folder).items()
    }


def referenced_state(
    folder: str | Path, config: FlamingoConfig, sources: Mapping[str, Source] | None = None
) -> dict[str, Tensor]:
    """The tensors that a checkpoint refers to, by their names in the model.

    Args:
        folder: of the checkpoint.
        config: its configuration.
        sources: as ``find_sources`` gave them. Default: they are looked for.

    Raises:
        SourceError: as ``find_sources``; or a source lacks a tensor.
    """
    state, sources = {}, find_sources(folder) if sources is None else sources
    for part, entry in read_references(folder).items():
        found = sources[part].state(part, config)
        if missing := [name for name in entry['tensors'] if plain(name) not in found]:
            raise SourceError(
                f'{sources[part].path} lacks tensors that {folder} refers to: {", ".join(missing[:3])}, …'
            )
        state |= {name: _rounded(found[plain(name)], dtype) for name, dtype in entry['tensors'].items()}
    return state


def stored_state(folder: str | Path) -> dict[str, Tensor]:
    """The tensors that a folder holds itself, memory-mapped; none where it has no weights."""
    folder = Path(folder)
    names = [SAFE_WEIGHTS_NAME] if (folder / SAFE_WEIGHTS_NAME).is_file() else []  # first, as transformers does
    if not names and (folder / SAFE_WEIGHTS_INDEX_NAME).is_file():
        names = sorted(set(json.loads((folder / SAFE_WEIGHTS_INDEX_NAME).read_text())['weight_map'].values()))
    return {name: tensor for file in names for name, tensor in load_file(folder / file).items()}


def _rounded(tensor: Tensor, dtype: str) -> Tensor:
    """The tensor in a dtype that may lose digits; one that loses none is left to whoever needs it, and to the file."""
    wanted = getattr(torch, dtype)
    return tensor if torch.promote_types(tensor.dtype, wanted) == wanted else tensor.to(wanted)


def _find(
    part: str, folder: Any, recorded: Source, files: Mapping[str, Mapping[str, Any]], other: Source | None
) -> Source:
    """The first place that holds the very files; ``other`` is where else they may be."""
    faults = []
    for source in (other, recorded) if other else (recorded,):
        try:
            place = source.locate()
        except SourceError as error:
            faults.append(str(error))
            continue
        if not (changed := _changes(place, files)):
            return source
        faults += changed
    shown = '\n  '.join(dict.fromkeys(faults))
    raise SourceError(
        f'{folder} does not hold the frozen weights of {part} but refers to {recorded.path}, and:\n  {shown}\n'
        f'Put the same files back, or say where they are: from_pretrained(…, sources={{{part!r}: folder}}); for a run '
        'that is resumed, in its config. train.py --standalone writes checkpoints that refer to nothing.'
    )


def _changes(place: Path, files: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """How the weight files at a place differ from what is recorded of them."""
    here = {path.name: path for path in _weight_files(place)}
    faults = []
    for name, mark in files.items():
        path = here.get(name)
        if path is None:
            faults.append(f'{place if place.is_dir() else place.parent} has no {name}')
        elif path.stat().st_size != mark['bytes']:
            faults.append(f'{path} has {path.stat().st_size} bytes, expected {mark["bytes"]}')
        elif path.stat().st_mtime_ns != mark['mtime_ns'] and _sha256(path) != mark['sha256']:
            faults.append(f'{path} has changed: its SHA-256 is not the recorded one')
    return faults


def _weight_files(place: Path) -> list[Path]:
    if place.is_file():
        return [place]
    found = (sorted(place.glob(pattern)) for pattern in WEIGHTS)
    return next((files for files in found if files), [])


def _mark(path: Path) -> dict[str, Any]:
    status = path.stat()
    return {'bytes': status.st_size, 'mtime_ns': status.st_mtime_ns, 'sha256': _sha256(path)}


def _sha256(path: Path) -> str:
    """Of the content; the hub's cache names its files by it."""
    real = path.resolve()
    if real.parent.name == 'blobs' and re.fullmatch(r'[0-9a-f]{64}', real.name):
        return real.name
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'sha256').hexdigest()

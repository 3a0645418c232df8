"""What a run reads and cannot make: weights, tokenizer and data, looked for before anything is built."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mmgpt.data.remote_files import is_remote
from mmgpt.data.shards import find_shards
from mmgpt.engine.config_source import Key
from mmgpt.registry import BUILDERS

DEMO = 'configs/otter_demo.py'
HUB_ID = re.compile(r'(hf-hub:)?[\w.-]+(/[\w.-]+)?')
FILES_OF_A_SOURCE = ('instructions', 'train', 'images', 'annotations', 'path', 'shards')
# what the shipped configs name on the hub: a name that differs by one letter is taken for a slip
KNOWN_ON_THE_HUB = (
    'openai/clip-vit-large-patch14',
    'huggyllama/llama-7b',
    'mosaicml/mpt-7b',
    'google/siglip2-so400m-patch16-384',
    'Qwen/Qwen3-4B',
)


@dataclass(frozen=True)
class Missing:
    """One thing that is not on this machine."""

    key: Key  # of the config that names it
    name: str
    looked: str  # where it was looked for
    how_to_get: str


class MissingInputs(OSError):
    """All that a config needs and this machine does not have, in one message."""

    def __init__(self, config: str, missing: list[Missing]):
        self.missing = missing
        parts: dict[tuple[str, str], list[Missing]] = {}
        for one in missing:
            parts.setdefault((one.looked, one.how_to_get), []).append(one)
        lines = [f'{config} needs what is not on this machine:']
        for (looked, how_to_get), alike in parts.items():
            lines += [f'  {one.name}  ({".".join(map(str, one.key))})' for one in alike]
            lines += [f'    looked in: {looked}', f'    to get it: {how_to_get}']
        lines.append(f'To rehearse this run in small without any of it: python tools/train.py {config} --dry-run')
        lines.append(f'To train a small model now, with nothing to fetch: python tools/train.py {DEMO}')
        super().__init__('\n'.join(lines))


def require_inputs(cfg: Mapping[str, Any], config: str) -> None:
    """Looks for all that a checked config reads.

    Args:
        cfg: the config.
        config: its name, for the message.

    Raises:
        MissingInputs: something is missing; nothing was downloaded and nothing was built.
    """
    if missing := missing_inputs(cfg):
        raise MissingInputs(config, missing)


def missing_inputs(cfg: Mapping[str, Any]) -> list[Missing]:
    """What a checked config reads and this machine does not have.

    Weights and tokenizers are folders, files, or names of the Hugging Face hub that were downloaded before: a run never
    downloads, so that it cannot stop in its middle or fetch once for each of its processes.
    """
    builder = data_builder(cfg)
    made = builder is not None and not builder.is_built()
    missing = []
    for key, name, kind, revision in _weights(cfg):
        if not (made and Path(name).is_relative_to(builder.folder)) and not _is_here(name, kind, revision):
            missing.append(_missing_weights(key, name, revision, runs_beside(getattr(cfg, 'filename', None) or '')))
    for key, path in source_files(cfg).items():
        if not is_remote(path) and not _is_there(path) and not (made and Path(path).is_relative_to(builder.folder)):
            missing.append(Missing(key, path, str(Path.cwd()), _how_to_get(path, builder)))
    return list({one.name: one for one in reversed(missing)}.values())[::-1]


def _is_there(path: str) -> bool:
    if Path(path).exists():
        return True
    try:
        return '.tar' in path and bool(find_shards(path))  # it may be a pattern
    except FileNotFoundError:
        return False


def source_files(cfg: Mapping[str, Any]) -> dict[Key, str]:
    """The paths that the sources of a config name, by their keys."""
    found: dict[Key, str] = {}
    for key, source in _sources(cfg):
        for name in FILES_OF_A_SOURCE:
            value = source.get(name)
            if isinstance(value, str):
                found[*key, name] = value
            elif isinstance(value, list | tuple):  # a list of files
                found |= {(*key, name, place): path for place, path in enumerate(value) if isinstance(path, str)}
    return found


def _sources(cfg: Mapping[str, Any]) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    """The sources that are trained on or validated with, with their keys."""
    for loader in ('train_dataloader', 'val_dataloader'):
        for number, source in enumerate(at(cfg.get(loader), 'dataset', 'sources') or ()):
            if isinstance(source, Mapping):
                yield (loader, 'dataset', 'sources', number), source


def at(value: Any, *keys: str) -> Any:
    """What stands below a mapping, None where nothing does."""
    for key in keys:
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


def runs_beside(config: str | Path) -> dict[str, str]:
    """Where a config and those beside it leave their models, and the path of each."""
    configs = sorted(Path(config).parent.glob('*.py'))
    return {f'work_dirs/{other.stem}/hf': other.as_posix() for other in configs}


def data_builder(cfg: Mapping[str, Any]) -> Any:
    """The data builder of a config, None where it has none or a wrong one, which is a fault of its own."""
    builder = cfg.get('data_builder')
    if not isinstance(builder, Mapping) or builder.get('type') not in BUILDERS.names():
        return None
    try:
        return BUILDERS.build(dict(builder))
    except Exception:
        return None


def _how_to_get(path: str, builder: Any) -> str:
    if hasattr(builder, 'how_to_get') and Path(path).is_relative_to(builder.folder):
        return builder.how_to_get(path)
    return 'write it, or correct its path in the config'


def _weights(cfg: Mapping[str, Any]) -> Iterator[tuple[Key, str, str, str | None]]:
    """The key, name, kind and revision of what is read with the model."""
    for part in ('vision_encoder', 'language_decoder'):
        member = (cfg.get('model') or {}).get(part) or {}
        if member.get('weights'):
            yield ('model', part, 'weights'), member['weights'], 'weights', member.get('revision')
    tokenizer = cfg.get('tokenizer') or {}
    if tokenizer.get('path'):
        yield ('tokenizer', 'path'), tokenizer['path'], 'tokenizer', tokenizer.get('revision')
    if cfg.get('load_from'):
        yield ('load_from',), cfg['load_from'], 'folder', None


def _is_here(name: str, kind: str, revision: str | None) -> bool:
    if Path(name).exists():
        return True
    if kind == 'folder' or not HUB_ID.fullmatch(name):
        return False
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        folder = Path(snapshot_download(name.removeprefix('hf-hub:'), revision=revision, local_files_only=True))
    except (LocalEntryNotFoundError, HFValidationError, OSError):
        return False
    patterns = ('*.safetensors', '*.bin') if kind == 'weights' else ('tokenizer*', 'vocab*', '*.model')
    return any(next(folder.glob(pattern), None) for pattern in patterns)


def _missing_weights(key: Key, name: str, revision: str | None, runs: Mapping[str, str]) -> Missing:
    if name in runs:
        return Missing(key, name, str(Path.cwd()), f'python tools/train.py {runs[name]}')
    if key == ('load_from',):
        return Missing(key, name, str(Path.cwd()), "a model folder in mmgpt's layout, such as another run's hf/")
    if not HUB_ID.fullmatch(name):
        return Missing(key, name, str(Path.cwd()), 'put it there, or correct the path in the config')
    from huggingface_hub.constants import HF_HUB_CACHE

    at = f' --revision {revision}' if revision else ''
    command = f'hf download {name.removeprefix("hf-hub:")}{at}'
    how_to_get = f'{command}; or name a folder that holds it in the config'
    return Missing(key, name, f'{Path.cwd()} and {HF_HUB_CACHE}', how_to_get)

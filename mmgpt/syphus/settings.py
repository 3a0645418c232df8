"""The config of a run, checked as a whole before anything is read or asked."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mmgpt.engine.config import ConfigError, load_config
from mmgpt.engine.config_source import Fault, did_you_mean
from mmgpt.inference.endpoint import Endpoint
from mmgpt.registry import SYPHUS_FILTERS, SYPHUS_TASKS
from mmgpt.syphus.filters import DEFAULT, Filter
from mmgpt.syphus.tasks import Task
from mmgpt.syphus.translation import Translator

KEYS = {
    'input': str,
    'task': dict,
    'endpoint': dict,
    'form': str,
    'max_asks': int,
    'filters': list,
    'translation': dict,
    'cold_start': int,
    'author': str,
    'custom_imports': dict,
    'default_scope': str,
}


@dataclass
class Settings:
    """What a run is told.

    Args:
        path: of the config.
        input: file of the items.
        task: what is asked about them.
        endpoint: arguments of :class:`~mmgpt.inference.endpoint.Endpoint`.
        form: of replies: 'json' (by schema where the endpoint knows schemas) or 'text' (the published lines).
        max_asks: how often an item is asked about whose replies cannot be read.
        filters: in their order.
        translator: None: English only.
        cold_start: items that the page of the cold start begins with.
        author: of the set.
    """

    path: Path
    input: Path
    task: Task
    endpoint: dict[str, Any]
    form: str = 'json'
    max_asks: int = 3
    filters: list[Filter] = field(default_factory=list)
    translator: Translator | None = None
    cold_start: int = 4
    author: str = ''

    def open_endpoint(self, folder: Path) -> Endpoint:
        """The endpoint with the cache of a work dir."""
        return Endpoint(**{'cache': folder / 'cache.sqlite', **self.endpoint})


def read_settings(path: str | Path) -> Settings:
    """The settings of a config file.

    Raises:
        OSError: there is no such file.
        ConfigError: with all its faults.

    Example:
        >>> read_settings('configs/syphus/digits.py').max_asks  # doctest: +SKIP
        3
    """
    cfg = load_config(path, check=False).to_dict()
    faults: list[str] = []
    for key, value in cfg.items():
        kind = KEYS.get(key)
        if kind is None and isinstance(value, dict | str | list | int) and not key.startswith('_'):
            faults.append(f'{key}: there is no such key{did_you_mean(key, KEYS)}')
        elif kind is not None and value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            faults.append(f'{key}: expected {_article(kind)}, got {value!r}')
    for key in ('input', 'task', 'endpoint'):
        if key not in cfg:
            faults.append(f'{key}: is missing')
    if faults:
        raise _error(path, faults)
    settings = Settings(Path(path), Path(cfg['input']), None, cfg['endpoint'])  # type: ignore[arg-type]
    settings.task = _made(faults, 'task', lambda: SYPHUS_TASKS.build(cfg['task']))
    given = [{'type': name} for name in DEFAULT] if cfg.get('filters') is None else cfg['filters']
    for place, one in enumerate(given):
        one = {'type': one} if isinstance(one, str) else one
        settings.filters.append(_made(faults, f'filters[{place}]', lambda one=one: SYPHUS_FILTERS.build(one)))
    if cfg.get('translation'):
        settings.translator = _made(faults, 'translation', lambda: Translator(**cfg['translation']))
    _made(faults, 'endpoint', lambda: _checked_endpoint(cfg['endpoint']))
    for key in ('form', 'max_asks', 'cold_start', 'author'):
        if key in cfg:
            setattr(settings, key, cfg[key])
    if settings.form not in ('json', 'text'):
        faults.append(f"form: must be 'json' or 'text', got {settings.form!r}")
    for key in ('max_asks', 'cold_start'):
        if getattr(settings, key) < 1:
            faults.append(f'{key}: must be at least 1, got {getattr(settings, key)}')
    if faults:
        raise _error(path, faults)
    return settings


def _checked_endpoint(given: Mapping[str, Any]) -> None:
    known = set(inspect.signature(Endpoint.__init__).parameters) - {'self'}
    for key in given:
        if key not in known:
            raise ValueError(f'there is no key {key!r}{did_you_mean(key, known)}')
    if 'model' not in given:
        raise ValueError('model is missing: the name of a model at the endpoint')
    Endpoint(**{**given, 'cache': None}).cache.close()


def _made(faults: list[str], where: str, make: Any) -> Any:
    try:
        return make()
    except (ValueError, TypeError, KeyError, OSError) as error:
        faults.append(f'{where}: {error.args[0] if isinstance(error, KeyError) else error}')
        return None


def _error(path: str | Path, faults: list[str]) -> ConfigError:
    return ConfigError(path, [Fault(str(path), None, fault) for fault in faults])


def _article(kind: type) -> str:
    return {str: 'a text', dict: 'a dict', int: 'an integer', list: 'a list'}[kind]

"""Loading a config: read, overridden, and checked as a whole before anything heavy is built."""

from __future__ import annotations

import ast
import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmgpt.engine.config_source import ConfigSource, Fault, did_you_mean, read_source


class ConfigError(ValueError):
    """A config with faults; the message lists them all, each with file, line and, where there is one, a suggestion."""

    def __init__(self, path: str | Path, faults: Sequence[Fault]):
        self.faults = list(faults)
        count = f'{len(self.faults)} fault{"s" if len(self.faults) > 1 else ""}'
        super().__init__(f'{path} has {count}:\n' + '\n'.join(f'  {fault}' for fault in self.faults))


def load_config(path: str | Path, overrides: Sequence[str] = (), check: bool = True):
    """Load a config file with overrides.

    Args:
        path: a Python config file (MMEngine's text style).
        overrides: ``key.of.value=value`` each, see ``parse_overrides``.
        check: check names, keys and values of the whole config (``mmgpt.engine.config_check``).

    Returns:
        an MMEngine ``Config``. Its modules of ``custom_imports`` are imported.

    Raises:
        FileNotFoundError: when there is no such file.
        ConfigError: with all faults that were found.

    Example:
        >>> cfg = load_config('configs/otter_demo.py', ['train_cfg.max_iters=10'])      # doctest: +SKIP
    """
    source = read_source(path)
    changes = parse_overrides(overrides)
    if source.faults:
        raise ConfigError(path, source.faults)

    from mmengine import Config

    try:
        cfg = Config.fromfile(str(path), import_custom_modules=False)
    except Exception as error:
        raise ConfigError(path, [_fault_of(error, source)]) from error
    faults = _merge(cfg, changes)
    for key in changes:
        _place_override(source, key)
    faults += _import_plugins(cfg, source)
    if check:
        from mmgpt.engine.config_check import check_config

        faults += check_config(cfg, source)
    if faults:
        raise ConfigError(path, faults)
    return cfg


def parse_overrides(items: Sequence[str]) -> dict[str, Any]:
    """``key=value`` strings as a dict; values are JSON or Python literals, ``dict(…)`` among them; anything else is the
    text as it stands.

    Raises:
        ValueError: for an item without '='.

    Example:
        >>> parse_overrides(['a.b=[1, 2]', 'a.c=two words', 'd=null', 'e=1e-3', "f='7'", 'g=dict(lr=1.0)'])
        {'a.b': [1, 2], 'a.c': 'two words', 'd': None, 'e': 0.001, 'f': '7', 'g': {'lr': 1.0}}
    """
    parsed = {}
    for item in items:
        key, equals, text = item.partition('=')
        if not equals or not key:
            raise ValueError(f'--cfg-options takes key=value, got {item!r}')
        parsed[key] = _literal(text)
    return parsed


def _literal(text: str) -> Any:
    for parse in (json.loads, _python_literal):
        try:
            return parse(text)
        except (ValueError, SyntaxError):
            continue
    return {'true': True, 'false': False, 'none': None}.get(text.lower(), text)


def _python_literal(text: str) -> Any:
    return ast.literal_eval(_Dicts().visit(ast.parse(text.strip(), mode='eval')))


class _Dicts(ast.NodeTransformer):
    """Writes ``dict(a=1)``, as configs have it, as ``{'a': 1}``."""

    def visit_Call(self, node: ast.Call) -> ast.expr:
        self.generic_visit(node)
        if getattr(node.func, 'id', '') != 'dict' or node.args or not all(pair.arg for pair in node.keywords):
            return node
        return ast.Dict([ast.Constant(pair.arg) for pair in node.keywords], [pair.value for pair in node.keywords])


def _merge(cfg, changes: dict[str, Any]) -> list[Fault]:
    faults = []
    for key, value in changes.items():
        try:
            cfg.merge_from_dict({key: value}, allow_list_keys=True)
        except (KeyError, TypeError, IndexError) as error:
            faults.append(Fault('--cfg-options', None, f'{key}: {error}'))
    return faults


def _place_override(source: ConfigSource, key: str) -> None:
    """Faults at or below an overridden key are those of the command line."""
    parts = tuple(int(part) if part.isdigit() else part for part in key.split('.'))
    for known in [k for k in source.places if k[: len(parts)] == parts]:
        del source.places[known]
    source.places[parts] = (Path('--cfg-options'), 0)
    source.top_level.setdefault(str(parts[0]), (Path('--cfg-options'), 0))


def _import_plugins(cfg, source: ConfigSource) -> list[Fault]:
    """Import the modules of ``custom_imports``."""
    entry = cfg.get('custom_imports')
    if not isinstance(entry, dict):  # what else it is the check tells
        return []
    modules = entry.get('imports', [])
    modules = [modules] if isinstance(modules, str) else modules
    if not isinstance(modules, (list, tuple)) or not all(isinstance(module, str) for module in modules):
        message = f'custom_imports.imports: expected names of modules, got {modules!r}'
        return [source.fault(('custom_imports', 'imports'), message)]
    faults = []
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:
            there = _modules_near(source.path)
            near = did_you_mean(module, there, or_list=False) if module not in there else ''
            message = f'custom_imports: importing {module!r} failed: {type(error).__name__}: {error}{near}'
            if not near:
                message += '; is its folder on PYTHONPATH?'
            if not entry.get('allow_failed_imports', False):
                faults.append(source.fault(('custom_imports', 'imports'), message))
    return faults


def _modules_near(path: Path) -> set[str]:
    """Modules that a plugin may be: those beside the config, in the current folder and at the top of the path."""
    folders = {path.parent, Path.cwd(), *(Path(p) for p in sys.path[:2])}
    return {p.stem for folder in folders if folder.is_dir() for p in folder.glob('*.py')}


def _fault_of(error: Exception, source: ConfigSource) -> Fault:
    """An error that a config raised while it ran, at its line."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename).suffix == '.py' and 'tmp' in frame.filename]
    line = own[-1].lineno if own else None
    suggestion = ''
    if isinstance(error, AttributeError) and error.name and error.obj is not None:
        suggestion = did_you_mean(error.name, dir(error.obj), or_list=False)
    elif isinstance(error, ModuleNotFoundError) and error.name:
        suggestion = did_you_mean(error.name, sys.stdlib_module_names, or_list=False)
    return Fault(str(source.path), line, f'{type(error).__name__}: {error}{suggestion}')

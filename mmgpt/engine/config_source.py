"""Config files as text: which files a config is made of, where each key stands, and which names it may use.

Everything here reads the files without running them, so that all faults of all files can be told at once.
"""

from __future__ import annotations

import ast
import builtins
import difflib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

Key = tuple[str | int, ...]  # where a value stands: ('model', 'resampler', 'depth')


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a config."""

    file: str
    line: int | None
    message: str

    def __str__(self) -> str:
        return f'{self.file}:{self.line}: {self.message}' if self.line else f'{self.file}: {self.message}'


@dataclass
class ConfigSource:
    """The files of a config, the base files first, as far as they can be read."""

    path: Path
    files: list[Path] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    places: dict[Key, tuple[Path, int]] = field(default_factory=dict)  # the last file that sets a key counts
    top_level: dict[str, tuple[Path, int]] = field(default_factory=dict)  # plain variables among them
    used: set[str] = field(default_factory=set)  # names that some file reads

    def fault(self, key: Key, message: str) -> Fault:
        """A fault at a key: in the file and line that set it, or its nearest parent."""
        for end in range(len(key), 0, -1):
            if key[:end] in self.places:
                file, line = self.places[key[:end]]
                return Fault(str(file), line, message)
        return Fault(str(self.path), None, message)


def did_you_mean(name: str, known: Iterable[str], or_list: bool = True) -> str:
    """'; did you mean …?' with the closest names; without a close one what is known, if that is not too much.

    Args:
        name: what was written.
        known: what could have been meant.
        or_list: list what is known where nothing is close.

    Example:
        >>> did_you_mean('dpeth', ['depth', 'heads'])
        "; did you mean 'depth'?"
    """
    known = sorted({str(k) for k in known})
    near = difflib.get_close_matches
    close = near(name, known, n=3, cutoff=0.6) or near(name, known, n=1, cutoff=0.4)
    if close:
        return f'; did you mean {" or ".join(map(repr, close))}?'
    return f'; known are: {", ".join(known)}' if or_list and 0 < len(known) <= 40 else ''


def read_source(path: str | Path) -> ConfigSource:
    """Read a config and its ``_base_`` files.

    Raises:
        FileNotFoundError: when the config itself does not exist; the message names the closest one.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'there is no config {path}{_closest_file(path)}')
    source = ConfigSource(path)
    _read(path, source)
    return source


def _read(path: Path, source: ConfigSource) -> None:
    try:
        tree = ast.parse(path.read_text(encoding='utf-8'), str(path))
    except SyntaxError as error:
        shown = (error.text or '').strip()
        if 'literal' in error.msg:
            advice = 'did you mean a number such as 3, 0.5 or 1e-3?'
        elif prefix := re.search(r"""\b[a-zA-Z](?=['"])""", shown):
            advice = f"did you mean f'…' or a plain '…' where it says {prefix[0]}'…'?"
        else:
            advice = 'correct the spelling of this line'
        source.faults.append(Fault(str(path), error.lineno, f'{error.msg}: `{shown}`; {advice}'))
        return
    bases: list[Path] = []
    for statement in tree.body:
        for name, value in _assigned(statement):
            if name == '_base_':
                bases += _bases(path, value, source)
    for base in bases:
        _read(base, source)
    source.files.append(path)
    variables = {name: value for statement in tree.body for name, value in _assigned(statement)}
    for statement in tree.body:
        for name, value in _assigned(statement):
            source.top_level[name] = (path, value.lineno)
            _index((name,), value, path, source.places, variables)
    source.used |= _read_names(tree)
    source.faults += [
        Fault(str(path), node.lineno, f'the name {node.id!r} is not defined{did_you_mean(node.id, known)}')
        for node, known in _undefined(tree)
    ]


def _assigned(statement: ast.stmt) -> Iterator[tuple[str, ast.expr]]:
    """The names that a statement sets, those within its blocks too, each with where its value comes from."""
    if isinstance(statement, ast.Assign):
        for target in statement.targets:
            yield from _bound(target, statement.value)
    elif isinstance(statement, ast.AnnAssign) and statement.value:
        yield from _bound(statement.target, statement.value)
    elif isinstance(statement, ast.For):
        yield from _bound(statement.target, statement.iter)
    elif isinstance(statement, ast.With):
        for item in statement.items:
            if item.optional_vars is not None:
                yield from _bound(item.optional_vars, item.context_expr)
    if isinstance(statement, (ast.For, ast.While, ast.If, ast.With, ast.Try)):
        for block in ('body', 'orelse', 'finalbody'):
            for inner in getattr(statement, block, ()):
                yield from _assigned(inner)


def _bound(target: ast.expr, value: ast.expr) -> Iterator[tuple[str, ast.expr]]:
    """The names of a target: one, or those of a tuple."""
    if isinstance(target, ast.Name):
        yield target.id, value
    elif isinstance(target, (ast.Tuple, ast.List)):
        parts = value.elts if isinstance(value, (ast.Tuple, ast.List)) else []
        starred = any(isinstance(part, ast.Starred) for part in (*target.elts, *parts))
        fits = len(parts) == len(target.elts) and not starred
        for number, part in enumerate(target.elts):
            yield from _bound(part, parts[number] if fits else value)
    elif isinstance(target, ast.Starred):
        yield from _bound(target.value, value)


def _bases(path: Path, value: ast.expr, source: ConfigSource) -> list[Path]:
    """The existing base files; a fault for each that is missing."""
    items = value.elts if isinstance(value, (ast.List, ast.Tuple)) else [value]
    found = []
    for item in items:
        if not isinstance(item, ast.Constant) or not isinstance(item.value, str):
            continue  # computed: MMEngine will say
        base = (path.parent / item.value).resolve()
        if base.is_file():
            found.append(path.parent / item.value)
        else:
            message = f'_base_: there is no config {item.value!r}{_closest_file(path.parent / item.value)}'
            source.faults.append(Fault(str(path), item.lineno, message))
    return found


def _closest_file(path: Path) -> str:
    """'; did you mean …?' with existing configs near the place where one was expected."""
    near = path.parent
    while not near.is_dir():
        near = near.parent
    roots = {near, near.parent} if near.name else {near}
    candidates = {str(p) for root in roots for pattern in ('*.py', '*/*.py') for p in root.glob(pattern)}
    close = difflib.get_close_matches(str(path), sorted(candidates), n=2, cutoff=0.7)
    return f'; did you mean {" or ".join(close)}?' if close else ''


def _index(
    key: Key, value: ast.expr, path: Path, places: dict[Key, tuple[Path, int]], variables: dict[str, ast.expr]
) -> None:
    """Note where a value and what it contains stand; what a variable holds stands where the variable is set."""
    if isinstance(value, ast.Name) and value.id in variables and len(key) < 20:  # a variable may be made of itself
        value = variables[value.id]
    places[key] = (path, value.lineno)
    if isinstance(value, ast.Call):
        for argument in value.keywords:
            if argument.arg is None:  # dict(**shared, …)
                if isinstance(argument.value, ast.Name) and argument.value.id == key[0]:
                    continue
                here = places[key]
                _index(key, argument.value, path, places, variables)
                places[key] = here
            else:
                _index((*key, argument.arg), argument.value, path, places, variables)
                if not isinstance(argument.value, ast.Name):
                    places[(*key, argument.arg)] = (path, argument.lineno)
    elif isinstance(value, ast.Dict):
        for name, item in zip(value.keys, value.values):
            if isinstance(name, ast.Constant):
                _index((*key, name.value), item, path, places, variables)
    elif isinstance(value, (ast.List, ast.Tuple)):
        for number, item in enumerate(value.elts):
            _index((*key, number), item, path, places, variables)


def _read_names(tree: ast.Module) -> set[str]:
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}
    for node in ast.walk(tree):
        if isinstance(node, ast.For):  # what counts a loop need not be read
            names |= {part.id for part in ast.walk(node.target) if isinstance(part, ast.Name)}
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == '_base_':
            names.add(node.attr)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and '{{' in node.value:
            names |= {part.split('}}')[0].strip().removeprefix('_base_.') for part in node.value.split('{{')[1:]}
    return names


def _undefined(tree: ast.Module) -> list[tuple[ast.Name, set[str]]]:
    """Names that are read and nowhere defined, each with the names that are."""
    defined = {'_base_', '__file__', *dir(builtins)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            defined.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            defined.add(node.name)
        elif isinstance(node, ast.arg):
            defined.add(node.arg)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            defined |= {(alias.asname or alias.name).split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            defined.add(node.name)
    nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)]
    own = {name for name in defined if not name.startswith('__') and not hasattr(builtins, name)}
    known = own | {'dict', 'list', 'tuple', 'range', 'int', 'float', 'str', 'len', 'True', 'False', 'None'}
    return [(node, known) for node in nodes if node.id not in defined]

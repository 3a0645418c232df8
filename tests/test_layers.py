"""Lower floors never import upper ones: the house of docs/architecture.md, held by a walk over every import."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Who may import whom, from the ground up. What is missing in a row is forbidden.
GROUND = {'registry', 'structures', 'compat'}
FLOORS = {
    'data': set(),
    'models': set(),
    'hub': {'data', 'models'},
    'inference': {'data', 'models', 'hub'},
    'engine': {'data', 'models', 'hub', 'inference'},
    'evaluation': {'data', 'models', 'hub', 'inference', 'engine'},
    'serving': {'data', 'models', 'hub', 'inference', 'engine', 'evaluation'},
    'syphus': {'data', 'models', 'hub', 'inference', 'engine', 'evaluation'},
}


def imported_modules(source: str, package: str) -> set[str]:
    """Absolute names of all modules that ``source``, a module of ``package``, imports, wherever in the file."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.split('.')[: len(package.split('.')) - node.level + 1] if node.level else []
            name = '.'.join([*base, node.module] if node.module else base)
            found |= {name} | {f'{name}.{alias.name}' for alias in node.names}
    return found


def floor_of(module: str) -> str | None:
    """'data' for 'mmgpt.data.sources'; None outside of mmgpt, and for names that ``mmgpt`` itself holds."""
    parts = module.split('.')
    if parts[0] != 'mmgpt' or len(parts) < 2:
        return None
    return parts[1] if parts[1] in GROUND | set(FLOORS) else None


def violations(path: Path, root: Path) -> list[str]:
    relative = path.relative_to(root).with_suffix('')
    package = '.'.join(relative.parts[:-1])
    floor = floor_of('.'.join(relative.parts))
    if floor is None:
        return []
    allowed = GROUND | ({floor} | FLOORS[floor] if floor in FLOORS else set())
    imports = imported_modules(path.read_text(encoding='utf-8'), package)
    return sorted(
        f'{path.relative_to(root)}: mmgpt.{floor} must not import {name}'
        for name in imports
        if (floor_of(name) or floor) not in allowed or name.split('.')[0] in {'tools', 'mmgpt_tools', 'configs'}
    )


def test_lower_floors_never_import_upper_ones():
    found = [v for path in sorted((ROOT / 'mmgpt').rglob('*.py')) for v in violations(path, ROOT)]
    assert not found, '\n'.join(found)


def test_every_folder_of_the_package_has_a_floor():
    folders = {p.parent.name for p in (ROOT / 'mmgpt').glob('*/__init__.py')}
    assert folders <= set(FLOORS)


@pytest.mark.parametrize(
    ('place', 'line'),
    [
        ('mmgpt/data/a.py', 'from mmgpt.models import flamingo'),
        ('mmgpt/data/a.py', 'from mmgpt import models'),
        ('mmgpt/data/deep/a.py', 'from ... import engine'),
        ('mmgpt/models/a.py', 'def f():\n    import mmgpt.data.tokens'),
        ('mmgpt/hub/a.py', 'from ..inference.chat import Chat'),
        ('mmgpt/structures.py', 'from mmgpt.data import x'),
        ('mmgpt/engine/a.py', 'import mmgpt_tools.train'),
    ],
)
def test_a_forbidden_import_is_found(tmp_path, place, line):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert violations(path, tmp_path)


@pytest.mark.parametrize(
    ('place', 'line'),
    [
        ('mmgpt/engine/a.py', 'from mmgpt.data.tokens import encode'),
        ('mmgpt/data/a.py', 'from ..structures import Sample'),
        ('mmgpt/models/a.py', 'from . import loss'),
        ('mmgpt/data/a.py', 'import models'),
    ],
)
def test_an_allowed_import_is_let_through(tmp_path, place, line):
    path = tmp_path / place
    path.parent.mkdir(parents=True)
    path.write_text(line)
    assert not violations(path, tmp_path)

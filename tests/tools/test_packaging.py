"""What is imported is declared, and every tool is packaged."""

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest
import setuptools

ROOT = Path(__file__).parents[2]
# A distribution's modules where they are not its name.
MODULES = {
    'lingua_language_detector': 'lingua',
    'open_clip_torch': 'open_clip',
    'pillow': 'PIL',
    'protobuf': 'google',
    'pyyaml': 'yaml',
    'scikit_learn': 'sklearn',
}


@pytest.fixture(scope='module')
def declared():
    """The arguments of setup()."""
    arguments = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(setuptools, 'setup', lambda **kwargs: arguments.update(kwargs))
        patch.chdir(ROOT)
        runpy.run_path('setup.py')
    return arguments


def modules(requirements) -> set[str]:
    names = {re.match(r'[\w-]+', line)[0].replace('-', '_') for line in requirements}
    return {MODULES.get(name, name) for name in names}


def third_party(folder: str) -> dict[str, str]:
    """Top-level modules imported below a folder that are neither Python's nor ours -> a file that does so."""
    found = {}
    for path in (ROOT / folder).rglob('*.py'):
        for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names = [node.module]
            else:
                continue
            found |= {name.split('.')[0]: str(path.relative_to(ROOT)) for name in names}
    ours = {'mmgpt', 'mmgpt_tools', 'tools'} | set(sys.stdlib_module_names)
    return {name: file for name, file in found.items() if name not in ours}


HOSTS = {'lmms_eval', 'vlmeval'}  # harnesses that load our models: who has them needs no extra of ours


@pytest.mark.parametrize('folder', ['mmgpt', 'tools'])
def test_every_import_is_declared(declared, folder):
    optional = modules(line for extra in declared['extras_require'].values() for line in extra)
    known = modules(declared['install_requires']) | optional | HOSTS
    unknown = {name: file for name, file in third_party(folder).items() if name not in known}
    assert not unknown, 'add them to requirements.txt or to an extra of setup.py'


def test_requirements_are_ranges_without_pins(declared):
    assert declared['install_requires']
    for line in declared['install_requires']:
        assert '>=' in line, line
        assert '==' not in line, line


def test_the_tools_and_the_command_are_packaged(declared):
    assert {'mmgpt', 'mmgpt.hub', 'mmgpt_tools'} <= set(declared['packages'])
    assert declared['package_dir'] == {'mmgpt_tools': 'tools'}
    assert declared['entry_points']['console_scripts'] == ['mmgpt = mmgpt_tools.cli:main']
    folders = {path.parent.name for path in (ROOT / 'mmgpt').rglob('*/__init__.py')}
    assert {name.split('.')[-1] for name in declared['packages']} >= folders

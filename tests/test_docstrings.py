"""The examples in docstrings give what they say they give."""

import doctest
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
WITH_EXAMPLES = [
    '.'.join(path.relative_to(ROOT).with_suffix('').parts).removesuffix('.__init__')
    for path in sorted((ROOT / 'mmgpt').rglob('*.py'))
    if '>>> ' in path.read_text(encoding='utf-8')
]


@pytest.mark.parametrize('name', WITH_EXAMPLES)
def test_examples_run(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(name), optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    assert not result.failed, f'{result.failed} examples of {name}: see the output'

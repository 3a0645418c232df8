import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.hub.convert import published
from tools import convert

ROOT = Path(__file__).parents[2]


def test_a_checkpoint_is_converted_by_the_command(tmp_path):
    lm = published.language_model(tmp_path / 'lm')
    torch.save(published.release_v2(), tmp_path / 'checkpoint.pt')
    command = [sys.executable, '-m', 'tools.convert', 'openflamingo', tmp_path, '--language-model', lm]
    command += ['--vision-model', published.CLIP, '--out', tmp_path / 'd']
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert '114 loaded, 0 missing, 0 unexpected' in done.stdout
    assert {path.name for path in (tmp_path / 'd').iterdir()} >= {
        'config.json',
        'conversion_report.json',
        'model.safetensors',
        'processor_config.json',
        'tokenizer.json',
    }


def test_arguments_are_parsed_before_heavy_imports():
    code = (
        "import sys; from tools import convert; convert.parse(['verify', 'a', 'b']); "
        "sys.exit(bool({'torch', 'transformers', 'mmgpt'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, '-c', code], cwd=ROOT).returncode == 0


def names_of(verb, which=lambda names, options: True):
    """The names under which a verb's arguments reach its function."""
    arguments = convert.VERBS[verb].arguments
    chosen = [(names, options) for names, options in arguments if which(names, options)]
    return {options.get('dest') or names[-1].lstrip('-').replace('-', '_') for names, options in chosen}


@pytest.mark.parametrize('verb', convert.VERBS)
def test_every_verb_has_a_function_that_takes_its_arguments(verb):
    module, _, function = convert.VERBS[verb].function.partition(':')
    taken = inspect.signature(getattr(importlib.import_module(module), function)).parameters
    assert names_of(verb) == set(taken)
    required = names_of(verb, lambda names, options: options.get('required') or not names[0].startswith('-'))
    assert required == {name for name, parameter in taken.items() if parameter.default is parameter.empty}


@pytest.mark.parametrize('argv', [[], ['unknown'], ['otter', 'folder'], ['openflamingo', 'x', '--out', 'y']])
def test_bad_usage_is_told(argv, capsys):
    with pytest.raises(SystemExit) as stopped:
        convert.parse(argv)
    assert stopped.value.code == 2
    assert 'usage' in capsys.readouterr().err


def test_a_plugin_that_is_not_there_is_told(capsys, tmp_path):
    assert convert.main(['verify', str(tmp_path), str(tmp_path), '--import', 'no_such_module']) == 2
    assert 'no_such_module' in capsys.readouterr().err

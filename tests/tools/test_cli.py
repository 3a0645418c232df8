import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import cli

ROOT = Path(__file__).parents[2]


def test_help_lists_every_tool_with_its_first_line(capsys):
    assert cli.main(['--help']) == 0
    shown = capsys.readouterr().out
    names = {path.stem for path in (ROOT / 'tools').glob('*.py')} - {'__init__', 'cli'}
    assert names
    for name in names:
        assert f'  {name}' in shown
        assert cli.summary(name), f'tools/{name}.py needs a docstring: its first line is shown by mmgpt --help'
        assert cli.summary(name) in shown


def test_a_wrong_name_is_answered_with_the_closest(capsys):
    assert cli.main(['caht']) == 2
    assert "did you mean 'chat'?" in capsys.readouterr().err
    assert cli.main([]) == 2


def test_a_tool_runs_with_its_arguments_and_exit_code():
    def mmgpt(*argv):
        code = f'import sys; from tools import cli; sys.exit(cli.main({list(argv)}))'
        return subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)

    helped = mmgpt('chat', '--help')
    assert (helped.returncode, helped.stderr) == (0, '')
    assert 'MODEL' in helped.stdout
    wrong = mmgpt('chat')
    assert wrong.returncode == 2
    assert 'MODEL' in wrong.stderr


@pytest.mark.parametrize('name', cli.tool_names())
def test_every_tool_parses_its_arguments_before_any_heavy_import(name):
    code = "import sys, runpy; sys.argv = ['x', '--help']\n"
    code += f"try: runpy.run_path({str(ROOT / 'tools' / f'{name}.py')!r}, run_name='__main__')\n"
    code += 'except SystemExit as end: assert not end.code, end.code\n'
    code += "found = {'torch', 'transformers', 'mmengine', 'numpy'} & set(sys.modules); assert not found, found"
    start = time.perf_counter()
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert 'usage' in done.stdout
    assert time.perf_counter() - start < 2

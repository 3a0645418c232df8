"""The drills' own tools: crashes come where they are asked for, power cuts lose what was not synced."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[2] / 'benchmarks'
sys.path.insert(0, str(BENCHMARKS))

from bench.crash import SOURCE, Operation, counts, cut_power, operations  # noqa: E402

COMPILER = shutil.which('cc') or shutil.which('gcc')
needs_compiler = pytest.mark.skipif(COMPILER is None, reason='needs a C compiler: apt-get install gcc libc6-dev')
SAVES = """
import ctypes, os, pathlib, sys
folder = pathlib.Path(sys.argv[1])
ctypes.CDLL(None).crash_arm(str(folder).encode(), ctypes.c_long(int(sys.argv[2])), sys.argv[3].encode())
(folder / 'new').mkdir()
(folder / 'new' / 'file').write_text('0123456789')
(folder / 'new').rename(folder / 'whole')
os.unlink(folder / 'whole' / 'file')
"""


@needs_compiler
def test_a_process_dies_at_the_chosen_operation(tmp_path):
    library = tmp_path / 'crash.so'
    subprocess.run([COMPILER, '-shared', '-fPIC', '-o', library, SOURCE, '-ldl'], check=True)
    found = {}
    for at in range(6):
        folder, log = tmp_path / f'{at}', tmp_path / f'{at}.log'
        folder.mkdir()
        command = [sys.executable, '-c', SAVES, folder, str(at), log]
        code = subprocess.run(command, env={'LD_PRELOAD': str(library)}).returncode
        assert code == (-signal.SIGKILL if at else 0)
        found[at] = operations(log)
    assert counts(found[0]) == {'create': 1, 'write': 1, 'rename': 1, 'unlink': 1, 'mkdir': 1}
    assert [len(found[at]) for at in range(1, 6)] == [0, 1, 2, 3, 4]
    assert (tmp_path / '3' / 'new' / 'file').read_text() == '01234'  # torn
    assert (tmp_path / '4' / 'new' / 'file').read_text() == '0123456789'  # not renamed
    assert (tmp_path / '5' / 'whole' / 'file').exists()  # not deleted


def test_a_power_cut_loses_what_was_not_synced(tmp_path):
    partial, whole = tmp_path / '.a.partial', tmp_path / 'a'
    whole.mkdir()
    for name in ('synced', 'lost'):
        (whole / name).write_text('0123456789')
    done = [Operation('mkdir', str(partial))]
    done += [Operation('write', str(partial / name)) for name in ('synced', 'lost')]
    done += [Operation('fsync', str(partial / 'synced')), Operation('rename', str(partial), str(whole))]
    kept = [*done, Operation('fsync', str(partial / 'lost')), Operation('fsync', str(tmp_path))]
    kept = [*kept[:-3], kept[-2], kept[-3], kept[-1]]  # the file is synced before the rename
    assert cut_power(kept) == []
    assert cut_power(done) == ['data of lost', 'rename to a']
    assert (partial / 'synced').read_text() == '0123456789'
    assert (partial / 'lost').read_text() == '01234'
    assert not whole.exists()


@needs_compiler
@pytest.mark.slow
def test_a_drill_passes(tmp_path):
    pytest.importorskip('sklearn', reason='needs scikit-learn: pip install mmgpt[demo]')
    found = tmp_path / 'faults.json'
    command = [sys.executable, BENCHMARKS / 'faults.py', '--drills', 'corrupt', '--json', found]
    subprocess.run(command, check=True)
    drill = json.loads(found.read_text())['drills']['corrupt']
    assert drill['passed']
    assert drill['difference'] == 0
    assert drill['found'] == 2 * drill['files'] > 10

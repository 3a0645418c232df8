"""Two runs in one work folder."""

from __future__ import annotations

import errno
import os
import subprocess
import sys

import pytest

from mmgpt.engine import work_folder
from mmgpt.engine.work_folder import alone_in
from tests.engine.project import write_project
from tools import train

HOLDER = """
import os, sys, time
from mmgpt.engine.work_folder import alone_in
with alone_in(sys.argv[1]):
    if not os.fork():  # as a worker of a data loader, that outlives it
        time.sleep(3)
        os._exit(0)
    print('held', flush=True)
    time.sleep(60)
"""


def test_a_second_run_is_refused_until_the_first_is_gone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(work_folder, 'PATIENCE', 0.0)
    config, work_dir = write_project(tmp_path / 'project'), tmp_path / 'w'
    with subprocess.Popen([sys.executable, '-c', HOLDER, str(work_dir)], stdout=subprocess.PIPE, text=True) as holder:
        try:
            assert holder.stdout.readline() == 'held\n'
            assert train.main([str(config), '--work-dir', str(work_dir)]) == 2
        finally:
            holder.kill()
        told = capsys.readouterr().err
        assert f'another run trains in {work_dir} (process {holder.pid} on ' in told
        assert [path.name for path in work_dir.iterdir()] == [work_folder.LOCK]
        holder.wait()
        with alone_in(work_dir):
            assert f'process {os.getpid()} ' in (work_dir / work_folder.LOCK).read_text()
    with alone_in(work_dir):
        pass


def test_a_file_system_without_locks_is_a_warning(tmp_path, monkeypatch):
    def unknown(*_):
        raise OSError(errno.ENOLCK, 'No locks available')

    monkeypatch.setattr(work_folder.fcntl, 'lockf', unknown)
    with pytest.warns(UserWarning, match='cannot be locked'), alone_in(tmp_path):
        pass

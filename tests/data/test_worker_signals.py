"""When the workers of data loaders end."""

import multiprocessing
import subprocess
import sys

import pytest
from torch.utils.data import DataLoader

from mmgpt.data.worker_signals import ending_workers


def test_persistent_workers_stay_until_something_fails():
    loader = DataLoader(range(4), num_workers=1, persistent_workers=True)
    for _ in range(2):
        with ending_workers(iter(loader)) as batches:
            assert len(list(batches)) == 4
    with pytest.raises(KeyError), ending_workers(iter(loader)):
        raise KeyError
    assert not multiprocessing.active_children()


def test_a_process_does_not_wait_for_persistent_workers():
    script = """
from torch.utils.data import DataLoader
from mmgpt.data.worker_signals import ending_workers, outlive_signals

loader = DataLoader(range(4), num_workers=1, persistent_workers=True, worker_init_fn=outlive_signals)
for _ in range(2):
    with ending_workers(iter(loader)) as batches:
        print(len(list(batches)))
"""
    done = subprocess.run([sys.executable, '-c', script], capture_output=True, text=True, timeout=50)
    assert (done.returncode, done.stdout) == (0, '4\n4\n'), done.stderr

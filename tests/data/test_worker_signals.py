"""When the workers of data loaders end."""

import multiprocessing

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

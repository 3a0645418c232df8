import pytest
import torch


@pytest.fixture(autouse=True, scope='session')
def _one_thread():
    """Tensors this small lose far more time to waiting threads than they gain."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)

"""What a step takes beyond the weights: of the process as the system sees it, of a GPU, and of tensors alone."""

from __future__ import annotations

import ctypes
import gc
import re
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

MIB = 2**20


class PeakMemory:
    """The greatest memory of the process, or of its GPU, since ``restart``, over what it held when this was made.

    On a CPU that is resident memory as Linux counts it (``VmHWM`` over ``VmRSS``), after what is free was given back.

    Args:
        device: ``'cpu'`` or ``'cuda'``.
    """

    def __init__(self, device: str) -> None:
        gc.collect()
        self.device = device
        if device == 'cuda':
            torch.cuda.synchronize()
            self.before = torch.cuda.memory_allocated()
            return
        if hasattr(libc := ctypes.CDLL(None), 'malloc_trim'):
            libc.malloc_trim(0)
        self.before = _status('VmRSS')

    def restart(self) -> None:
        """Forgets the peak so far."""
        if self.device == 'cuda':
            torch.cuda.reset_peak_memory_stats()
        else:
            Path('/proc/self/clear_refs').write_text('5')

    def bytes(self) -> int:
        """The peak above what there was at first."""
        if self.device == 'cuda':
            torch.cuda.synchronize()
            return torch.cuda.max_memory_allocated() - self.before
        return _status('VmHWM') - self.before


def _status(name: str) -> int:
    return int(re.search(rf'{name}:\s+(\d+) kB', Path('/proc/self/status').read_text())[1]) * 1024


def live_bytes(work: Callable[[], Any]) -> int:
    """The most bytes of tensors made while ``work`` runs that are alive at once; exact, unlike a process's memory."""
    with _Following() as following:
        work()
    return following.peak


def state_bytes(optimizer: torch.optim.Optimizer) -> int:
    """What an optimiser keeps from step to step."""
    kept = (value for state in optimizer.state.values() for value in state.values() if torch.is_tensor(value))
    return sum(value.numel() * value.element_size() for value in kept)


class _Following(TorchDispatchMode):
    """Counts every storage that an operation makes, until it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.peak = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {storage._cdata for storage in _storages((args, kwargs))}
        out = func(*args, **(kwargs or {}))
        for storage in _storages(out):
            if storage._cdata not in given | self.known:
                self.known.add(storage._cdata)
                self.now += storage.nbytes()
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._freed, storage._cdata, storage.nbytes())
        return out

    def _freed(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def _storages(values: Any) -> list[torch.UntypedStorage]:
    return [value.untyped_storage() for value in tree_flatten(values)[0] if isinstance(value, torch.Tensor)]

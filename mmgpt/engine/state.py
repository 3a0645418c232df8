"""The state of a run as plain data: random number generators and MMEngine's message hub.

Plain means tensors, numbers, strings, lists and dicts, so that ``torch.load(weights_only=True)`` reads it back.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub


def rng_state() -> dict[str, Any]:
    """The state of this process's generators: Python's, NumPy's, torch's and those of its GPUs."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        'python': {'version': version, 'numbers': torch.tensor(numbers, dtype=torch.int64), 'gauss': gauss},
        'numpy': {
            'kind': kind,
            'keys': torch.from_numpy(keys.astype(np.int64)),
            'position': int(position),
            'has_gauss': int(has_gauss),
            'cached': float(cached),
        },
        'torch': torch.get_rng_state(),
        'cuda': torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
    }


def load_rng_state(state: dict[str, Any]) -> None:
    """Put back what ``rng_state`` gave; GPU states only where there are as many GPUs."""
    python, numpy = state['python'], state['numpy']
    random.setstate((python['version'], tuple(python['numbers'].tolist()), python['gauss']))
    keys = numpy['keys'].numpy().astype(np.uint32)
    np.random.set_state((numpy['kind'], keys, numpy['position'], numpy['has_gauss'], numpy['cached']))
    torch.set_rng_state(state['torch'])
    if torch.cuda.is_available() and len(state['cuda']) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state['cuda'])


@contextmanager
def untouched_rng() -> Iterator[None]:
    """Leave the generators as they were found, whatever happens inside."""
    state = rng_state()
    try:
        yield
    finally:
        load_rng_state(state)


def message_hub_state(hub: MessageHub) -> dict[str, Any]:
    """MMEngine's message hub as plain data."""
    state = hub.state_dict()
    scalars = {
        name: {
            'log': torch.from_numpy(buffer._log_history.copy()),
            'count': torch.from_numpy(buffer._count_history.copy()),
            'max_length': buffer.max_length,
        }
        for name, buffer in state['log_scalars'].items()
    }
    info = {name: value for name, value in state['runtime_info'].items() if name != 'cfg'}
    resumed = {name: kept for name, kept in state['resumed_keys'].items() if name in scalars or name in info}
    return {'log_scalars': scalars, 'runtime_info': plain(info), 'resumed_keys': resumed}


def load_message_hub_state(hub: MessageHub, state: dict[str, Any]) -> None:
    """Put back what ``message_hub_state`` gave."""
    scalars = {
        name: HistoryBuffer(value['log'].tolist(), value['count'].tolist(), value['max_length'])
        for name, value in state['log_scalars'].items()
    }
    hub.load_state_dict({**state, 'log_scalars': scalars})


def plain(value: Any) -> Any:
    """The value with NumPy scalars and arrays turned into numbers and tensors, in dicts, lists and tuples.

    Raises:
        TypeError: for a value that a safe load would refuse.
    """
    if isinstance(value, np.generic):  # before the others: some of NumPy's scalars are floats, too
        return value.item()
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value) if type(value) in (list, tuple) else list(map(plain, value))
    raise TypeError(f'a checkpoint holds plain data only, got {type(value).__name__}: {value!r}')

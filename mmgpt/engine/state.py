"""The state of a run as plain data: random number generators, MMEngine's message hub, the optimiser.

Plain means tensors, numbers, strings, lists and dicts, so that ``torch.load(weights_only=True)`` reads it back.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer, MessageHub

from mmgpt.engine.shards import local, on_first, shared_like


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
    if value is None or isinstance(value, (bool, int, float, str, torch.Tensor)):
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(value.copy())
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(plain(item) for item in value) if type(value) in (list, tuple) else list(map(plain, value))
    raise TypeError(f'a checkpoint holds plain data only, got {type(value).__name__}: {value!r}')


def optimizer_state(
    optimizer: torch.optim.Optimizer, gather: bool = True
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """The optimiser's state by parameter name; its groups carry their parameters' names in 'names'.

    Where the processes share parameters and it shall ``gather`` it is collective, and the first one gets the state of
    whole ones; otherwise each has its part.

    Returns:
        tensors, each under '{entry}/{parameter name}', and plain data: groups and the state that is no tensor.
    """
    tensors: dict[str, torch.Tensor] = {}
    values: dict[str, Any] = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group['names'], group['params'], strict=True):
            for entry, value in optimizer.state.get(parameter, {}).items():
                key = f'{entry}/{name}'
                if not isinstance(value, torch.Tensor):
                    values[key] = plain(value)
                elif (tensor := on_first(value) if gather and value is not local(value) else value) is not None:
                    tensors[key] = tensor.detach().contiguous()
    groups = [plain({k: v for k, v in group.items() if k != 'params'}) for group in optimizer.param_groups]
    return tensors, {'groups': groups, 'values': values}


OF_THE_DEVICE = {'names', 'params', 'foreach', 'fused', 'capturable', 'differentiable'}
OF_THE_POSITION = {'last_step', '_global_step', '_last_value', 'base_values', 'verbose'}


def other_options(now: Iterable[dict[str, Any]], saved: Iterable[dict[str, Any]]) -> list[str]:
    """What differs between the options of a config and those that its checkpoint keeps.

    Args:
        now: the optimiser's groups, or the states of the schedulers, as the config has them.
        saved: those of the checkpoint.

    Returns:
        one text per difference, such as 'lr 0.001 (the config has 0.0001)'; a scheduled value is compared by where it
        began, and what tells only of the device or of the position in the run is left out.
    """
    told = {}
    for ours, theirs in zip(now, saved, strict=True):
        for name in sorted((ours.keys() & theirs.keys()) - OF_THE_DEVICE - OF_THE_POSITION):
            a, b = (list(v) if isinstance(v, tuple) else v for v in (ours[name], theirs[name]))
            comparable = all(isinstance(v, (bool, int, float, str, list, type(None))) for v in (a, b))
            if comparable and a != b and f'initial_{name}' not in ours:
                told[f'{name.removeprefix("initial_")} {b} (the config has {a})'] = None
    return list(told)


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, tensors: dict[str, torch.Tensor], data: dict[str, Any]
) -> None:
    """Put back what ``optimizer_state`` gave.

    Raises:
        ValueError: when the run now trains other parameters than those of the state.
    """
    saved = [group['names'] for group in data['groups']]
    now = [group['names'] for group in optimizer.param_groups]
    if saved != now:
        lost, new = ({n for g in a for n in g} - {n for g in b for n in g} for a, b in ((saved, now), (now, saved)))
        raise ValueError(
            f'the optimiser of the checkpoint has other parameters or groups: {sorted(lost)[:5] or "none"} only there, '
            f'{sorted(new)[:5] or "none"} only here; resume with the config it was trained with'
        )
    for group, kept in zip(optimizer.param_groups, data['groups'], strict=True):
        group.update(kept)
    parameters = {n: p for group in optimizer.param_groups for n, p in zip(group['names'], group['params'])}
    groups = (group for group in optimizer.param_groups if group.get('fused') or group.get('capturable'))
    counted_on_device = {name for group in groups for name in group['names']}
    optimizer.state.clear()
    for key, value in {**tensors, **data['values']}.items():
        entry, name = key.split('/', 1)
        parameter = parameters[name]
        on_cpu = entry == 'step' and name not in counted_on_device  # where torch keeps the step count
        if isinstance(value, torch.Tensor) and value.ndim:
            value = shared_like(value, parameter)
        elif isinstance(value, torch.Tensor) and not on_cpu:
            value = value.to(parameter.device)
        optimizer.state[parameter][entry] = value

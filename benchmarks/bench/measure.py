"""Measuring in turn, so that a noisy machine troubles all that is compared alike."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry, sdpa_flop_count

Clock = Callable[[], float]


def alone() -> Clock:
    """A clock for a machine that does other things too: this process' own time, on one thread from now on."""
    torch.set_num_threads(1)
    return time.process_time


def matrix_peak(
    dtype: torch.dtype = torch.float32,
    size: int = 2048,
    repeats: int = 3,
    device: str = 'cpu',
    clock: Clock = time.perf_counter,
) -> float:
    """FLOP/s of a large matrix product, the best of a few."""
    a, b = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    wait = torch.cuda.synchronize if device == 'cuda' else lambda: None
    best = float('inf')
    for _ in range(repeats):
        wait()
        start = clock()
        a @ b
        wait()
        best = min(best, clock() - start)
    return 2 * size**3 / best


def in_turn(
    cases: Mapping[str, Callable[[], Any]], rounds: int, clock: Clock = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each case in each round; every round runs all cases, each time beginning with another one.

    Args:
        cases: what is run.
        rounds: counted ones; one more comes before them.
        clock: seconds. Default: those that pass.
    """
    names = list(cases)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-1, rounds):
        shift = number % len(names)
        for name in names[shift:] + names[:shift]:
            start = clock()
            cases[name]()
            if number >= 0:
                seconds[name].append(clock() - start)
    return seconds


def spread(values: list[float]) -> dict[str, float]:
    """Median, least and greatest."""
    return {'median': statistics.median(values), 'min': min(values), 'max': max(values)}


def ratios(numerator: list[float], denominator: list[float]) -> dict[str, float]:
    """The spread of the ratio, round by round."""
    return spread([a / b for a, b in zip(numerator, denominator, strict=True)])


def flops(work: Callable[[], Any]) -> int:
    """Floating point operations of matrix products, convolutions and attention while ``work`` runs.

    By PyTorch's formulas, without its ``FlopCounterMode``, which does not bear a gradient made in a forward pass.
    """
    with _Counting() as counting:
        work()
    return counting.total


@contextmanager
def uncounted() -> Iterator[None]:
    """``flops`` leaves out what runs inside: what a backward pass makes again is no work of the model."""
    _Counting.paused += 1
    try:
        yield
    finally:
        _Counting.paused -= 1


class _Counting(TorchDispatchMode):
    paused = 0

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func.overloadpacket) or UNKNOWN_TO_TORCH.get(func.overloadpacket)
        if formula is not None and not self.paused:
            self.total += formula(*args, **(kwargs or {}), out_val=out)
        return out


def _attention_on_a_cpu(query, key, value, *args, out_val=None, **kwargs) -> int:
    return sdpa_flop_count(query.shape, key.shape, value.shape)


def _attention_on_a_cpu_backward(above, query, key, value, *args, out_val=None, **kwargs) -> int:
    return 5 * sdpa_flop_count(query.shape, key.shape, value.shape) // 2  # five products instead of two


UNKNOWN_TO_TORCH = {
    torch.ops.aten.baddbmm_: flop_registry[torch.ops.aten.baddbmm],
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _attention_on_a_cpu,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_on_a_cpu_backward,
}


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    import transformers

    name = platform.processor() or platform.machine()
    for line in Path('/proc/cpuinfo').read_text().splitlines() if Path('/proc/cpuinfo').exists() else ():
        if line.startswith('model name'):
            name = line.split(':')[1].strip()
            break
    found = {'processor': name, 'threads': torch.get_num_threads(), 'torch': torch.__version__}
    if torch.cuda.is_available():
        found['gpu'] = torch.cuda.get_device_name()
    return {**found, 'transformers': transformers.__version__, 'python': platform.python_version()}


def write(path: Path | None, results: Any) -> None:
    """Writes results as JSON where a path is given."""
    if path is not None:
        path.write_text(json.dumps(results, indent=1) + '\n', encoding='utf-8')

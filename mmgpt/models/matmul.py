"""Which library multiplies float32 matrices on a CPU."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import torch

SHAPES = ((64, 512, 768), (64, 768, 512), (1, 1024, 1024), (512, 64, 256))  # rows, inner, columns
CHOSEN = 'medium'  # PyTorch's name of a precision that lets oneDNN multiply
TOLERANCE = 2e-5  # relative to the greatest result; float32 errs by 1e-6, tf32 by 5e-4, bfloat16 by 4e-3


@cache
def prefer_onednn() -> bool:
    """Sends the float32 matrix products of this process to oneDNN where that is the faster way to the same precision.

    PyTorch gives them to MKL, which uses half of the vector width of processors that are not Intel's: on an AMD EPYC
    with AVX-512, 230 against 500 GFLOP/s with two threads (``benchmarks/train_step.py`` prints both). oneDNN gets them
    when PyTorch may compute them in bfloat16, which oneDNN does on processors with AMX only; that it does not is tried
    out here. Nothing is changed on Intel's processors, where a GPU is at hand, or where the precision was set already.
    With small tensors the plain library is ahead: the digits demo trains a tenth slower with oneDNN, and leaves it out.

    Returns:
        whether oneDNN multiplies from now on.
    """
    if torch.get_float32_matmul_precision() != 'highest' or not _mkl_is_held_back():
        return False
    torch.set_float32_matmul_precision(CHOSEN)
    if not _is_float32():
        torch.set_float32_matmul_precision('highest')
        return False
    return True


@contextmanager
def products_of(tokens: int) -> Iterator[None]:
    """Where ``prefer_onednn`` chose oneDNN, leaves the products of a single token to MKL if there is but one thread.

    They wait for the weights and not for the arithmetic, and MKL reads them faster: 15.5 against 13.5 GB/s, and 12.5
    where a matrix is small. With two threads MKL is no faster, and oneDNN reads 20 to 25 GB/s; from two tokens on it is
    ahead with one thread, too.

    Args:
        tokens: that go through the model at once, of all rows.
    """
    alone = tokens == 1 == torch.get_num_threads()
    if not alone or torch.get_float32_matmul_precision() != CHOSEN or not _chose():
        yield
        return
    torch.set_float32_matmul_precision('highest')
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(CHOSEN)  # not what was found: another thread may decode as well


def _chose() -> bool:
    """Whether ``prefer_onednn`` was asked in this process, and chose it."""
    return prefer_onednn.cache_info().currsize > 0 and prefer_onednn()


def _mkl_is_held_back() -> bool:
    libraries = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()
    wide = torch.backends.cpu.get_cpu_capability() == 'AVX512'
    return libraries and wide and not torch.cuda.is_available() and _vendor() not in ('', 'GenuineIntel')


def _vendor() -> str:
    """Who made the processor, or '' where nothing tells."""
    file = Path('/proc/cpuinfo')
    if not file.is_file():
        return '' if 'Intel' in platform.processor() else platform.processor()
    lines = (line.partition(':') for line in file.read_text().splitlines())
    return next((value.strip() for name, _, value in lines if name.strip() == 'vendor_id'), '')


def _is_float32() -> bool:
    """Whether products in all layouts, made as they would be now, are as exact as float32 lets them be."""
    generator = torch.Generator().manual_seed(0)
    for rows, inner, columns in SHAPES:
        a, b = torch.randn(rows, inner, generator=generator), torch.randn(inner, columns, generator=generator)
        exact = a.double() @ b.double()
        layouts = (
            a @ b,
            a @ b.t().contiguous().t(),
            a.t().contiguous().t() @ b,
            torch.addmm(torch.zeros(columns), a, b),
        )
        if any((made - exact).abs().max() > TOLERANCE * exact.abs().max() for made in layouts):
            return False
    return True

"""The choice of the library that multiplies float32 matrices."""

import pytest
import torch

from mmgpt.models import matmul


@pytest.fixture
def fresh():
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision('highest')
    matmul.prefer_onednn.cache_clear()
    yield
    matmul.prefer_onednn.cache_clear()
    torch.set_float32_matmul_precision(before)


def test_products_stay_exact_whatever_is_chosen(fresh):
    matmul.prefer_onednn()
    assert matmul._is_float32()


def test_an_intel_processor_keeps_its_library(fresh, monkeypatch):
    monkeypatch.setattr(matmul, '_vendor', lambda: 'GenuineIntel')
    assert not matmul.prefer_onednn()
    assert torch.get_float32_matmul_precision() == 'highest'


def test_a_processor_that_would_compute_in_bfloat16_is_found_out(fresh, monkeypatch):
    monkeypatch.setattr(matmul, '_mkl_is_held_back', lambda: True)
    product = torch.Tensor.__matmul__

    def with_amx(a, b):
        if torch.get_float32_matmul_precision() != 'highest' and a.dtype == torch.float32:
            return product(a.bfloat16(), b.bfloat16()).float()
        return product(a, b)

    monkeypatch.setattr(torch.Tensor, '__matmul__', with_amx)
    assert not matmul.prefer_onednn()
    assert torch.get_float32_matmul_precision() == 'highest'


def test_a_precision_that_the_user_set_is_kept(fresh):
    torch.set_float32_matmul_precision('high')
    assert not matmul.prefer_onednn()
    assert torch.get_float32_matmul_precision() == 'high'

"""The choice of the library that multiplies float32 matrices."""

import pytest
import torch

from mmgpt.models import attention, matmul
from tests.models import tiny


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


def libraries(model, batch, **arguments) -> list[str]:
    """The precision that each call of the language model was made in."""
    found = []
    layer = model.decoder.layers[0]
    handle = layer.register_forward_hook(lambda *_: found.append(torch.get_float32_matmul_precision()))
    with torch.no_grad():
        model.generate(**batch, max_new_tokens=3, eos_token_id=None, pad_token_id=tiny.PAD, **arguments)
    handle.remove()
    return found


def test_single_tokens_are_left_to_the_library_that_reads_weights_faster(fresh, monkeypatch):
    monkeypatch.setattr(matmul, '_mkl_is_held_back', lambda: True)
    monkeypatch.setattr(matmul, '_is_float32', lambda: True)
    model, row = tiny.model(), tiny.row('several images')
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 1)
    assert libraries(model, row) == ['highest'] * 3  # nobody chose anything
    assert matmul.prefer_onednn()
    assert libraries(model, row) == ['medium', 'highest', 'highest']
    assert libraries(model, tiny.padded([row, tiny.row('text')])) == ['medium'] * 3
    assert libraries(model, row, num_beams=2) == ['medium'] * 3
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 2)
    assert libraries(model, row) == ['medium'] * 3
    monkeypatch.setattr(torch, 'get_num_threads', lambda: 1)
    assert torch.get_float32_matmul_precision() == 'medium'
    model.decoder.layers[-1].register_forward_hook(lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        libraries(model, row)
    assert torch.get_float32_matmul_precision() == 'medium'


def test_a_precision_that_the_user_set_is_kept_in_decoding(fresh):
    torch.set_float32_matmul_precision('medium')
    assert libraries(tiny.model(), tiny.row('image')) == ['medium'] * 3


@pytest.mark.parametrize('family', ['llama', 'qwen3'])  # the second has two queries to a key
@pytest.mark.parametrize('kinds', [['image'], [*tiny.ROWS]])
@pytest.mark.parametrize('cache', [None, 'static'])
def test_attention_of_one_token_is_the_same_by_plain_products(family, kinds, cache, fresh, monkeypatch):
    monkeypatch.setattr(attention, 'SMALL', 0)
    model, batch = tiny.model(family), tiny.padded([tiny.row(kind) for kind in kinds])
    arguments = dict(max_new_tokens=5, eos_token_id=None, pad_token_id=tiny.PAD, cache_implementation=cache)
    arguments |= dict(output_logits=True, return_dict_in_generate=True, do_sample=False)
    expected = model.generate(**batch, **arguments)
    products, made = attention.attend_by_products, []
    monkeypatch.setattr(attention, 'attend_by_products', lambda q, *rest: (made.append(q.shape), products(q, *rest))[1])
    torch.set_float32_matmul_precision('medium')
    found = model.generate(**batch, **arguments)
    keys = model.language_model.config.num_key_value_heads
    assert made.count((len(kinds), keys, 4 // keys, 8)) == 4 * model.language_model.config.num_hidden_layers
    assert torch.equal(found.sequences, expected.sequences)
    torch.testing.assert_close(torch.stack(found.logits), torch.stack(expected.logits), atol=2e-5, rtol=1e-4)

"""MultiModal-GPT, a base with an adapter: its published numbers against ours."""

import pytest
import torch

from mmgpt.models.adapters import adapter_parameters, unload_adapters
from tests.models.published import TOLERANCE, multimodal_gpt, numbers

CASES = [
    ('next', 'image.right', 'logits'),
    ('next', 'image.left', 'logits'),
    ('next', 'lang.right', 'logits'),
    ('next', 'lang.left', 'logits'),
    ('previous', 'image.right', 'prev1.logits'),
    ('previous', 'image.left', 'prev1.logits'),
]


@pytest.fixture(scope='module')
def stored():
    return numbers('e_mmgpt/cases')


@pytest.fixture(scope='module')
def model():
    return multimodal_gpt()


def inputs(stored, case):
    names = dict(input_ids='input_ids', attention_mask='attention_mask', pixel_values='vision_x')
    return {ours: stored[f'{case}.{theirs}'] for ours, theirs in names.items() if f'{case}.{theirs}' in stored}


@pytest.mark.parametrize(('attend', 'case', 'name'), CASES)
@torch.no_grad()
def test_logits(model, stored, attend, case, name, monkeypatch):
    monkeypatch.setattr(model.config, 'attend', attend)
    logits = model(**inputs(stored, case)).logits
    real = stored[f'{case}.attention_mask'] == 1
    torch.testing.assert_close(logits[real], stored[f'{case}.{name}'][real], atol=TOLERANCE, rtol=0)


@torch.no_grad()
def test_logits_with_the_adapter_merged(stored):
    model = multimodal_gpt('previous')
    unload_adapters(model)
    real = stored['image.right.attention_mask'] == 1
    logits = model(**inputs(stored, 'image.right')).logits
    torch.testing.assert_close(logits[real], stored['image.right.prev1.logits'][real], atol=TOLERANCE, rtol=0)


@pytest.mark.parametrize('case', ['image', 'lang'])
def test_greedy_ids(model, stored, case):
    expected = stored[f'{case}.gen_ids.cache0']
    given = inputs(stored, f'{case}.left')
    length = expected.shape[1] - given['input_ids'].shape[1]
    out = model.generate(**given, max_new_tokens=length, eos_token_id=None, pad_token_id=722)
    assert torch.equal(out, expected)


def test_the_adapter_has_the_published_size(model):
    assert sum(parameter.numel() for _, parameter in adapter_parameters(model)) == 111_104

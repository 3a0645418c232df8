"""Rows of added tokens: the same logits and gradients as an embedding and a head that are trained whole."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mmgpt.models import Flamingo
from mmgpt.models.new_tokens import train_new_rows
from tests.models import tiny

IDS = (3, 11, 12)


class Words(nn.Module):
    """An embedding and a head with something between, as small as it gets."""

    def __init__(self, tied: bool = False, bias: bool = False) -> None:
        super().__init__()
        self.embed, self.middle, self.head = nn.Embedding(13, 8), nn.Linear(8, 8), nn.Linear(8, 13, bias=bias)
        if tied:
            self.head.weight = self.embed.weight

    def get_input_embeddings(self) -> nn.Module:
        return self.embed

    def get_output_embeddings(self) -> nn.Module:
        return self.head

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.middle(self.embed(ids)).tanh())


@pytest.mark.parametrize('tied', [False, True])
@pytest.mark.parametrize('changed', [False, True])
@pytest.mark.parametrize('bias', [None, 'frozen', 'trained'])
def test_gradients_are_those_of_whole_matrices(tied, changed, bias):
    torch.manual_seed(0)
    whole = Words(tied, bias is not None)
    if bias == 'frozen':
        whole.head.bias.requires_grad_(False)
    rows = copy.deepcopy(whole)
    added = train_new_rows(rows, IDS)
    if changed:  # as after some steps: the trained rows are no longer what the frozen matrices hold
        news = torch.randn(2, len(IDS), 8)
        with torch.no_grad():
            added.rows.copy_(news[0])
            whole.embed.weight[list(IDS)] = news[0]
            if not tied:
                added.head_rows.copy_(news[1])
                whole.head.weight[list(IDS)] = news[1]
    ids, above = torch.randint(0, 13, (2, 9)), torch.randn(2, 9, 13)
    ids[0, :3] = torch.tensor(IDS)
    made = [model(ids) for model in (whole, rows)]
    assert torch.allclose(*made, atol=1e-6)
    for logits in made:
        logits.backward(above)
    assert torch.allclose(added.rows.grad, whole.embed.weight.grad[list(IDS)], atol=1e-5)
    if not tied:
        assert torch.allclose(added.head_rows.grad, whole.head.weight.grad[list(IDS)], atol=1e-5)
    assert torch.allclose(rows.middle.weight.grad, whole.middle.weight.grad, atol=1e-5)
    assert rows.embed.weight.grad is None
    assert rows.head.weight.grad is None
    if bias == 'trained':
        assert torch.allclose(rows.head.bias.grad, whole.head.bias.grad, atol=1e-5)


@pytest.mark.parametrize('family', ['gemma2', 'gemma3_text', 'phi'])
def test_embeddings_that_scale_and_heads_with_a_bias_are_trained_as_they_are_saved(family, tmp_path):
    model = tiny.model(family)
    if model.get_output_embeddings().bias is not None:
        nn.init.normal_(model.get_output_embeddings().bias)
    inputs = dict(input_ids=torch.tensor([[1, 20, 47, 21, 48, 22, 49]]), use_cache=False)
    with torch.no_grad():
        before = model(**inputs).logits
        train_new_rows(model, [47, 48, 49])
        assert torch.allclose(model(**inputs).logits, before, atol=1e-4)
        for rows in model.new_token_rows.parameters():
            rows.add_(torch.randn_like(rows))
        trained = model(**inputs).logits
    assert not torch.allclose(trained, before, atol=1e-2)
    model.save_pretrained(tmp_path)
    with torch.no_grad():
        assert torch.allclose(Flamingo.from_pretrained(tmp_path).eval()(**inputs).logits, trained, atol=1e-4)

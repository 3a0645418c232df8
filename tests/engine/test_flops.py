"""Operations are counted once, forward and backward, whatever is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from mmgpt.engine.flops import LinearFlops, peak_flops


@pytest.mark.parametrize('frozen', [(), (0,), (1,), (0, 1, 2)])
def test_it_counts_as_torch_does(frozen):
    layers = [nn.Conv2d(3, 4, 2, 2), nn.Linear(4, 8), nn.Linear(8, 2)]
    for place in frozen:
        layers[place].requires_grad_(False)

    def run():
        hidden = layers[0](torch.randn(2, 3, 8, 8)).flatten(2).transpose(1, 2)
        out = layers[2](layers[1](hidden)).sum()
        if out.requires_grad:
            out.backward()

    flops = LinearFlops(nn.ModuleList(layers))
    run()
    with FlopCounterMode(display=False) as counter:
        run()
    flops.close()
    assert flops.total == 2 * counter.get_total_flops()  # it saw both runs


def test_what_is_made_again_and_what_is_evaluated_is_not_counted():
    layer = nn.Linear(4, 4)
    flops = LinearFlops(layer)
    checkpoint(layer, torch.zeros(2, 4, requires_grad=True), use_reentrant=False).sum().backward()
    assert flops.total == 3 * 2 * 2 * 16
    layer.eval()(torch.zeros(2, 4))
    assert flops.total == 3 * 2 * 2 * 16


def test_the_peak_is_measured_where_it_is_not_known():
    assert peak_flops('cpu', 'fp32') > 1e8

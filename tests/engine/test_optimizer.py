"""Which parameters are decayed and at which rate they learn, and torch's fused kernel."""

from __future__ import annotations

import pytest

from mmgpt.engine.optimizer import build_optimizer, parameter_groups

from .standin import TinyModel


def test_norms_biases_gates_and_embeddings_are_not_decayed():
    groups = parameter_groups(TinyModel(), lr=0.1, weight_decay=0.01, lr_factors={'head.*': 0.5})
    found = {name: (group['weight_decay'], group['lr']) for group in groups for name in group['names']}
    assert found == {
        'embedding.weight': (0.0, 0.1),
        'norm.weight': (0.0, 0.1),
        'norm.bias': (0.0, 0.1),
        'attn_gate': (0.0, 0.1),
        'head.weight': (0.01, 0.05),
        'head.bias': (0.0, 0.05),
    }  # and not the frozen tower


def test_nothing_to_train_and_idle_patterns_are_refused():
    model = TinyModel()
    with pytest.raises(ValueError, match='nothing'):
        parameter_groups(model, 0.1, 0.0, lr_factors={'nothing.*': 2.0})
    with pytest.raises(ValueError, match='nothing is trained'):
        parameter_groups(model.requires_grad_(False), 0.1, 0.0)


@pytest.mark.parametrize(('options', 'fused'), [({}, True), ({'fused': False}, False), ({'foreach': True}, None)])
def test_the_fused_kernel_is_taken_unless_the_config_says_otherwise(options, fused):
    optimizer = build_optimizer({'type': 'AdamW', 'lr': 0.1, **options}, parameter_groups(TinyModel(), 0.1, 0.0))
    assert optimizer.param_groups[0]['fused'] is fused


def test_an_optimiser_without_a_fused_kernel_is_built_as_it_is():
    optimizer = build_optimizer({'type': 'RMSprop', 'lr': 0.1}, parameter_groups(TinyModel(), 0.1, 0.0))
    assert 'fused' not in optimizer.param_groups[0]

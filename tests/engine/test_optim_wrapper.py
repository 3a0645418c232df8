"""Accumulated gradients are those of the one large batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmgpt.engine import optim_wrapper
from mmgpt.engine.module import TrainedModule
from mmgpt.engine.optim_wrapper import AccumulatingOptimWrapper, faster_precision
from mmgpt.engine.optimizer import build_optimizer, load_optimizer_state, optimizer_state, parameter_groups

from .standin import Sentences, TinyModel, collate


def wrapper(model: nn.Module, counts: int, **changes) -> AccumulatingOptimWrapper:
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.0)
    wrapped = AccumulatingOptimWrapper(optimizer, accumulative_counts=counts, **{'precision': 'fp32', **changes})
    wrapped.initialize_count_status(model, 0, 100)
    wrapped.zero_grad = lambda **_: None  # keep what was stepped with
    return wrapped


def gradients(sizes: list[int], **changes) -> torch.Tensor:
    """The gradient of a step over micro-batches of these sizes, from the same twelve sentences."""
    torch.manual_seed(0)
    module = TrainedModule(TinyModel())
    rows, wrapped = [Sentences()[n] for n in range(sum(sizes))], wrapper(module, len(sizes), **changes)
    for size in sizes:
        module.train_step(collate(rows[:size]), wrapped)
        rows = rows[size:]
    return torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])


@pytest.mark.parametrize('sizes', [[4, 4, 4], [1, 2, 9], [1] * 12])
@pytest.mark.parametrize('clip', [None, {'max_norm': 0.1}])
def test_micro_batches_equal_the_large_batch(sizes, clip):
    large = gradients([12], clip_grad=clip)
    assert (gradients(sizes, clip_grad=clip) - large).norm() < 1e-6 * large.norm()


def test_the_mean_over_micro_batches_is_another_gradient_and_an_option():
    large, published = gradients([12]), gradients([1, 2, 9], reduction='batch')
    torch.manual_seed(0)
    module = TrainedModule(TinyModel())
    rows = [Sentences()[n] for n in range(12)]
    means = []
    for part in (rows[:1], rows[1:3], rows[3:]):
        module.zero_grad()
        sums = module(collate(part))
        (sums.loss_sum / sums.weight_sum).backward()
        means.append(torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None]))
    expected = torch.stack(means).mean(0)
    assert (published - expected).norm() < 1e-6 * expected.norm()
    assert (published - large).norm() > 1e-2 * large.norm()


def test_the_gradient_is_clipped_once_per_window():
    clipped = gradients([4, 4, 4], clip_grad={'max_norm': 0.1})
    assert clipped.norm() == pytest.approx(0.1, rel=1e-4)


def test_a_window_without_targets_changes_nothing():
    module = TrainedModule(TinyModel())
    before = [p.clone() for p in module.parameters()]
    optimizer = torch.optim.AdamW([p for p in module.parameters() if p.requires_grad], lr=1.0)
    wrapped = AccumulatingOptimWrapper(optimizer)
    batch = collate([Sentences()[0]])
    batch['labels'][:] = -100
    module.train_step(batch, wrapped)
    assert all(torch.equal(a, b) for a, b in zip(before, module.parameters(), strict=True))


def test_a_step_that_is_not_finite_is_left_out():
    module = TrainedModule(TinyModel())
    wrapped = AccumulatingOptimWrapper(torch.optim.SGD([p for p in module.parameters() if p.requires_grad], lr=1.0))
    with torch.no_grad():
        module.model.head.weight[0, 0] = float('nan')
    before = [p.clone() for p in module.parameters()]
    module.train_step(collate([Sentences()[0]]), wrapped)
    assert wrapped.skipped
    assert all(torch.equal(a.nan_to_num(7), b.nan_to_num(7)) for a, b in zip(before, module.parameters(), strict=True))
    with torch.no_grad():
        module.model.head.weight[0, 0] = 0.0
    module.train_step(collate([Sentences()[0]]), wrapped)
    assert not wrapped.skipped
    assert not torch.equal(before[0], next(module.parameters()))


def test_bf16_autocast_runs_the_matrix_products_in_bfloat16_and_keeps_float32_weights():
    module, seen = TrainedModule(TinyModel()), []
    module.model.head.register_forward_hook(lambda *args: seen.append(args[2].dtype))
    module.train_step(collate([Sentences()[0]]), wrapper(module, 1, precision='bf16'))
    assert seen == [torch.bfloat16]
    assert {p.dtype for p in module.parameters()} == {torch.float32}
    assert {p.grad.dtype for p in module.parameters() if p.grad is not None} == {torch.float32}


@pytest.mark.parametrize(('key', 'value'), [('precision', 'fp16'), ('reduction', 'sum'), ('accumulative_counts', 0)])
def test_a_wrong_setting_is_refused(key, value):
    with pytest.raises(ValueError, match=key):
        AccumulatingOptimWrapper(torch.optim.SGD(nn.Linear(1, 1).parameters()), **{key: value})


def test_the_optimiser_keeps_nothing_of_what_is_frozen():
    module = TrainedModule(TinyModel())
    optimizer = build_optimizer({'type': 'AdamW', 'lr': 0.1}, parameter_groups(module.model, 0.1, 0.0))
    wrapped = AccumulatingOptimWrapper(optimizer, precision='fp32')
    wrapped.initialize_count_status(module, 0, 100)
    module.train_step(collate([Sentences()[0]]), wrapped)
    trained = {p for p in module.parameters() if p.requires_grad}
    assert set(optimizer.state) == trained
    assert not any(p.grad is not None for p in module.model.tower.parameters())


@pytest.mark.parametrize(('fused', 'device'), [(True, 'meta'), (False, 'cpu')])
def test_a_resumed_step_count_lies_where_the_kernel_wants_it(fused, device):
    parameter = nn.Parameter(torch.zeros(2))
    optimizer = torch.optim.AdamW([{'params': [parameter], 'names': ['p']}], fused=fused)
    parameter.grad = torch.ones(2)
    optimizer.step()
    tensors, data = optimizer_state(optimizer)
    other = nn.Parameter(torch.zeros(2, device='meta'))
    resumed = torch.optim.AdamW([{'params': [other], 'names': ['p']}])
    load_optimizer_state(resumed, tensors, data)
    assert resumed.state[other]['step'].device.type == device
    assert resumed.state[other]['exp_avg'].device.type == 'meta'


def test_precision_is_bf16_where_the_machine_has_it(monkeypatch):
    cpu = torch.device('cpu')
    for found, precision in (({'avx512_bf16': True}, 'bf16'), ({'amx_bf16': True}, 'bf16'), ({'avx2': True}, 'fp32')):
        monkeypatch.setattr(torch.cpu, 'get_capabilities', lambda found=found: found)
        assert faster_precision(cpu) == precision
        assert wrapper(TinyModel(), 1, precision='auto').precision == precision
    for supported in (True, False):
        monkeypatch.setattr(torch.cuda, 'is_bf16_supported', lambda supported=supported, **_: supported)
        assert faster_precision(torch.device('cuda')) == ('bf16' if supported else 'fp32')


def test_a_resumed_run_keeps_the_precision_of_its_checkpoint_or_says_so(monkeypatch):
    monkeypatch.setattr(torch.cpu, 'get_capabilities', dict)
    chosen, fixed = (wrapper(TinyModel(), 1, precision=name) for name in ('auto', 'fp32'))
    assert chosen.keep_precision('fp32') is chosen.keep_precision(None) is None
    assert 'going on in bf16' in chosen.keep_precision('bf16')
    assert chosen.precision == 'bf16'
    assert 'trained in bf16, the run goes on in fp32' in fixed.keep_precision('bf16')
    assert fixed.precision == 'fp32'


def test_the_precision_is_that_of_the_device_that_computes(monkeypatch):
    """Parameters may be kept in the host's memory between their uses."""
    monkeypatch.setattr(optim_wrapper, 'faster_precision', lambda device: 'bf16' if device.type == 'meta' else 'fp32')
    sgd = torch.optim.SGD(nn.Linear(1, 1).parameters())
    for precision, expected in {'auto': 'bf16', 'fp32': 'fp32'}.items():
        wrapped = AccumulatingOptimWrapper(sgd, precision=precision)
        assert (wrapped.precision, wrapped.device.type) == ('fp32', 'cpu')
        wrapped.computes_on(torch.device('meta'))
        assert (wrapped.precision, wrapped.device.type) == (expected, 'meta')

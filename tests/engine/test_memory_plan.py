"""What is planned of memory is what a step takes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmgpt.engine.config import load_config
from mmgpt.engine.memory_plan import STRATEGIES, plan, sizes_of
from mmgpt.engine.memory_settings import meta_model, parse_memory, setting_of
from mmgpt.engine.memory_trace import plan_batch, trace_step
from mmgpt.models.layerwise import checkpoint_activations
from mmgpt.models.trainable import set_trainable
from tests.live_bytes import LiveBytes
from tests.models import tiny
from tools.analysis_tools import plan_memory

CONFIGS = Path(__file__).parents[2] / 'configs'
CASES = {
    'float32': {},
    'bfloat16': {'precision': 'bf16'},
    'made again, bfloat16': {'precision': 'bf16', 'checkpointing': True},
    'packed': {'samples': 4, 'rows': 1, 'tokens': 96},
    'video': {'frames': 3, 'images': 2},
    'text': {'images': 0, 'trainable': ['language_model']},
    'all trained': {'trainable': ['*']},
}


def built(case: dict):
    model = tiny.model().train()
    set_trainable(model, case.get('trainable', ['resampler', 'gated_blocks']))
    if case.get('checkpointing'):
        checkpoint_activations(model)
    return model


@pytest.mark.parametrize('name', CASES)
def test_the_trace_counts_what_a_step_holds(name):
    case = {'rows': 3, 'tokens': 32, **CASES[name]}
    sizes = {key: case[key] for key in ('rows', 'tokens', 'images', 'frames', 'samples') if key in case}
    precision = case.get('precision', 'fp32')
    model = built(case)
    batch = plan_batch(model, **sizes, real=True)
    with LiveBytes() as live:
        with torch.autocast('cpu', torch.bfloat16, enabled=precision == 'bf16'):
            sums = model.compute_loss(batch)
        sums.loss_sum.backward()
    with torch.device('meta'):
        other = built(case)
    step = trace_step(other, plan_batch(other, **sizes), precision, device='cpu')
    assert step.peak == pytest.approx(live.peak, rel=0.02)
    assert step.gradients == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)
    assert 0 < step.activations <= step.peak


def test_recomputing_and_half_precision_keep_less_on_a_gpu():
    with torch.device('meta'):
        model = built({})
    batch = plan_batch(model, rows=2, tokens=256)
    first = trace_step(model, batch, 'bf16').activations
    assert first < trace_step(model, batch, 'fp32').activations
    assert trace_step(model, batch, 'bf16').activations == first  # it can be traced again
    checkpoint_activations(model)
    assert trace_step(model, batch, 'bf16').activations < first


def test_shares_of_strategies_add_up():
    model = tiny.model()
    set_trainable(model, ['resampler', 'gated_blocks'])
    sizes = sizes_of(model)
    assert sizes.parameters == sum(p.nbytes for p in model.parameters())
    assert sum(unit[0] for unit in sizes.units) + sizes.between[0] == sizes.parameters
    plans = {strategy.name: [plan(sizes, strategy, 1000, n) for n in (1, 4)] for strategy in STRATEGIES}
    alone, four = plans['DDP']
    assert four.parameters == alone.parameters == sizes.parameters
    assert alone.optimizer == 2 * sizes.trained
    one, shared = plans['FSDP2']
    assert shared.parameters == one.parameters / 4
    assert shared.optimizer == one.optimizer / 4
    kept = plans['FSDP2, bfloat16, on the host'][1]
    assert kept.parameters == kept.optimizer == kept.gradients == 0
    assert kept.host - shared.host == pytest.approx(4 * (shared.parameters + shared.gradients + shared.optimizer))
    assert plans['ZeRO-2'][1].parameters == sizes.parameters


@pytest.mark.parametrize(
    ('text', 'size'), [('24GiB', 24 * 2**30), ('80 GB', 80 * 10**9), ('1.5kib', 1536), ('512', 512)]
)
def test_sizes_of_memory(text, size):
    assert parse_memory(text) == size
    with pytest.raises(ValueError, match='24GiB'):
        parse_memory(f'{text}?')


def test_the_setting_is_that_of_the_config():
    cfg = load_config(CONFIGS / 'otter_mimicit.py')
    setting = setting_of(cfg, images=None, samples=3)
    assert (setting.rows, setting.tokens, setting.samples, setting.images) == (1, 1344, 3, 3)
    model = meta_model(cfg)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 1_441_003_536
    assert {p.device.type for p in model.parameters()} == {'meta'}


def test_the_tool_plans_a_config_and_says_what_to_set(tmp_path, capsys):
    arguments = [str(CONFIGS / 'otter_demo.py'), '--gpus', '2', '--rows', '4', '--precision', 'bf16']
    assert plan_memory.main([*arguments, '--gpu-memory', '2GiB', '--json', str(tmp_path / 'new' / 'plan.json')]) == 0
    shown = capsys.readouterr().out
    assert 'The fastest that fits: DDP' in shown
    assert 'one more row' in shown
    plans = json.loads((tmp_path / 'new' / 'plan.json').read_text())
    assert len(plans['plans']) == 2 * len(STRATEGIES)
    for one in plans['plans']:
        parts = ('parameters', 'gradients', 'optimizer', 'buffers', 'activations', 'reserve')
        assert one['peak'] == pytest.approx(sum(one[part] for part in parts))
    assert plan_memory.main([*arguments, '--gpu-memory', '1MiB']) == 1
    assert 'Nothing fits' in capsys.readouterr().out
    assert plan_memory.main([*arguments, '--gpu-memory', 'much']) == 2


@pytest.mark.parametrize(
    ('option', 'value', 'least'),
    [('--gpus', 0, 1), ('--gpus-per-machine', 0, 1), ('--rows', 0, 1), ('--samples', 0, 1), ('--images', -1, 0)],
)
def test_a_number_that_cannot_be_is_one_message_and_code_2(capsys, option, value, least):
    assert plan_memory.main([str(CONFIGS / 'otter_demo.py'), option, str(value)]) == 2
    assert capsys.readouterr().err == f'plan_memory: {option} must be at least {least}, got {value}\n'

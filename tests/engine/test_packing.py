"""Packed training equals training with one sample a row, on the whole way from annotation files to gradients."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from mmengine import Config

from mmgpt.data.builder import build_dataloader
from mmgpt.data.prompter import Prompter
from mmgpt.data.templates import Otter
from mmgpt.data.vision_inputs import ImageTransform
from mmgpt.engine import build
from mmgpt.models.language_decoders.causal_lm import packed_inputs
from mmgpt.structures import GROUPS
from tests.models import tiny

ROW = 150


@pytest.fixture
def loader(mimicit, tokenizer):
    """Packed rows of texts, pictures, several pictures (of the context) and videos, some of them with less weight."""
    files = {name: str(mimicit / f'XX_{name}.json') for name in ('instructions', 'train')}
    text = dict(type='MimicIt', **files)
    common = dict(text, images=str(mimicit / 'XX.parquet'), max_frames=4)
    sources = [
        dict(common, retriever=dict(type='RelatedInstructions', num=(1, 2))),
        dict(common, marks='first', kind='video', loss_weight=0.5),
        dict(text, name='text'),
    ]
    sampler = dict(type='PackingSampler', row_length=ROW, window=16)
    cfg = dict(batch_size=4, dataset=dict(sources=sources, max_seq_len=90), sampler=sampler)
    return build_dataloader(cfg, Prompter(Otter(), tokenizer, ImageTransform(tiny.SIZE)))


def model(family, tokenizer, **changes):
    text = dict(tiny.TEXT[family], model_type=family, vocab_size=len(tokenizer), pad_token_id=None) | changes
    if family == 'mpt':
        text['max_seq_len'] = 256
    return tiny.model(family, text_config=text, media_token_id=tokenizer.convert_tokens_to_ids('<image>'))


def numbered(batch):
    """The batch with its samples as so many kinds, so that the loss of each is told."""
    exists = batch['kinds'] >= 0
    numbers = torch.full_like(batch['kinds'], -1)
    numbers[exists] = torch.arange(int(exists.sum()))
    return {**batch, 'kinds': numbers}


def losses_and_gradients(model, batch):
    sums = model.compute_loss(numbered(batch))
    model.zero_grad(set_to_none=True)
    sums.loss_sum.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return sums.kind_losses / sums.kind_counts.clamp(min=1), gradients


# Besides windows of 4 tokens (tiny.TEXT): some that reach over the borders of samples, in all layers or in some.
WINDOWS = {
    'mistral': dict(sliding_window=70),
    'qwen3': dict(use_sliding_window=True, sliding_window=40, max_window_layers=2),
    'gemma3_text': dict(sliding_window=40, layer_types=['sliding_attention', 'full_attention'] * 2),
}


@pytest.mark.parametrize(
    ('family', 'changes'), [*((family, {}) for family in (*tiny.FAMILIES, *tiny.FURTHER)), *WINDOWS.items()]
)
def test_packed_training_equals_one_sample_a_row(family, changes, loader, tokenizer):
    rows = next(iter(loader.batch_sampler))
    samples = [address for row in rows for address in row]
    packed, single = (loader.collate_fn(loader.dataset.__getitems__(batch)) for batch in (rows, samples))
    assert packed['input_ids'].shape[0] < single['input_ids'].shape[0] == len(samples) <= len(GROUPS)
    assert packed['input_ids'].shape[1] <= ROW
    assert set(single['kinds'].flatten().tolist()) == {0, 1, 2}
    media = (single['media_frames'] >= 0).any(-1).sum(1)
    assert {0, 1} < set(media.tolist())
    assert set(single['loss_weights'].unique().tolist()) == {0, 0.5, 1}

    made = model(family, tokenizer, **changes)
    assert not changes or getattr(made.language_model.config, 'sliding_window', None) == changes['sliding_window']
    losses, gradients = losses_and_gradients(made, packed)
    expected_losses, expected = losses_and_gradients(made, single)
    assert (losses - expected_losses).abs().max() <= 1e-5 * expected_losses.abs().max()
    assert gradients.keys() == expected.keys()
    rounding = 1e-7 * max(gradient.norm() for gradient in expected.values())  # all that a bias of keys has
    for name, gradient in gradients.items():
        assert (gradient - expected[name]).norm() <= 1e-4 * expected[name].norm() + rounding, name


def test_a_language_model_that_cannot_pack_is_refused_before_the_run():
    class Model(torch.nn.Module):
        decoder = SimpleNamespace(traits=SimpleNamespace(packing=None), lm=torch.nn.Identity())

    with pytest.raises(ValueError, match=r'Identity cannot keep the samples.*LengthGroupedSampler'):
        build._check_packing(Model(), Config(), planned=True)
    with pytest.raises(ValueError, match=r'Identity cannot keep the samples.*padding_free'):
        build._check_packing(Model(), Config(), planned=False)
    Model.decoder.traits.packing = 'positions'
    build._check_packing(Model(), Config(), planned=True)
    with pytest.raises(ValueError, match="reduction='batch' takes the mean of each batch"):
        build._check_packing(Model(), Config({'reduction': 'batch'}), planned=True)
    build._check_packing(Model(), Config({'reduction': 'batch'}), planned=False)


def test_flash_attention_is_refused_where_it_would_mix_the_samples():
    lm = SimpleNamespace(config=SimpleNamespace(_attn_implementation='flash_attention_2'))
    segments = torch.tensor([[1, 1, 2, 2, 2], [1, 2, 2, 0, 0]])
    with pytest.raises(ValueError, match=r'only row, and this batch has 2: set batch_size=1'):
        packed_inputs('positions', segments, None, segments, lm)
    positions = packed_inputs('positions', segments[:1], None, segments[:1], lm)['position_ids']
    assert positions.tolist() == [[0, 1, 0, 1, 2]]


def test_rows_that_an_mpt_is_not_made_for(loader, tokenizer):
    made = model('mpt', tokenizer)
    made.language_model.config.max_seq_len = 64
    with pytest.raises(ValueError, match=r'made for rows of 64 tokens.*rows of 1\d\d: lower row_length'):
        made.compute_loss(next(iter(loader)))


@pytest.mark.parametrize('rows', [1, 2])
def test_learning_rates_are_scaled_by_samples_not_rows(loader, rows):
    from mmgpt.engine.runner import Runner

    loader.batch_sampler.batch_size = rows
    group = {'lr': 1.0}
    wrapper = SimpleNamespace(accumulative_counts=2, optimizer=SimpleNamespace(param_groups=[group]))
    runner = SimpleNamespace(_train_dataloader=loader)
    Runner.scale_lr(runner, wrapper, dict(enable=True, base_batch_size=4))
    samples = 16 / len(loader.batch_sampler._planned(0)) * rows
    assert samples > 1.5 * rows
    assert group['lr'] == pytest.approx(2 * samples / 4)

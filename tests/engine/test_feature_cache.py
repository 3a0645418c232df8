"""A run with a feature cache is the run without: in its losses, when resumed, and in what it refuses."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from mmgpt.data.image_stores import base
from mmgpt.engine.build import build_parts, build_runner
from mmgpt.engine.config import ConfigError, load_config
from mmgpt.engine.frozen_features import FrozenFeatures, require_cacheable, state_digest

from .project import write_project
from .test_resume import logged, run

AUGMENT = "augment=[dict(type='RandomAffine', degrees=20.0)],"
VIDEO = "kind='video', max_frames=2,"


@pytest.fixture
def project(tmp_path) -> Path:
    return write_project(tmp_path / 'project', replacements={AUGMENT: ''})


def train(path: Path, name: str, *, stop_after=None, cache=None, options=(), **changes):
    """Train 7 iterations; weights, logged figures, and how many frames were encoded of how many."""
    cfg = load_config(path, ['default_hooks.checkpoint.interval=3', 'train_cfg.max_iters=7', *options])
    work_dir = path.parent.parent / name
    cfg.merge_from_dict({'work_dir': str(work_dir), **changes})
    if cache:
        cfg.feature_cache = {'folder': str(path.parent.parent / 'features'), **cache}
    runner = build_runner(cfg)
    run(runner, stop_after)
    hook = next((hook for hook in runner.hooks if type(hook).__name__ == 'FeatureCacheHook'), None)
    counts = None if hook is None else (hook.features.encoded, hook.features.asked)
    return dict(runner.bare_model.state_dict()), logged(work_dir), counts


def largest_difference(weights, others) -> float:
    return max(float((weights[name].float() - others[name].float()).abs().max()) for name in weights)


def same(weights, others) -> bool:
    return all(torch.equal(weights[name], others[name]) for name in weights)


@pytest.mark.parametrize('workers', [0, 2])
def test_training_is_the_same_with_a_cache_and_from_it(project, workers):
    workers = f'train_dataloader.num_workers={workers}'
    plain, figures, _ = train(project, 'plain')
    first, first_figures, (encoded, asked) = train(project, 'first', cache={'max_size': '20MB'}, options=[workers])
    second, second_figures, (again, asked_again) = train(project, 'second', cache={'max_size': '20MB'})
    assert 0 < encoded <= 5 < asked == asked_again  # there are five different pictures
    assert again == 0
    assert same(first, second)
    assert first_figures == second_figures
    # the encoder ran on other batches of frames, which moves its last bits
    assert largest_difference(plain, first) < 1e-5
    assert first_figures.keys() == figures.keys()
    assert all(first_figures[step]['loss'] == pytest.approx(figures[step]['loss'], abs=1e-5) for step in figures)


def test_features_that_are_kept_are_bit_for_bit_those_that_are_made(project, tmp_path):
    """Where the encoder runs on the same frames, no bit differs between uncached, first and later losses."""
    parts = build_parts(load_config(project))
    plain = next(iter(parts.dataloader))
    encoder, settings = parts.model.vision_encoder, parts.model.config.vision_encoder
    features = FrozenFeatures(encoder, settings, parts.dataloader.dataset, tmp_path / 'f', '5MB')
    first = next(iter(parts.dataloader))
    features.complete(first)
    second = next(iter(parts.dataloader))
    assert 'frames' not in second
    features.complete(second)
    assert (features.encoded, features.asked) == (len(plain['frames']), 2 * len(plain['frames']))
    parts.model.eval()
    losses = [parts.model.compute_loss(batch).loss_sum.item() for batch in (plain, first, second)]
    assert losses[0] == losses[1] == losses[2]
    mixed = {**plain, 'frames': plain['frames'][1:], 'vision_features': first['vision_features'][:1]}
    assert parts.model.compute_loss(mixed).loss_sum.item() == pytest.approx(losses[0], rel=1e-6)  # the model takes both


def test_a_run_that_is_killed_and_resumed_is_the_same_bit_for_bit(tmp_path):
    def two(name):
        return write_project(tmp_path / name / 'project', replacements={AUGMENT: ''})

    cache = {'max_size': '20MB'}
    whole, figures, _ = train(two('a'), 'run', cache=cache)
    cut = two('b')
    train(cut, 'run', cache=cache, stop_after=5, options=['train_dataloader.num_workers=2'])
    resumed, resumed_figures, _ = train(cut, 'run', cache=cache, resume=True)
    assert same(whole, resumed)
    assert figures == resumed_figures


def test_adapters_videos_packing_compile_and_half_precision(tmp_path):
    replacements = {
        AUGMENT: VIDEO,
        "trainable=['resampler', 'gated_blocks', 'language_model'],\n    train_embeddings='all'": (
            "adapter=dict(type='LoRA', slots=['self_attention', 'cross_attention'], r=2)"
        ),
        "dict(type='MixtureSampler', shuffle=True)": "dict(type='PackingSampler', row_length=128, window=8)",
    }
    try:
        path = write_project(tmp_path / 'project', replacements=replacements)
        load_config(path)
    except ConfigError as error:
        pytest.fail(str(error))
    options = ["optim_wrapper.precision='bf16'", "compile={'backend': 'eager'}"]
    cache = {'max_size': '20MB', 'dtype': 'bfloat16'}
    first, first_figures, (encoded, _) = train(path, 'first', cache=cache, options=options)
    second, second_figures, (again, _) = train(path, 'second', cache=cache, options=options)
    assert encoded > 0 == again
    assert same(first, second)  # what is used at once is rounded as what is kept
    assert first_figures == second_figures
    train(path, 'other', cache=cache)
    assert len(list((tmp_path / 'features').glob('*/identity.json'))) == 2  # another precision, other features


def test_a_full_cache_is_told_once_and_changes_nothing(project, caplog):
    plain, _, _ = train(project, 'plain')
    with caplog.at_level(logging.WARNING):
        full, _, (encoded, _) = train(project, 'full', cache={'max_size': '9KB'})
    assert encoded > 5
    assert largest_difference(plain, full) < 1e-5
    path = next((project.parent.parent / 'full').glob('*/*.log'))
    assert path.read_text().count('is used up') == 1


def test_kept_pictures_are_not_decoded(project, monkeypatch):
    train(project, 'first', cache={'max_size': '20MB'}, options=['train_cfg.max_iters=12'])
    monkeypatch.setattr(base, 'open_picture', None)
    train(project, 'second', cache={'max_size': '20MB'}, options=['train_cfg.max_iters=12'])


def test_what_cannot_be_kept_is_refused_before_anything_is_built(tmp_path):
    path = write_project(tmp_path, replacements={"['resampler', ": "['vision_encoder', "})
    path.write_text(path.read_text() + "feature_cache = dict(folder='features', max_size='2 apples')\n")
    with pytest.raises(ConfigError) as caught:
        load_config(path)
    assert 'augment' in str(caught.value)
    assert '20GiB' in str(caught.value)
    text = path.read_text().replace('2 apples', '2GB').replace(AUGMENT, '')
    path.write_text(text)
    with pytest.raises(ConfigError, match='trains the vision encoder'):
        load_config(path)
    path.write_text(text.replace("['vision_encoder', ", "['resampler', ").replace('max_size=', 'maxsize='))
    with pytest.raises(ConfigError, match="did you mean 'max_size'"):
        load_config(path)


def test_what_cannot_be_kept_is_refused_where_it_is_built(project, tmp_path):
    parts = build_parts(load_config(project))
    encoder, dataset = parts.model.vision_encoder, parts.dataloader.dataset
    require_cacheable(encoder, dataset)
    next(encoder.parameters()).requires_grad_(True)
    with pytest.raises(ValueError, match='trained'):
        require_cacheable(encoder, dataset)
    encoder.requires_grad_(False)
    encoder.add_module('drop', torch.nn.Dropout(0.1))
    with pytest.raises(ValueError, match=r'drop drops 0\.1'):
        require_cacheable(encoder, dataset)
    del encoder.drop
    encoder.tower.config.attention_dropout = 0.5
    for module in encoder.modules():
        if hasattr(module, 'dropout'):
            module.dropout = 0.5
    with pytest.raises(ValueError, match='in training than in evaluation'):
        FrozenFeatures(encoder, {}, dataset, tmp_path / 'features')


def test_an_encoder_is_known_by_its_weights(project):
    encoder = build_parts(load_config(project)).model.vision_encoder
    before = state_digest(encoder)
    assert before == state_digest(encoder)
    parameter = list(encoder.parameters())[-1]
    parameter.data.view(-1)[-1] += 1e-6
    assert state_digest(encoder) != before
    assert state_digest(encoder.half()) != state_digest(encoder.float())

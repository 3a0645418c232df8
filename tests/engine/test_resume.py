"""A run that is stopped anywhere and resumed is the run that was never stopped, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmgpt.engine.build import build_parts, build_runner
from mmgpt.engine.config import load_config
from mmgpt.engine.runner import Runner

from .project import write_project
from .standin import TinyModel, config, loader


def train(work_dir: Path, stop_after: int | None = None, **changes) -> tuple[dict, dict]:
    """Train, and give the weights and the logged figures; ``stop_after`` leaves the run as a kill would."""
    cfg = config(work_dir, **changes)
    torch.manual_seed(0)
    runner = Runner(TinyModel(dropout=0.3), None, loader(num_workers=cfg.get('workers', 0)), cfg)
    run(runner, stop_after)
    return dict(runner.bare_model.state_dict()), logged(work_dir)


def run(runner: Runner, stop_after: int | None) -> None:
    """Train; ``stop_after`` iterations of it leave the run as a kill would."""
    if stop_after is None:
        runner.train()
        return
    run_iter = runner.train_loop.run_iter

    def killed(batch):
        if runner.iter == stop_after:
            raise KeyboardInterrupt
        run_iter(batch)

    runner.train_loop.run_iter = killed
    with pytest.raises(KeyboardInterrupt):
        runner.train()


def logged(work_dir: Path) -> dict[int, dict[str, float]]:
    entries = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            kept = {k: v for k, v in entry.items() if k in ('loss', 'loss/text', 'lr', 'grad_norm')}
            entries.setdefault(entry['step'], {}).update(kept)
    return entries


@pytest.mark.parametrize(('interval', 'stop'), [(1, 1), (1, 4), (2, 5), (5, 6), (3, 3)])
def test_resumed_is_uninterrupted(tmp_path, interval, stop):
    hooks = {'default_hooks.checkpoint': {'type': 'CheckpointHook', 'interval': interval}}
    weights, figures = train(tmp_path / 'whole', **hooks)
    train(tmp_path / 'cut', stop_after=stop, **hooks)
    resumed, resumed_figures = train(tmp_path / 'cut', resume=True, **hooks)

    assert all(torch.equal(weights[name], resumed[name]) for name in weights)
    assert resumed_figures == figures


@pytest.mark.parametrize('embeddings', ["'all'", "'new'", 'None'])
def test_a_real_model_resumes_whatever_of_its_embeddings_is_trained(tmp_path, embeddings):
    replacements = {"train_embeddings='all'": f'train_embeddings={embeddings}'}
    if embeddings != "'all'":
        replacements["trainable=['resampler', 'gated_blocks', 'language_model']"] = (
            "trainable=['resampler', 'gated_blocks', 'language_model.model.layers']"
        )
    path = write_project(tmp_path / 'project', replacements=replacements)

    def weights(name: str, stop_after: int | None = None, **changes) -> dict[str, torch.Tensor]:
        cfg = load_config(path, ['default_hooks.checkpoint.interval=4', 'train_cfg.max_iters=7'])
        cfg.merge_from_dict({'work_dir': str(tmp_path / name), **changes})
        runner = build_runner(cfg)
        run(runner, stop_after)
        return dict(runner.bare_model.state_dict())

    before = dict(build_parts(load_config(path)).model.state_dict())
    whole = weights('whole')
    weights('cut', stop_after=5)
    resumed = weights('cut', resume=True)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    changed = {name for name in whole if not torch.equal(whole[name], before[name])}
    assert ('language_model.model.embed_tokens.weight' in changed) == (embeddings != 'None')
    assert not any(name.startswith('vision_encoder') for name in changed)


@pytest.mark.parametrize('option', ["compile = {'backend': 'eager'}", 'gradient_checkpointing = {"every": 1}'])
def test_speed_options_change_nothing_of_a_run(tmp_path, option):
    def weights(name: str, more: str) -> dict[str, torch.Tensor]:
        path = write_project(tmp_path / f'{name}_project')
        path.write_text(path.read_text() + more)
        cfg = load_config(path, ['train_cfg.max_iters=4', 'default_hooks.samples=None'])
        cfg.merge_from_dict({'work_dir': str(tmp_path / name)})
        runner = build_runner(cfg)
        runner.train()
        return dict(runner.bare_model.state_dict())

    plain, optional = weights('plain', ''), weights('optional', f'{option}\n')
    assert all(torch.allclose(plain[name], optional[name], atol=1e-6) for name in plain)


def test_options_of_the_config_that_do_not_hold_are_told(tmp_path, capsys):
    def warned(**changes) -> str:
        cfg = config(tmp_path, **{'resume': True, **changes})
        Runner(TinyModel(), None, loader(), cfg).train()
        return capsys.readouterr().out

    assert 'a resumed run keeps' not in warned(**{'train_cfg.max_iters': 7})
    assert 'a resumed run keeps' not in warned(**{'train_cfg.max_iters': 7})
    changes = {
        'optim_wrapper.optimizer.lr': 0.5,
        'optim_wrapper.optimizer.weight_decay': 0.25,
        'optim_wrapper.optimizer.betas': (0.8, 0.9),
    }
    log = warned(**changes, param_scheduler=[{'type': 'LinearLR', 'start_factor': 0.1, 'end': 2}, COSINE])
    for told in (
        'lr 0.01 (the config has 0.5)',
        'weight_decay 0.1 (the config has 0.25)',
        'betas [0.9, 0.999] (the config has [0.8, 0.9])',
        'T_max 5 (the config has 9)',
        "load_from='",
    ):
        assert told in log
    assert 'base_values' not in log
    assert log.count('lr 0.01') == 1


COSINE = {'type': 'CosineAnnealingLR', 'T_max': 9, 'begin': 2}

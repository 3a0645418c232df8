"""A run that is stopped anywhere and resumed is the run that was never stopped, bit for bit."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from mmgpt.engine.runner import Runner

from .standin import TinyModel, config, loader


def train(work_dir: Path, stop_after: int | None = None, **changes) -> tuple[dict, dict]:
    """Train, and give the weights and the logged figures; ``stop_after`` leaves the run as a kill would."""
    cfg = config(work_dir, **changes)
    torch.manual_seed(0)
    runner = Runner(TinyModel(dropout=0.3), None, loader(num_workers=cfg.get('workers', 0)), cfg)
    if stop_after is not None:
        run_iter = runner.train_loop.run_iter

        def killed(batch):
            if runner.iter == stop_after:
                raise KeyboardInterrupt
            run_iter(batch)

        runner.train_loop.run_iter = killed
        with pytest.raises(KeyboardInterrupt):
            runner.train()
    else:
        runner.train()
    return dict(runner.bare_model.state_dict()), logged(work_dir)


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

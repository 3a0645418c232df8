"""What is logged is what happened, and looking does not change the training."""

from __future__ import annotations

import io
import random
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.logging import MessageHub

from mmgpt.engine.hooks.curves import draw_curves, read_scalars
from mmgpt.engine.hooks.gates import gate_values
from mmgpt.engine.hooks.logger import LoggerHook
from mmgpt.engine.hooks.progress import figures_text
from mmgpt.engine.hooks.samples import question
from mmgpt.engine.hooks.unreadable import UnreadableHook
from mmgpt.engine.module import evaluating
from mmgpt.engine.runner import Runner
from mmgpt.engine.state import (
    load_message_hub_state,
    message_hub_state,
    plain,
    rng_state,
    untouched_rng,
)
from mmgpt.models.loss import LossSums
from mmgpt.structures import GROUPS, Unreadable

from .standin import TinyModel, config, loader

IMAGE = 99


def draws() -> tuple:
    return random.random(), np.random.rand(), np.random.randn(), torch.rand(1).item()


def test_random_state_survives_saving_and_looking(tmp_path):
    np.random.randn()  # leaves a second normal number in the cache
    torch.save(rng_state(), tmp_path / 'rng.pt')
    with untouched_rng():
        expected = draws()
    assert draws() == expected
    from mmgpt.engine.state import load_rng_state

    load_rng_state(torch.load(tmp_path / 'rng.pt', weights_only=True))
    assert draws() == expected


def test_the_message_hub_survives_a_safe_load(tmp_path):
    hub, other = MessageHub.get_instance('hub_a'), MessageHub.get_instance('hub_b')
    for value in (3.0, 1.0, 2.0):
        hub.update_scalar('train/loss', value)
    hub.update_info('note', {'when': np.float64(1.5), 'what': [np.int64(2)]})
    torch.save(message_hub_state(hub), tmp_path / 'hub.pt')
    load_message_hub_state(other, torch.load(tmp_path / 'hub.pt', weights_only=True))
    assert other.get_scalar('train/loss').mean(2) == 1.5
    assert other.get_info('note') == {'when': 1.5, 'what': [2]}


def test_what_is_not_plain_is_refused():
    assert plain({'a': (np.float32(1), [np.arange(2)])})['a'][1][0].tolist() == [0, 1]
    with pytest.raises(TypeError, match='plain data'):
        plain({'a': object()})


def test_the_question_is_the_row_up_to_its_last_answer():
    #      context: mark, question, answer, end | query: mark, question, answer, end | a second sample | pad
    ids = torch.tensor([[IMAGE, 1, 2, 3, IMAGE, 4, 5, 6, 7, 8, 0]])
    labels = torch.tensor([[-100, -100, 2, 3, -100, -100, 5, 6, -100, 8, -100]])
    batch = {
        'input_ids': ids,
        'labels': labels,
        'segment_ids': torch.tensor([[1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 0]]),
        'media_frames': torch.tensor([[[0, 1], [1, -1]]]),
        'frames': torch.arange(2 * 3).view(2, 3, 1, 1),
    }
    prompt, expected = question(batch, 0, IMAGE)
    assert prompt['input_ids'].tolist() == [[IMAGE, 1, 2, 3, IMAGE, 4]]
    assert expected.tolist() == [5, 6]
    assert prompt['pixel_values'].shape == (1, 2, 2, 3, 1, 1)
    assert torch.equal(prompt['pixel_values'][0, 1, 0], batch['frames'][1])
    assert prompt['frame_mask'].tolist() == [[[True, True], [True, False]]]


def test_evaluating_restores_every_module_even_after_an_error():
    model = TinyModel()
    model.train()
    model.tower.eval()
    with suppress(KeyError), evaluating(model):
        assert not any(module.training for module in model.modules())
        raise KeyError
    assert model.training
    assert not model.tower.training


def test_logged_loss_is_the_mean_over_the_tokens_of_the_interval(tmp_path):
    class Collector:
        """Adds up what the log should say."""

        def __init__(self):
            self.loss = self.weight = 0.0

    seen, collected = [], Collector()
    runner = Runner(TinyModel(), None, loader(), config(tmp_path))
    step = runner.model.train_step

    def watched(batch, optim_wrapper):
        outputs = step(batch, optim_wrapper)
        collected.loss += outputs['sums'].loss_sum.item()
        collected.weight += outputs['sums'].weight_sum.item()
        if (runner.iter + 1) % 2 == 0:
            seen.append(collected.loss / collected.weight)
            collected.loss = collected.weight = 0.0
        return outputs

    runner.model.train_step = watched
    runner.train()
    logged = read_scalars([tmp_path / name / 'vis_data' / 'scalars.json' for name in runner.log_dirs])
    assert [logged['loss'][step] for step in (2, 4, 6)] == pytest.approx(seen, rel=1e-6)
    assert logged['tokens_per_second'][7] > 0
    assert logged['gates/attn'][7] == pytest.approx(gate_values(runner.bare_model)['gates/attn'])


def test_a_line_that_a_kill_has_cut_costs_itself_alone(tmp_path):
    lines = ['{"loss": 3.0, "step": 1}', '{"loss": 2.5, "st', '{"loss": 2.0, "step": 3}', '{"loss": 1.5']
    (tmp_path / 'scalars.json').write_text('\n'.join(lines))
    assert read_scalars([tmp_path / 'scalars.json']) == {'loss': {1: 3.0, 3: 2.0}}


def test_the_bar_of_a_run_that_ends_early_shows_the_cursor_again(tmp_path, monkeypatch):
    shown = io.StringIO()
    monkeypatch.setattr(shown, 'isatty', lambda: True)
    monkeypatch.setenv('TERM', 'xterm')
    monkeypatch.setattr('sys.stdout', shown)
    runner = Runner(TinyModel(), None, loader(), config(tmp_path))
    step = runner.model.train_step

    def fails(batch, optim_wrapper):
        if runner.iter == 2:
            raise KeyboardInterrupt
        return step(batch, optim_wrapper)

    runner.model.train_step = fails
    with pytest.raises(KeyboardInterrupt):
        runner.train()
    hides, shows = '\x1b[?25l', '\x1b[?25h'
    assert shown.getvalue().count(hides) == shown.getvalue().count(shows) > 0


def test_the_learning_rate_follows_the_schedule_per_iteration(tmp_path):
    runner = Runner(TinyModel(), None, loader(), config(tmp_path, **{'default_hooks.logger.interval': 1}))
    runner.train()
    logged = read_scalars([tmp_path / name / 'vis_data' / 'scalars.json' for name in runner.log_dirs])['lr']
    rates = [logged[step] for step in range(1, 8)]
    assert rates[0] == pytest.approx(0.001)
    assert rates[2] == pytest.approx(0.01)
    assert rates == sorted(rates[:3]) + sorted(rates[3:], reverse=True)


@pytest.mark.parametrize('factors', [{'attn_gate': 0.1}, {'attn_gate': 0.0, '*': 0.1}])
def test_the_logged_learning_rate_is_that_without_factors(tmp_path, factors):
    runner = Runner(TinyModel(), None, loader(), config(tmp_path, **{'optim_wrapper.lr_factors': factors}))
    runner.train()
    logged = read_scalars([tmp_path / name / 'vis_data' / 'scalars.json' for name in runner.log_dirs])['lr']
    assert logged[2] == pytest.approx(0.01)


def test_a_run_shorter_than_its_warm_up_leaves_the_later_scheduler_out(tmp_path):
    runner = Runner(TinyModel(), None, loader(), config(tmp_path, **{'train_cfg.max_iters': 2}))
    runner.train()
    assert [type(scheduler).__name__ for scheduler in runner.param_schedulers] == ['LinearLR']


def test_console_line_and_curves(tmp_path):
    text = figures_text(
        {'loss': 0.5, 'loss/video': 0.25, 'lr': 1e-3, 'tokens_per_second': 12345.0, 'samples_per_second': 9.0}
    )
    assert text == 'loss 0.500 (video 0.250)  lr 1.0e-03  12,345 tokens/s  9 samples/s'
    draw_curves({'loss': {1: 2.0, 2: 1.0}, 'gates/0.attn': {2: 0.1}}, tmp_path / 'curves.png')
    assert (tmp_path / 'curves.png').stat().st_size > 1000
    draw_curves({}, tmp_path / 'none.png')
    assert not (tmp_path / 'none.png').exists()


def test_a_stopped_run_saves_its_last_iteration(tmp_path):
    runner = Runner(TinyModel(), None, loader(), config(tmp_path))
    hook = SimpleNamespace(
        priority=50, after_train_iter=lambda r, **_: setattr(r.train_loop, 'stop_training', r.iter == 3)
    )
    runner._hooks.insert(0, hook)
    runner.train()
    assert [p.name for p in runner.checkpoint_root.iterdir()] == ['iter_000004']


def test_a_resumed_process_counts_what_it_met_itself(tmp_path, monkeypatch):
    of_rank = [[Unreadable('a', index, 0, 'cut', 'b') for index in indices] for indices in ((0, 1), (2, 3))]
    met = [{(one.source, one.index): one for one in found} for found in of_rank]
    runner = SimpleNamespace(work_dir=tmp_path, iter=0, logger=SimpleNamespace(warning=lambda message: None))
    saved, new = {}, [{'unreadable': [Unreadable('a', index, 0, 'cut', 'b')]} for index in (4, 5)]
    monkeypatch.setattr('mmgpt.engine.hooks.unreadable.all_gather_object', lambda own: met)
    UnreadableHook(limit=3).before_save_checkpoint(runner, saved)

    hook = UnreadableHook(limit=3)
    monkeypatch.setattr('mmgpt.engine.hooks.unreadable.get_world_size', lambda: 2)
    monkeypatch.setattr('mmgpt.engine.hooks.unreadable.get_rank', lambda: 1)
    hook.after_load_checkpoint(runner, plain(saved))
    assert list(hook.found.values()) == of_rank[1]
    hook.after_train_iter(runner, 0, new[0])
    with pytest.raises(ValueError, match='4 samples cannot be read'):
        hook.after_train_iter(runner, 0, new[1])
    monkeypatch.setattr('mmgpt.engine.hooks.unreadable.all_gather_object', lambda own: [{}, {}])
    hook.before_save_checkpoint(runner, saved)
    assert [one[1] for one in saved['unreadable']] == [0, 1, 2, 3]  # those of all, whoever met them

    monkeypatch.setattr('mmgpt.engine.hooks.unreadable.get_world_size', lambda: 1)
    for older in ({'unreadable': saved['unreadable']}, {}):
        hook.after_load_checkpoint(runner, older)
        assert len(hook.found) == len(older.get('unreadable', ()))


def test_losses_are_logged_apart_by_kind_and_language(tmp_path):
    def sums(cells):
        losses, counts = torch.zeros(len(GROUPS)), torch.zeros(len(GROUPS))
        for group, (loss, count) in cells.items():
            losses[GROUPS.index(group)], counts[GROUPS.index(group)] = loss, count
        return LossSums(losses.sum(), counts.sum(), losses, counts, counts.sum())

    written = {}
    runner = SimpleNamespace(
        iter=0,
        max_iters=2,
        figures={},
        cfg={},
        log_dir=tmp_path,
        log_dirs=[tmp_path.name],
        train_loop=SimpleNamespace(data_seconds=0.0),
        optim_wrapper=SimpleNamespace(optimizer=SimpleNamespace(param_groups=[{'lr': 1.0}]), grad_norm=None),
        visualizer=SimpleNamespace(add_scalars=lambda figures, step: written.update(figures)),
        message_hub=SimpleNamespace(update_scalar=lambda *_: None),
    )
    hook = LoggerHook(interval=10, mfu=False)
    hook.before_train(runner)
    for cells in ({('text', ''): (4.0, 2), ('image', 'zh'): (3.0, 3)}, {('text', 'zh'): (9.0, 1)}):
        hook.after_train_iter(runner, runner.iter, outputs={'sums': sums(cells), 'samples': 1})
        runner.iter += 1
    apart = {name: value for name, value in written.items() if name.startswith('loss/')}
    assert apart == {'loss/text': 13 / 3, 'loss/image': 1.0, 'loss/zh': 3.0}

"""The benchmark of time to quality, in small."""

import importlib.util
import json
import math
from pathlib import Path

import pytest
from transformers import AutoTokenizer

PATH = Path(__file__).parents[2] / 'benchmarks' / 'time_to_quality.py'
SMALL = dict(episodes=80, size=40)  # of the data


@pytest.fixture(scope='module')
def benchmark():
    pytest.importorskip('sklearn')
    pytest.importorskip('matplotlib')
    spec = importlib.util.spec_from_file_location('benchmark_time_to_quality', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_both_train_from_the_same_loss_and_are_scored(benchmark, tmp_path, capsys):
    figures, plot = tmp_path / 'figures.json', tmp_path / 'plot.png'
    options = '--one-by-one --seeds 0 --every 1 --iterations 2 --episodes 4 --target 0 --give-up 100'
    named = ['--data', str(tmp_path / 'data'), '--json', str(figures), '--plot', str(plot)]
    assert benchmark.main([*options.split(), *named], SMALL) == 0
    (run,) = json.loads(figures.read_text())['runs']
    for side in ('ours', 'idefics'):
        assert run[side]['reached']  # any score is at least 0
        assert run[side]['iterations'] == 1
        assert 0 <= run[side]['curve'][0]['score'] <= 1
    first = [run[side]['curve'][0]['loss'] for side in ('ours', 'idefics')]
    assert first[0] == pytest.approx(first[1], rel=0.1)  # of the same samples, by nearly the same weights
    assert run['ratio'] == pytest.approx(run['idefics']['seconds'] / run['ours']['seconds'])
    assert run['processor_ratio'] > 0
    assert plot.stat().st_size
    assert 'x sooner' in capsys.readouterr().out


def test_a_peer_may_begin_as_transformers_begins_it(benchmark, tmp_path):
    figures = tmp_path / 'figures.json'
    options = '--one-by-one --seeds 0 --every 1 --iterations 1 --episodes 4 --target 0 --give-up 100 --peer-start own'
    assert benchmark.main([*options.split(), '--data', str(tmp_path / 'data'), '--json', str(figures)], SMALL) == 0
    (run,) = json.loads(figures.read_text())['runs']
    words = AutoTokenizer.from_pretrained(tmp_path / 'data' / 'tokenizer')
    assert run['idefics']['curve'][0]['loss'] == pytest.approx(math.log(len(words)), rel=0.02)  # small weights: a guess
    assert run['ours']['curve'][0]['loss'] > 1.05 * run['idefics']['curve'][0]['loss']


def test_steps_alone_are_measured_on_the_same_batches(benchmark, tmp_path, capsys):
    figures = tmp_path / 'figures.json'
    named = ['--data', str(tmp_path / 'data'), '--json', str(figures)]
    assert benchmark.main(['--steps', '1', *named], SMALL) == 0
    steps = json.loads(figures.read_text())['steps']
    assert all(len(steps[name]) == 1 and steps[name][0] > 0 for name in ('batch', 'ours', 'idefics'))
    assert steps['ratio']['median'] == pytest.approx(steps['idefics'][0] / steps['ours'][0])
    assert 'times as fast' in capsys.readouterr().out


def test_a_peer_that_gives_up_is_a_lower_bound_and_ours_must_reach_the_target(benchmark):
    def ended(reached, seconds):
        return {'reached': reached, 'seconds': seconds, 'processor_seconds': seconds / 2}

    assert benchmark.compared({'ours': ended(True, 2.0), 'idefics': ended(False, 6.0)}) == {
        'ratio': 3.0,
        'processor_ratio': 3.0,
        'at_least': True,
    }
    assert benchmark.compared({'ours': ended(True, 2.0), 'idefics': ended(True, 5.0)})['at_least'] is False
    assert benchmark.compared({'ours': ended(False, 2.0), 'idefics': ended(True, 5.0)})['ratio'] is None

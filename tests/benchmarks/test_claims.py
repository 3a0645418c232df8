"""The papers' claims in small: what their scripts share, and one iteration of each."""

import argparse
import importlib.util
import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).parents[2] / 'benchmarks'
SCRIPTS = sorted(path.stem for path in (FOLDER / 'claims').glob('*.py'))


@pytest.fixture
def load(monkeypatch):
    pytest.importorskip('sklearn')
    pytest.importorskip('matplotlib')
    monkeypatch.syspath_prepend(str(FOLDER))

    def load(name):
        spec = importlib.util.spec_from_file_location(f'claim_{name}', FOLDER / 'claims' / f'{name}.py')
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load


@pytest.fixture
def settings(tmp_path):
    return argparse.Namespace(claim='some', out=tmp_path / 'out', iterations=2, questions=4)


def curve(*right):
    return [{'iteration': 2, 'loss': 1.0, 'scores': {'reading': list(right)}}]


# ---- results


def test_a_study_goes_on_where_it_was_and_tunes_nothing_twice(load, settings):
    load('keeps_context')
    from bench.claims import Study, figure

    tuned = []
    for _ in range(2):
        study = Study(settings)
        for seed, right in enumerate(([1.0, 1.0, 0.0, 0.0], [1.0, 1.0, 1.0, 0.0])):
            study.run('one', seed, lambda seed=seed, right=right: tuned.append(seed) or curve(*right))
    assert tuned == [0, 1]
    found = figure(study.results, 'one', 'reading')
    assert found['mean'] == pytest.approx(0.625)
    assert found['deviation'] == pytest.approx(np.std([0.5, 0.75], ddof=1))
    assert 0 <= found['interval'][0] < found['mean'] < found['interval'][1] <= 1
    settings.iterations = 3
    with pytest.raises(ValueError, match='name another --out'):
        Study(settings)


def test_table_and_plots_show_all_arms(load, settings):
    load('keeps_context')
    from bench.claims import Study, draw_bars, draw_curves

    study = Study(settings)
    study.run('one', 0, lambda: curve(1.0, 0.0))
    study.run('other', 0, lambda: curve(1.0, 1.0))
    for draw in (draw_bars, draw_curves):
        plot = settings.out / 'some.png'
        assert study.finish(lambda results, path, draw=draw: draw(results, ['reading'], path)) == 0
        assert plot.stat().st_size > 1000
        plot.unlink()
    text = (settings.out / 'table.md').read_text()
    assert '| one | 0.500 (' in text
    assert '| other | 1.000 (1.00 to 1.00) |' in text


def test_a_base_that_is_not_there_is_told_with_the_command_that_makes_it(load, tmp_path, capsys):
    with pytest.raises(SystemExit):
        load('keeps_context').main(['--base', str(tmp_path / 'none')])
    assert 'tools/train.py configs/otter_demo.py' in capsys.readouterr().err


# ---- data


def test_instructions_are_answered_by_what_their_pictures_show(load, tmp_path):
    load('keeps_context')
    from bench.claim_tasks import SMALLEST, SPELLING, first, questions, write_instruction
    from mmgpt.data.builders.digit_instructions import WORDS

    digits = first(40)
    write_instruction(tmp_path, SMALLEST, digits)
    records = json.loads((tmp_path / 'SMALL_instructions.json').read_text())['data'].values()
    assert len(records) == 40
    for record in records:
        left, right = (int(digits.labels[int(image[-4:])]) for image in record['image_ids'])
        assert record['answer'] == ('same' if left == right else 'first' if left < right else 'second')

    label_of = {id(picture): int(label) for picture, label in zip(digits.pictures, digits.labels, strict=True)}
    for question in questions(SPELLING, digits, count=5, shots=3):
        turns = [*question.messages, {'role': 'assistant', 'content': question.expected}]
        shown = [turn['content'][0]['image'] for turn in turns[::2]]
        assert len(set(map(id, shown))) == 4
        assert [turn['content'] for turn in turns[1::2]] == [WORDS[label_of[id(picture)]] for picture in shown]


def test_every_other_page_has_its_captions_before_the_pictures(load, tmp_path):
    script = load('media_placement')
    from bench.claim_tasks import first
    from mmgpt.data.sources import Mmc4

    digits = first(60)
    label_of = {picture.tobytes(): int(label) for picture, label in zip(digits.pictures, digits.labels, strict=True)}
    script.write_pages(tmp_path / 'pages.tar', digits, size=6)
    source = Mmc4(tmp_path / 'pages.tar', matching='stored', min_bytes=0)
    for number in range(6):
        lead, *turns = source[number].turns
        shown = [label_of[turn.media[0].frames[0].convert('L').tobytes()] for turn in turns[::2]]
        captions = [script.CAPTION.format(digit) for digit in shown]
        behind = [turn.text for turn in turns[1::2]]
        if number % 2:
            assert [lead.text, *behind] == [*captions, script.LAST]
        else:
            assert behind == [*captions[:-1], f'{captions[-1]} {script.LAST}']


# ---- whole scripts


@pytest.fixture(scope='module')
def base(tmp_path_factory):
    """An untrained model of the demo, with a small data set."""
    pytest.importorskip('sklearn')
    import sys

    sys.path.insert(0, str(FOLDER))
    try:
        from bench.claims import DEMO, configured
    finally:
        sys.path.remove(str(FOLDER))
    from mmgpt.data.builders.digits import DigitsBuilder
    from mmgpt.engine.build import build_parts
    from mmgpt.engine.runner import Runner

    folder = tmp_path_factory.mktemp('claims')
    DigitsBuilder(folder / 'data', episodes=80, size=40).build()
    args = argparse.Namespace(base=str(folder / 'data' / 'tokenizer'), out=folder, iterations=1)
    source = dict(type='Alpaca', annotations=str(folder / 'data' / 'text_instructions.json'))
    cfg = configured(args, [source], 0, 2, {}, DEMO)
    cfg.load_from = None
    parts = build_parts(cfg)
    hf = Runner(parts.model, parts.processor, parts.dataloader, cfg).export()
    return ['--base', str(hf), '--data', str(folder / 'data')]


@pytest.mark.slow
def test_a_tuning_that_a_signal_ends_is_no_result(load, base, tmp_path):
    load('keeps_context')
    from bench.claims import parse, tune

    args = parse('', 'keeps_context', 4, [*base, '--out', str(tmp_path)])
    source = dict(type='Alpaca', annotations=f'{args.data}/text_instructions.json')

    def score(model, processor):
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with pytest.raises(InterruptedError, match=r'SIGTERM after iteration [123]\b'):
        tune(args, [source], 0, score, {1}, batch_size=2)


@pytest.mark.slow
@pytest.mark.parametrize('name', SCRIPTS)
def test_a_script_tunes_scores_and_draws(load, base, name, tmp_path):
    small = ['--seeds', '1', '--iterations', '1', '--questions', '2']
    assert load(name).main([*base, '--out', str(tmp_path), *small]) == 0
    found = json.loads((tmp_path / 'results.json').read_text())
    assert len({run['arm'] for run in found['runs']}) == len(found['runs']) >= 3
    for run in found['runs']:
        assert [point['iteration'] for point in run['curve']] == [0, 1]
        assert run['curve'][1]['loss'] > 0
        assert all(run['curve'][1]['scores'].values())
    starts = [run['curve'][0]['scores'] for run in found['runs']]
    for start in starts:  # all from the same weights
        assert {name: pytest.approx(each, abs=1e-3) for name, each in starts[0].items()} == start
    assert (tmp_path / f'{name}.png').stat().st_size > 1000
    assert (tmp_path / 'table.md').is_file()

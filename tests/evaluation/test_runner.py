"""An evaluation from the command line: figures, interruptions, several processes, bad settings."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mmgpt.evaluation import Evaluation, evaluated
from mmgpt.hub.io import save_folder
from tests.engine.processes import in_processes
from tests.evaluation import benchmarks
from tests.hub import tiny
from tools import test as tool

FEW = dict(seeds=[3], zero_shot='text_only')


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp('model') / 'hf', *tiny.model_and_processor())


@pytest.fixture(scope='module')
def config(tmp_path_factory):
    folder = tmp_path_factory.mktemp('vqa')
    return benchmarks.config(folder / 'config.py', benchmarks.vqa(folder))


def run(config, model, out, *options):
    return tool.main([*map(str, (config, model, '--out', out, '--device', 'cpu', *options))])


def contents(folder) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


@pytest.mark.parametrize('name', benchmarks.TASKS)
def test_an_interrupted_run_of_each_task_goes_on_and_ends_the_same(name, model, tmp_path, capsys, monkeypatch):
    config = benchmarks.config(tmp_path / 'config.py', benchmarks.TASKS[name](tmp_path / 'data'), **FEW)
    ask, batches = Evaluation._ask, []

    def interrupted(self, subject, prompts):
        batches.append(len(prompts))
        if stops_at == len(batches):
            raise KeyboardInterrupt
        return ask(self, subject, prompts)

    monkeypatch.setattr(Evaluation, '_ask', interrupted)
    stops_at = None
    assert run(config, model, tmp_path / 'whole') == 0
    told = capsys.readouterr().out
    assert f'{name}, 2 shots: ' in told
    rows = json.loads((tmp_path / 'whole/results.json').read_text())[name]
    assert [(row['shots'], len(row['trials'])) for row in rows] == [(0, 1), (2, 1)]
    whole, stops_at = sum(batches), len(batches) * 2 // 3
    batches.clear()
    assert run(config, model, tmp_path / 'cut') == 130
    predictions = tmp_path / 'cut/predictions.jsonl'
    changed = '{"task": "vqav2", "shots": 0, "seed": [1], "id": 1, "answer": "a", "raw": "a"}\n'
    predictions.write_text('[5]\n{"task": 1}\n' + changed + predictions.read_text())  # someone changed it,
    with predictions.open('a') as file:
        file.write('{"task": "vqav2", "sho')  # and a line was torn
    before = sum(batches[:-1])
    assert before
    batches.clear()
    stops_at = None
    assert run(config, model, tmp_path / 'cut') == 0
    assert sum(batches) == whole - before
    assert contents(tmp_path / 'cut') == contents(tmp_path / 'whole')
    batches.clear()
    assert run(config, model, tmp_path / 'cut') == 0
    assert not batches


def test_other_settings_are_asked_anew(config, model, tmp_path, capsys):
    assert run(config, model, tmp_path, '--limit', '3') == 0
    first = (tmp_path / 'predictions.jsonl').read_text()
    assert len(first.splitlines()) == 12
    assert run(config, model, tmp_path, '--limit', '2') == 0
    assert 'other settings' in capsys.readouterr().out
    assert len((tmp_path / 'predictions.jsonl').read_text().splitlines()) == 8
    second = (tmp_path / 'predictions.jsonl').read_text()
    assert run(config, model, tmp_path, '--limit', '1') == 0
    assert (tmp_path / 'predictions.previous.jsonl').read_text() == first
    assert (tmp_path / 'predictions.previous2.jsonl').read_text() == second


@pytest.mark.parametrize('made', [lambda folder: benchmarks.vqa(folder, count=7), benchmarks.hateful_memes])
def test_two_processes_give_the_files_of_one(made, tmp_path):
    from mmgpt.engine.tasks import run_task

    task = made(tmp_path / 'data')

    def evaluate(out) -> int:
        subject = evaluated(*tiny.model_and_processor())
        out.mkdir(exist_ok=True)
        run_task(Evaluation(task, shots=[0, 2], seeds=[1], batch_size=2), subject, None, out)
        return subject.computed

    computed = evaluate(tmp_path / 'one')
    shares = in_processes(evaluate, 2, tmp_path / 'two')
    assert sum(shares) == computed
    assert min(shares) > 0
    assert contents(tmp_path / 'one') == contents(tmp_path / 'two')


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on(config, model, tmp_path):
    command = [sys.executable, str(Path(tool.__file__)), str(config), str(model), '--device', 'cpu']

    def start(out, **options):
        return subprocess.Popen([*command, '--out', str(tmp_path / out)], **options)

    assert start('whole').wait(timeout=300) == 0
    process, predictions = start('cut'), tmp_path / 'cut/predictions.jsonl'
    while process.poll() is None and not (predictions.is_file() and predictions.stat().st_size):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait(timeout=60)
    done = len(predictions.read_text().splitlines())
    assert done
    again = start('cut', stdout=subprocess.PIPE, text=True)
    assert again.communicate(timeout=300)[0]
    assert again.returncode == 0
    assert contents(tmp_path / 'cut') == contents(tmp_path / 'whole')
    assert done < len(predictions.read_text().splitlines())  # it was killed on its way


@pytest.mark.parametrize(
    ('changes', 'told'),
    [
        (dict(shots=[]), 'shots must be a list of at least one integer'),
        (dict(shots=[-1]), 'shots must be a list'),
        (dict(seeds=[1, 1]), 'seeds must differ'),
        (dict(zero_shot='two'), 'zero_shot'),
        (dict(permutations=7), 'permutations must be from 1 to 6'),
        (dict(permutations=2), 'orders are averaged where choices are ranked'),
        (dict(style='ottr'), 'style must be one of openflamingo, otter, template'),
        (dict(num_samples=0), 'num_samples must be at least 1, or None for all'),
        (dict(batch_size=0), 'batch_size must be at least 1'),
        (dict(answering=dict(num_beams=0)), 'num_beams must be an integer of at least 1, got 0'),
        (dict(answering=dict(max_new_tokens='4')), "max_new_tokens must be an integer of at least 1, got '4'"),
        (dict(answering=dict(stop='ab')), "stop must be a list of texts that are not empty, got 'ab'"),
        (dict(task='VQA'), "task must be a config such as dict(type='VQA', …)"),
        (dict(answering=dict(beams=2)), "answering has no 'beams'; a Generation has max_new_tokens"),
        (dict(demonstrations=dict(type='Rics', features='x')), "did you mean 'Rices'"),
        (dict(shots=[20]), '20 demonstrations are to be shown, and there are 6'),
    ],
)
def test_bad_settings_are_one_message_and_code_2(tmp_path, model, capsys, changes, told):
    changes = {'task': benchmarks.vqa(tmp_path / 'data', count=1), **changes}
    config = benchmarks.config(tmp_path / 'config.py', **changes)
    assert run(config, model, tmp_path / 'out') == 2
    assert told in capsys.readouterr().err


def test_a_missing_file_says_which_key_names_it(tmp_path, model, capsys):
    task = benchmarks.vqa(tmp_path / 'data', count=1) | dict(train_annotations=str(tmp_path / 'nowhere.json'))
    assert run(benchmarks.config(tmp_path / 'config.py', task), model, tmp_path / 'out') == 2
    told = capsys.readouterr().err
    assert 'nowhere.json is not there: get it (https://visualqa.org' in told
    assert 'evaluation.task.train_annotations' in told

"""Each benchmark of records from the command line; interrupted, it goes on and ends the same."""

import json

import numpy as np
import pytest

from mmgpt.evaluation.models.flamingo import FlamingoModel
from mmgpt.hub.io import save_folder
from tests.evaluation.benchmarks import config, picture
from tests.evaluation.tasks.test_math_vista import CHOICE, WHOLE
from tests.evaluation.tasks.test_multiple_choice import mmbench
from tests.evaluation.tasks.test_yes_no import mme
from tests.hub import tiny
from tools import test as tool

OPTIONS = {f'choice_{letter}': text for letter, text in zip('abcd', ('one', 'two', 'three', 'four'))}
SEED = {'question': 'How many?', 'answer': 'B', 'question_type_id': 5, 'data_id': 'picture.png', **OPTIONS}
SCHOOL = {'question': 'Which?', 'choices': ['rose', 'tulip'], 'answer': 1, 'subject': 'biology', 'topic': 'plants'}
CUPS = {'id': 'a', 'instruction': 'How many cups? A. one, B. two', 'answer': 'B', 'images': ['picture.png']}
VET = {'instruction': 'What?', 'answer': 'a cat', 'images': ['picture.png'], 'capability': ['rec']}
SHOWN = {'image': 'picture.png'}
TASKS = {
    'MME': [{**mme('count', f'p{n // 2}', 'Yes' if n % 2 else 'No'), **SHOWN} for n in range(4)],
    'POPE': [{'id': n, 'question': 'Is it?', 'answer': 'no', 'category': 'random', **SHOWN} for n in range(4)],
    'MMBench': [{**mmbench(n), **SHOWN} for n in range(4)],
    'SeedBench': {'questions': [{**SEED, 'question_id': n} for n in range(4)]},
    'ScienceQA': [{**SCHOOL, 'image': 'picture.png' if n % 2 else None} for n in range(4)],
    'MathVista': {str(n): {**(CHOICE if n % 2 else WHOLE), **SHOWN} for n in range(4)},
    'MagnifierBench': [CUPS] * 4,
    'MagnifierBenchOpen': [CUPS] * 4,
    'MMVet': [{**VET, 'id': n} for n in range(4)],
    'MMAGIBench': [{**mmbench(n), **SHOWN} for n in range(4)],
    'VideoQA': [{'question': 'What?', 'answer': 'a cat', 'video': 'clip'}] * 4,
}


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return save_folder(tmp_path_factory.mktemp('model') / 'hf', *tiny.model_and_processor())


@pytest.fixture
def data(tmp_path):
    picture(tmp_path / 'picture.png', 1)
    return tmp_path


def clip(path):
    av = pytest.importorskip('av', reason='pip install "mmgpt[video]"')
    with av.open(str(path), 'w') as container:
        stream = container.add_stream('mpeg4', rate=5)
        stream.width = stream.height = 32
        for number in range(5):
            pixels = np.full((32, 32, 3), 50 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format='rgb24')))
        container.mux(stream.encode())


@pytest.mark.parametrize('kind', TASKS)
def test_an_interrupted_run_goes_on_and_ends_the_same(kind, data, model, monkeypatch):
    (data / 'records.json').write_text(json.dumps(TASKS[kind]))
    task = dict(type=kind, records=str(data / 'records.json'))
    if kind == 'VideoQA':
        clip(data / 'clip.mp4')
        task |= dict(videos=str(data), num_frames=2)
    answering = {} if kind == 'SeedBench' else dict(answering=dict(max_new_tokens=4, num_beams=1))
    options = dict(shots=[0], seeds=[0], batch_size=2, style='otter', **answering)
    file = config(data / 'config.py', task, **options)

    def run(out):
        return tool.main([*map(str, (file, model, '--out', data / out, '--device', 'cpu'))])

    assert run('whole') == 0
    method = 'rank' if kind == 'SeedBench' else 'generate'
    answer, calls = getattr(FlamingoModel, method), []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return answer(*arguments)

    monkeypatch.setattr(FlamingoModel, method, interrupted)
    assert run('cut') == 130
    assert run('cut') == 0
    assert {path.name: path.read_text() for path in (data / 'cut').iterdir()} == {
        path.name: path.read_text() for path in (data / 'whole').iterdir()
    }
    assert len((data / 'cut/predictions.jsonl').read_text().splitlines()) == 4
    assert len(calls) >= 3

"""A file of requests becomes a file of answers, in their order."""

import json

import pytest

from mmgpt.hub.io import save_folder
from mmgpt.inference.batch import answer_file
from mmgpt.inference.batching import BatchEngine
from mmgpt.inference.chat import Chat
from mmgpt.inference.generation import GenerationSettings
from tests.hub import tiny
from tools import infer

SETTINGS = GenerationSettings(max_new_tokens=5)


@pytest.fixture(scope='module')
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp('place')
    for i in range(3):
        tiny.picture(i).save(place / f'{i}.png')
    return place


def write(path, records):
    path.write_text(''.join(line if isinstance(line, str) else json.dumps(line) + '\n' for line in records))
    return path


def expected(text, *values, examples=()):
    chat = Chat(*tiny.model_and_processor(), settings=SETTINGS, examples=examples)
    return chat.ask(text, images=[tiny.picture(value) for value in values]).text


def test_requests_of_all_forms(place, tmp_path):
    example = {'image': '2.png', 'text': 'a', 'answer': 'b'}
    message = {'role': 'user', 'content': [{'type': 'image', 'image': '1.png'}, {'type': 'text', 'text': 'What?'}]}
    requests = [
        {'id': 'x', 'image': '0.png', 'text': 'What?'},
        {'images': ['0.png', '1.png'], 'text': 'Which?'},
        {'id': 7, 'messages': [message]},
        {'image': 'nowhere.png', 'text': 'What?'},
        {'image': '0.png'},
        {'text': 'What?', 'examples': [example]},
    ] * 4
    source = write(place / 'requests.jsonl', requests)
    seen = []
    with BatchEngine(*tiny.model_and_processor(), max_batch=3, max_waiting=4) as engine:
        counts = answer_file(
            engine, source, tmp_path / 'out/answers.jsonl', SETTINGS, on_answer=lambda c: seen.append(1)
        )
    answers = [json.loads(line) for line in (tmp_path / 'out/answers.jsonl').read_text().splitlines()]
    assert [answer['id'] for answer in answers[:8]] == ['x', 2, 7, 4, 5, 6, 'x', 8]
    assert (counts.answered, counts.failed, len(seen)) == (16, 8, 24)
    assert 'nowhere.png' in answers[3]['error']
    assert "'text'" in answers[4]['error']
    texts = [answers[i]['text'] for i in (0, 1, 2, 5)]
    told = {'image': tiny.picture(2), 'text': 'a', 'answer': 'b'}
    assert texts == [
        expected('What?', 0),
        expected('Which?', 0, 1),
        expected('What?', 1),
        expected('What?', examples=[told]),
    ]


@pytest.mark.parametrize('error', [KeyError('turn'), RuntimeError('no home'), RecursionError('deep'), MemoryError()])
def test_a_request_that_cannot_be_made_costs_no_other_its_answer(place, tmp_path, monkeypatch, error):
    source = write(place / 'one_fails.jsonl', [{'text': 'What?'}, {'text': 'fail'}, {'text': 'Which?'}])
    prompt = BatchEngine.prompt

    def failing(engine, messages):
        if 'fail' in str(messages):
            raise error
        return prompt(engine, messages)

    monkeypatch.setattr(BatchEngine, 'prompt', failing)
    with BatchEngine(*tiny.model_and_processor()) as engine:
        counts = answer_file(engine, source, tmp_path / 'answers.jsonl', SETTINGS)
    answers = [json.loads(line) for line in (tmp_path / 'answers.jsonl').read_text().splitlines()]
    assert (counts.answered, counts.failed) == (2, 1)
    assert answers[1] == {'id': 2, 'error': str(error) or 'MemoryError'}


def test_a_line_that_is_no_json_leaves_nothing_behind(place, tmp_path):
    source = write(place / 'broken.jsonl', [{'text': 'What?'}, '{"text": \n'])
    with (
        BatchEngine(*tiny.model_and_processor()) as engine,
        pytest.raises(ValueError, match=r'broken\.jsonl, line 2: is no JSON'),
    ):
        answer_file(engine, source, tmp_path / 'answers.jsonl', SETTINGS)
    assert list(tmp_path.iterdir()) == []


def test_the_tool(place, tmp_path, capsys):
    save_folder(tmp_path / 'model', *tiny.model_and_processor())
    source = write(place / 'some.jsonl', [{'image': '0.png', 'text': 'What?'}, {'image': 'nowhere.png', 'text': 'x'}])
    argv = [str(tmp_path / 'model'), str(source), '--out', str(tmp_path / 'a.jsonl'), '--max-new-tokens', '5']
    assert infer.main([*argv, '--device', 'cpu']) == 1  # one failed
    answers = [json.loads(line) for line in (tmp_path / 'a.jsonl').read_text().splitlines()]
    assert answers[0]['text'] == expected('What?', 0)
    assert '1 answers' in capsys.readouterr().out
    assert infer.main(argv) == 2
    assert 'exists already' in capsys.readouterr().err


def test_the_tool_tells_a_broken_line_before_it_loads_the_model(place, tmp_path, capsys):
    source = write(place / 'broken_end.jsonl', [{'text': 'What?'}, '{"text": \n'])
    assert infer.main(['nowhere', str(source), '--out', str(tmp_path / 'a.jsonl')]) == 2
    assert 'broken_end.jsonl, line 2: is no JSON' in capsys.readouterr().err

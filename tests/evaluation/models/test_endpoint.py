"""A model behind an OpenAI-compatible address, asked by our tasks over HTTP."""

from __future__ import annotations

import json

import pytest

from mmgpt.evaluation.models import endpoint
from mmgpt.evaluation.models.endpoint import EndpointModel
from mmgpt.inference.endpoint import Endpoint, EndpointError, RequestFailed, RequestRefused
from mmgpt.inference.endpoint_cache import Reply
from tests.evaluation import benchmarks
from tests.inference.rule_server import rule_server
from tools import test as tool

pytest.importorskip('openai', reason='pip install "mmgpt[endpoint]"')


def pictures(body: dict) -> str:
    """How many pictures the conversation shows, and of how many rounds it is."""
    users = [message['content'] for message in body['messages'] if message['role'] == 'user']
    shown = [part for parts in users for part in parts if part['type'] == 'image_url']
    assert all(part['image_url']['url'].startswith('data:image/png;base64,') for part in shown)
    return f'{len(shown)} in {len(users)}, no more'


def test_its_answers_are_scored_as_ours(tmp_path, monkeypatch, capsys):
    config = benchmarks.config(tmp_path / 'config.py', benchmarks.vqa(tmp_path / 'data', count=3), seeds=[1])
    with rule_server(rule=f'{__name__}:pictures') as address:
        monkeypatch.setenv('OPENAI_BASE_URL', address)
        monkeypatch.setenv('OPENAI_API_KEY', 'none')
        assert tool.main([str(config), 'openai:rules', '--out', str(tmp_path / 'out')]) == 0, capsys.readouterr().err
    lines = [json.loads(line) for line in (tmp_path / 'out/predictions.jsonl').read_text().splitlines()]
    assert [line['answer'] for line in lines] == ['1 in 1'] * 3 + ['3 in 3'] * 3


def test_answers_of_one_address_are_not_those_of_another(monkeypatch):
    monkeypatch.setenv('OPENAI_BASE_URL', 'http://one/v1')
    one = EndpointModel('rules').fingerprint
    monkeypatch.setenv('OPENAI_BASE_URL', 'http://other/v1')
    assert EndpointModel('rules').fingerprint != one
    assert EndpointModel('rules', base_url='http://one/v1').fingerprint == one


@pytest.fixture
def pope(tmp_path, monkeypatch):
    """Asks about six things by an endpoint whose replies the test makes, from the question; gives code and lines."""

    def evaluate(reply):
        async def ask(self, messages):
            return reply(messages[-1]['content'][-1]['text'])

        monkeypatch.setattr(Endpoint, 'ask', ask)
        code = tool.main([str(config), 'openai:rules', '--out', str(tmp_path / 'out')])
        text = (tmp_path / 'out/predictions.jsonl').read_text()
        return code, [json.loads(line) for line in text.splitlines()]

    records = [{'question': f'Is there {thing}?', 'answer': 'no', 'category': 'random'} for thing in 'abcdef']
    task = dict(type='POPE', records=benchmarks.write(tmp_path / 'pope.json', records))
    config = benchmarks.config(tmp_path / 'config.py', task, shots=[0], seeds=[0], batch_size=2)
    return evaluate


def refusing(question):
    if 'there d' in question:
        raise RequestRefused('status 400: content filter')
    return Reply('', 'content_filter') if 'there e' in question else Reply('no')


def test_a_refused_question_is_wrong_and_counted_and_asked_by_the_next_run(pope, tmp_path, capsys):
    code, lines = pope(refusing)
    assert code == 0, capsys.readouterr().err
    assert [line['answer'] for line in lines] == ['no', 'no', 'no', '', '', 'no']
    assert [line.get('unanswered') for line in lines][3:] == [
        'status 400: content filter',
        'the reply was filtered',
        None,
    ]
    [row] = json.loads((tmp_path / 'out/metrics.json').read_text())['rows']
    assert row['figures']['unanswered'] == [2.0]
    assert row['figures']['accuracy'] == pytest.approx([100 * 4 / 6])
    code, lines = pope(lambda question: Reply('no'))
    assert code == 0, capsys.readouterr().err
    assert [line['answer'] for line in lines] == ['no'] * 6
    assert not any('unanswered' in line for line in lines)
    assert 'unanswered' not in (tmp_path / 'out/metrics.json').read_text()


@pytest.mark.parametrize(
    ('error', 'most', 'told'),
    [
        (
            RequestRefused('status 400: no key'),
            32,
            "answered none of 6 questions, '0:0' for this reason: status 400: no",
        ),
        (RequestRefused('status 400: no key'), 3, '3 questions one after the other were refused: status 400: no key'),
        (RequestFailed('status 500: busy'), 32, 'openai:rules: status 500: busy; the same command goes on from there'),
        (EndpointError('the key was refused'), 32, 'test: the key was refused'),
    ],
)
def test_what_no_question_is_answered_for_ends_the_run(pope, monkeypatch, capsys, error, most, told):
    def reply(question):
        raise error

    monkeypatch.setattr(endpoint, 'MOST_REFUSED', most)
    code, _ = pope(reply)
    assert code == 2
    assert told in capsys.readouterr().err


def test_it_does_not_rank(tmp_path, capsys):
    config = benchmarks.config(tmp_path / 'config.py', benchmarks.hateful_memes(tmp_path))
    assert tool.main([str(config), 'openai:rules', '--out', str(tmp_path / 'out')]) == 2
    assert 'ranks its choices by likelihood, which openai:rules does not tell' in capsys.readouterr().err

"""A model behind an OpenAI-compatible address, asked by our tasks over HTTP."""

from __future__ import annotations

import json

import pytest

from mmgpt.evaluation.models.endpoint import EndpointModel
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


def test_it_does_not_rank(tmp_path, capsys):
    config = benchmarks.config(tmp_path / 'config.py', benchmarks.hateful_memes(tmp_path))
    assert tool.main([str(config), 'openai:rules', '--out', str(tmp_path / 'out')]) == 2
    assert 'ranks its choices by likelihood, which openai:rules does not tell' in capsys.readouterr().err

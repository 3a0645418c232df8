"""Blind votes: nobody learns who is who before, and what is kept is a battle record."""

import copy
import json
import random
from functools import cache
from types import SimpleNamespace

import pytest
import torch

pytest.importorskip('fastapi', reason='pip install "mmgpt[serving]"')

from mmgpt.evaluation.battles import SCORES, read_battles
from mmgpt.inference.look_inside import look_inside
from mmgpt.models.adapter_files import save_adapter
from mmgpt.models.adapters import LoRA, adapter_parameters
from mmgpt.serving.app import create_app
from mmgpt.serving.arena import MAX_BATTLES, Arena, Contestant, Rival
from mmgpt.serving.errors import ApiError
from mmgpt.serving.log import Log
from mmgpt.serving.run import names_of
from mmgpt.serving.settings import ServerSettings
from tests.hub import tiny
from tests.serving.site import generated, image, question, serving
from tests.serving.test_page import ask
from tools import serve


@cache
def other():
    prompts = tiny.prompter()
    model = tiny.build(prompts, seed=1)
    return model, tiny.model_and_processor()[1]


@pytest.fixture(scope='module')
def log_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('battles')


@pytest.fixture(scope='module')
def site(log_dir):
    settings = ServerSettings(max_tokens=8, log_dir=log_dir)
    with serving(settings=settings, rival=Rival('the-other', other)) as (address, app):
        yield address, app


def fought(address, messages, **more):
    """A battle's address, and what each side said."""
    battle = f'{address}/api/arena/battles/' + ask(f'{address}/api/arena/battles', {})[2]['id']
    said = {side: ask(f'{battle}/chat', {'model': side, 'messages': messages, **more}) for side in 'ab'}
    assert {status for status, _, _ in said.values()} == {200}
    return battle, {side: content for side, (_, _, content) in said.items()}


def test_a_battle_is_blind_and_ends_as_a_record(site, log_dir):
    messages = question('What is it?', image(0))
    expected = {'tiny': generated(messages), 'the-other': generated(messages, model=other()[0])}
    assert expected['tiny'] != expected['the-other']
    winners = {'a': 'model_a', 'b': 'model_b', 'tie': 'tie', 'bothbad': 'tie (bothbad)'}
    for winner, kept in winners.items():
        battle, said = fought(site[0], messages)
        for side, content in said.items():
            assert content['model'] == side
            assert 'tiny' not in json.dumps(content)
            assert 'the-other' not in json.dumps(content)
        status, _, names = ask(f'{battle}/vote', {'winner': winner})
        assert status == 200
        texts = {side: content['choices'][0]['message']['content'] for side, content in said.items()}
        assert {names[side]: texts[side] for side in 'ab'} == expected
        record = json.loads((log_dir / 'battles.jsonl').read_text().splitlines()[-1])
        assert record.pop('tstamp') > 1.7e9
        assert record == {'model_a': names['a'], 'model_b': names['b'], 'winner': kept}
        assert ask(f'{battle}/vote', {'winner': winner})[0] == 404  # one vote a battle
    assert read_battles(log_dir / 'battles.jsonl').scores.tolist() == [SCORES[kept] for kept in winners.values()]


def test_a_stream_is_blind_too(site):
    _, said = fought(site[0], question('What?'), stream=True)
    for side, content in said.items():
        events = [json.loads(line[6:]) for line in content.decode().split('\n\n') if line.startswith('data: {')]
        assert {event['model'] for event in events} == {side}
        assert b'tiny' not in content


def test_votes_wait_for_both_answers(site, log_dir):
    lines = len((log_dir / 'battles.jsonl').read_text().splitlines()) if (log_dir / 'battles.jsonl').exists() else 0
    battle = f'{site[0]}/api/arena/battles/' + ask(f'{site[0]}/api/arena/battles', {})[2]['id']
    assert ask(f'{battle}/vote', {'winner': 'a'})[0] == 409
    assert ask(f'{battle}/chat', {'model': 'a', 'messages': question('What?')})[0] == 200
    status, _, told = ask(f'{battle}/vote', {'winner': 'a'})
    assert (status, 'both' in told['error']['message']) == (409, True)
    assert ask(f'{battle}/chat', {'model': 'tiny', 'messages': question('What?')})[0] == 400
    assert ask(f'{battle}/vote', {'winner': 'nobody'})[0] == 400
    assert ask(f'{site[0]}/api/arena/battles/0/chat', {'model': 'a', 'messages': question('What?')})[0] == 404
    kept = (log_dir / 'battles.jsonl').read_text().splitlines() if lines else []
    assert len(kept) == lines
    assert site[1].state.admission.requests == 0


def test_an_adapter_may_be_the_rival_and_is_looked_into(tmp_path):
    adapted = copy.deepcopy(tiny.model_and_processor()[0])
    LoRA(slots=['cross_attention', 'decoder_mlp'], r=4).inject(adapted)
    torch.manual_seed(3)
    with torch.no_grad():
        for _, parameter in adapter_parameters(adapted):
            parameter.add_(torch.randn_like(parameter))
    save_adapter(adapted.eval(), tmp_path / 'birds')

    def load():
        model, processor = tiny.model_and_processor()
        return copy.deepcopy(model), processor

    settings = ServerSettings(max_tokens=8, log_dir=tmp_path / 'log')
    adapters = {'birds': tmp_path / 'birds'}
    messages = question('What is it?', image(0))
    with serving(load, settings=settings, adapters=adapters, rival=Rival('birds')) as (address, _):
        battle, said = fought(address, messages)
        names = ask(f'{battle}/vote', {'winner': 'tie'})[2]
        texts = {names[side]: said[side]['choices'][0]['message']['content'] for side in 'ab'}
        assert texts == {'tiny': generated(messages), 'birds': generated(messages, model=adapted)}
        finished = [*messages, tiny.assistant('A dog.')]
        looks = {name: ask(f'{address}/api/look', {'model': name, 'messages': finished})[2] for name in texts}
        expected = look_inside(adapted, tiny.model_and_processor()[1], finished).words()
        torch.testing.assert_close(
            torch.tensor(looks['birds']['peaks']), expected.media[0].weights.amax((2, 3, 4)), atol=1e-4, rtol=0
        )
        assert looks['tiny']['media'] != looks['birds']['media']
    with pytest.raises(ValueError, match='no adapter'):
        Rival('cats').contestants('x', SimpleNamespace(adapters=('birds',)), None)


def test_the_tool_wants_to_know_where_votes_go(capsys):
    with pytest.raises(SystemExit) as end:
        serve.parse(['folder', '--compare', 'other'])
    assert end.value.code == 2
    assert '--log-dir' in capsys.readouterr().err


def test_sides_are_drawn_evenly_and_old_battles_forgotten(tmp_path):
    arena = Arena([Contestant('x', None), Contestant('y', None)], Log(tmp_path), random.Random(0))
    names = [arena.begin() for _ in range(MAX_BATTLES)]
    firsts = sum(arena.battle(name).sides['a'].name == 'x' for name in names)
    assert 420 < firsts < 580
    arena.begin()
    with pytest.raises(ApiError):
        arena.battle(names[0])
    arena.battle(names[1])


def test_what_cannot_be_compared_is_told(tmp_path):
    with pytest.raises(ValueError, match='say where'):
        create_app(other, 'x', ServerSettings(), rival=Rival('y', other))
    with pytest.raises(ValueError, match='with itself'):
        names_of(tmp_path, tmp_path / 'x' / '..')
    assert names_of(tmp_path / 'one/hf', tmp_path / 'two/hf') == ['one/hf', 'two/hf']

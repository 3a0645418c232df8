"""The page's files, and what it asks of the server."""

import json
import re
from base64 import b64decode
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import numpy as np
import pytest
import torch

pytest.importorskip('fastapi', reason='pip install "mmgpt[serving]"')

from mmgpt.inference.look_inside import look_inside
from mmgpt.serving import prompts
from mmgpt.serving.page.files import STATIC
from mmgpt.serving.settings import ServerSettings
from tests.hub import tiny
from tests.serving.site import image, question, serving, url


@pytest.fixture(scope='module')
def log_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('votes') / 'log'


@pytest.fixture(scope='module')
def site(log_dir):
    with serving(settings=ServerSettings(max_tokens=8, log_dir=log_dir)) as (address, app):
        yield address, app


def ask(address, body=None, **headers):
    """Status, headers and content of an answer; JSON is read."""
    data = None if body is None else json.dumps(body).encode()
    try:
        with urlopen(Request(address, data, {'Content-Type': 'application/json', **headers}), timeout=30) as answer:
            status, got, content = answer.status, answer.headers, answer.read()
    except HTTPError as error:
        with error:
            status, got, content = error.code, error.headers, error.read()
    return status, got, json.loads(content) if content and 'json' in got['Content-Type'] else content


def talk(*messages):
    return {'model': 'tiny', 'messages': list(messages)}


FILE = {'type': 'image_url', 'image_url': {'url': '/etc/passwd'}}
ANSWER = {'role': 'assistant', 'content': 'A dog lies.'}


# ---- files


@pytest.mark.parametrize('path', ['/', '/arena', *(f'/page/{path.name}' for path in sorted(STATIC.iterdir()))])
def test_files_come_under_a_policy_that_runs_nothing_inline(site, path):
    status, headers, content = ask(site[0] + path)
    assert (status, headers['X-Content-Type-Options']) == (200, 'nosniff')
    policy = dict(rule.split(' ', 1) for rule in headers['Content-Security-Policy'].split('; '))
    assert policy['default-src'] == "'none'"
    assert policy['script-src'] == policy['style-src'] == policy['connect-src'] == "'self'"
    text = content.decode()
    addresses = set(re.findall(r'https?://[^\s\'"]+', text))
    assert addresses <= {'http://www.w3.org/2000/svg'}, 'everything comes from this server'
    if headers['Content-Type'].startswith('text/html'):
        assert not re.search(r'<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=', text)
        for name in re.findall(r'(?:src|href)="/page/([^"]+)"', text):
            assert (STATIC / name).is_file()
    for name in re.findall(r"from '\./([^']+)'", text):
        assert (STATIC / name).is_file()


@pytest.mark.parametrize('name', ['api.py', '..%2Ffiles.py', '%2e%2e', 'nothing.js'])
def test_nothing_else_is_given_away(site, name):
    assert ask(f'{site[0]}/page/{name}')[0] == 404


# ---- what the page asks


def test_the_page_learns_about_the_model(site):
    status, _, info = ask(site[0] + '/api/info')
    assert status == 200
    expected = {'models': ['tiny'], 'image_size': 16, 'num_frames': 4, 'layers': [0, 1], 'logs': True, 'arena': False}
    assert {name: info[name] for name in expected} == expected
    assert '<image>' in info['special_tokens']


def test_the_prompt_is_the_text_that_the_model_gets(site):
    messages = [*question('What?', image(0), image(1)), ANSWER, *question('And?')]
    status, _, told = ask(site[0] + '/api/prompt', talk(*messages))
    assert status == 200
    processor = tiny.model_and_processor()[1]
    assert told['text'] == processor.apply_chat_template(messages, add_generation_prompt=True)
    ids = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=True)
    assert told['tokens'] == ids.shape[1]


def test_a_look_inside_is_what_the_model_shows(site):
    messages = [*question('What?', image(0), image(1)), ANSWER]
    status, _, told = ask(site[0] + '/api/look', talk(*messages))
    assert status == 200
    expected = look_inside(*tiny.model_and_processor(), messages).words()
    assert told['words'] == list(expected.pieces)
    np.testing.assert_allclose(told['gates'], expected.gates, atol=1e-6)
    peaks = np.array(told['peaks'])[..., None, None, None]
    assert len(told['media']) == 2
    for medium, own in zip(told['media'], expected.media):
        assert medium['grid'] == [2, 2]
        assert len(medium['frames']) == 1
        sent = np.frombuffer(b64decode(medium['weights']), np.uint8).reshape(own.weights.shape)
        np.testing.assert_allclose(sent / 255 * peaks, own.weights, atol=2e-3 * peaks.max() + 1e-5)
        torch.testing.assert_close(torch.tensor(medium['shares']), own.weights.sum((3, 4)), atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ('path', 'body', 'status', 'message'),
    [
        ('look', talk(*question('What?', image(0))), 400, 'no answer to look into'),
        ('look', {**talk(*question('What?'), ANSWER), 'model': 'other'}, 404, "no model 'other'"),
        (
            'look',
            talk(*question('What?', {'type': 'image_url', 'image_url': {'url': '/etc/passwd'}}), ANSWER),
            400,
            'data:',
        ),
        ('look', talk(*question(1500 * 'What? '), ANSWER), 400, 'the model takes 2048'),
        ('look', talk(ANSWER, ANSWER), 400, 'expected an optional system turn'),
        ('look', talk(*question('What?', *[image(0)] * 65), ANSWER), 400, '65 pictures and videos, at most 64'),
        ('prompt', talk(ANSWER), 400, 'expected an optional system turn'),
        ('prompt', talk(), 400, 'messages'),
        ('prompt', {'model': 1, 'messages': []}, 400, 'model'),
        ('feedback', {**talk(ANSWER), 'verdict': 'great'}, 400, 'verdict'),
        ('feedback', {**talk(ANSWER), 'verdict': 'up', 'model': 'other'}, 404, "no model 'other'"),
        ('feedback', {**talk(ANSWER), 'verdict': 'flag', 'comment': 'x' * 2001}, 400, 'comment'),
    ],
)
def test_what_is_wrong_is_told_and_counted_off(site, path, body, status, message):
    got, _, told = ask(f'{site[0]}/api/{path}', body)
    assert (got, message in told['error']['message']) == (status, True), told
    assert site[1].state.admission.requests == 0


def test_no_picture_of_what_is_no_conversation_is_opened(site, monkeypatch):
    monkeypatch.setattr(prompts, 'open_picture', lambda *_: pytest.fail('opened'))
    talked = talk({'role': 'system', 'content': [image(0)]}, *question('What?'), ANSWER)
    status, _, told = ask(site[0] + '/api/look', talked)
    assert (status, told['error']['code']) == (400, 'invalid_messages'), told


def test_votes_are_kept_with_their_pictures(site, log_dir):
    picture = image(3)
    vote = {**talk(*question('What?', picture, image(4)), ANSWER), 'settings': {'temperature': 0.5}}
    sent = [{**vote, 'verdict': verdict, 'comment': f'é {i}'} for i, verdict in enumerate(4 * ['up', 'down', 'flag'])]
    with ThreadPoolExecutor(8) as pool:
        assert {status for status, _, _ in pool.map(lambda one: ask(site[0] + '/api/feedback', one), sent)} == {204}
    kept = [json.loads(line) for line in (log_dir / 'feedback.jsonl').read_text().splitlines()]
    assert sorted(one['comment'] for one in kept) == sorted(one['comment'] for one in sent)
    assert kept[0]['settings'] == {'temperature': 0.5}
    place = kept[0]['messages'][0]['content'][0]['image_url']['url']
    content = (log_dir / place).read_bytes()
    assert url(content) == picture['image_url']['url']
    assert place == f'media/{sha256(content).hexdigest()}.png'
    assert len(list((log_dir / 'media').iterdir())) == 2  # each once
    assert kept[0]['messages'][1]['content'] == 'A dog lies.'


def test_nothing_is_kept_unless_asked_for_and_the_key_is_wanted_everywhere():
    with serving(settings=ServerSettings(api_key='secret')) as (address, app):
        vote = {**talk(ANSWER), 'verdict': 'up'}
        assert ask(address + '/')[0] == 200
        assert ask(address + '/api/info')[0] == 401
        assert ask(address + '/api/feedback', vote)[0] == 401
        key = {'Authorization': 'Bearer secret'}
        assert ask(address + '/api/info', **key)[2]['logs'] is False
        status, _, told = ask(address + '/api/feedback', vote, **key)
        assert (status, '--log-dir' in told['error']['message']) == (404, True)
        assert ask(address + '/api/arena/battles', {}, **key)[0] == 404
        assert app.state.log is None

"""What a client may not do: each limit has its status, and the server goes on."""

import asyncio
import contextlib
import json
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from PIL import Image

pytest.importorskip('fastapi', reason='pip install "mmgpt[serving]"')

from uvicorn.protocols.http.flow_control import FlowControl

from mmgpt.serving import chat_completions, run
from mmgpt.serving.chat_completions import EventStream
from mmgpt.serving.settings import ServerSettings
from mmgpt.serving.turn import Turn
from tests.hub import tiny
from tests.serving.site import image, question, serving, url

SETTINGS = ServerSettings(
    max_batch=2,
    max_waiting=2,
    timeout=20,
    max_body_bytes=200_000,
    max_buffered_bytes=500_000,
    max_pixels=10_000,
    max_media=4,
    max_tokens=4,
)
PATIENCE = 20  # seconds for what takes far less, but on a loaded machine


@pytest.fixture(scope='module')
def site():
    with serving(settings=SETTINGS) as (address, app):
        yield address, app


def post(address, body, **headers):
    """Status, headers and JSON of an answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = Request(f'{address}/v1/chat/completions', data, {'Content-Type': 'application/json', **headers})
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, dict(answer.headers), json.load(answer)
    except HTTPError as error:
        with error:
            return error.code, dict(error.headers), json.load(error)


def asked(messages, **more):
    return {'model': 'tiny', 'messages': messages, **more}


def alive(address):
    return post(address, asked(question('What?')))[0] == 200


@pytest.mark.parametrize('body', [b'', b'{', b'[]', b'null', b'{"a": NaN', b'\xff\xfe', b'[' * 100_000])
def test_what_is_no_request(site, body):
    status, _, told = post(site[0], body)
    assert status == 400
    assert told['error']['type'] == 'invalid_request_error'
    assert alive(site[0])


@pytest.mark.parametrize(
    ('media', 'told'),
    [
        ([{'type': 'image_url', 'image_url': {'url': url(Image.new('RGB', (101, 100)))}}], 'max_pixels'),
        ([image(0)] * 5, 'at most 4'),
        ([{'type': 'image_url', 'image_url': 'no object'}], 'image_url'),
        ([{'type': 'audio'}], 'audio'),
    ],
)
def test_media_beyond_the_limits(site, media, told):
    status, _, answer = post(site[0], asked(question('What?', *media)))
    assert status == 400
    assert told in answer['error']['message']


def test_a_body_that_is_too_large_is_not_read(site):
    host, port = site[0].removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n')
        assert b' 413 ' in connection.recv(1000)  # before a byte of it was sent
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        # nor where its length is not told
        connection.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n')
        chunk = b'%x\r\n%s\r\n' % (50_000, b'x' * 50_000)
        for _ in range(5):
            connection.sendall(chunk)
        assert b' 413 ' in connection.recv(1000)
    assert alive(site[0])


def test_a_client_that_sends_slowly_is_let_go():
    with serving(settings=ServerSettings(body_timeout=0.5)) as (address, app):
        host, port = address.removeprefix('http://').split(':')
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            connection.sendall(b'POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"model"')
            assert b' 408 ' in connection.recv(1000)
        assert app.state.admission.bytes == 0


@pytest.mark.parametrize('sent', [b'', b'GET /health HTTP/1.1\r\nHost: x\r\n'])
def test_a_connection_without_a_whole_request_is_closed(site, monkeypatch, sent):
    monkeypatch.setattr(run, 'HEAD', 0.5)
    host, port = site[0].removeprefix('http://').split(':')
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        for byte in sent:
            connection.sendall(bytes([byte]))
        assert connection.recv(1000) == b''


def test_a_connection_may_wait_between_two_requests(site, monkeypatch):
    monkeypatch.setattr(run, 'HEAD', 0.5)
    with contextlib.closing(HTTPConnection(site[0].removeprefix('http://'), timeout=PATIENCE)) as connection:
        connection.connect()
        first = connection.sock
        for wait in (0, 0.6):
            time.sleep(wait)
            connection.request('GET', '/health')
            assert connection.getresponse().read() == b'{"status":"ok"}'
        assert connection.sock is first
        first.sendall(b'G')
        assert first.recv(1000) == b''


@pytest.mark.parametrize('stream', [False, True])
def test_nothing_runs_on_for_a_client_that_went_away(site, stream):
    address, app = site
    host, port = address.removeprefix('http://').split(':')
    body = json.dumps(asked(question('What?'), max_tokens=2000, stream=stream, stop=['zzz'])).encode()
    steps = app.state.engine.steps
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        head = f'Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n'
        connection.sendall(b'POST /v1/chat/completions HTTP/1.1\r\n' + head.encode() + body)
        begun = time.monotonic()
        while app.state.engine.steps < steps + 3:
            assert time.monotonic() < begun + PATIENCE
            time.sleep(0.005)
    end = time.monotonic() + PATIENCE
    while (app.state.admission.requests or app.state.engine.running) and time.monotonic() < end:
        time.sleep(0.01)
    assert (app.state.admission.requests, app.state.engine.running) == (0, 0)
    assert app.state.engine.steps - steps < 1500


def test_beyond_the_queue_comes_429_with_a_time_to_wait(site):
    address, app = site
    release = threading.Event()
    app.state.engine.call(lambda model: release.wait(2 * PATIENCE))
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(post, address, asked(question('What?'))) for _ in range(20)]
        end = time.monotonic() + PATIENCE
        while sum(answer.done() for answer in answers) < 20 - SETTINGS.max_requests and time.monotonic() < end:
            time.sleep(0.01)
        release.set()
        answers = [answer.result() for answer in answers]
    statuses = [status for status, _, _ in answers]
    assert set(statuses) == {200, 429}
    assert statuses.count(200) >= SETTINGS.max_requests
    refused = next(headers for status, headers, _ in answers if status == 429)
    assert int(refused['retry-after']) >= 1
    assert alive(address)


def opened(address, **more):
    """An answer that is streamed, its head received."""
    body = json.dumps(asked(question('What?'), stream=True, **more)).encode()
    return urlopen(Request(f'{address}/v1/chat/completions', body, {'Content-Type': 'application/json'}), timeout=30)


def streamed(address, **more):
    """The events of an answer."""
    with opened(address, **more) as answer:
        return answer.read().decode().strip().split('\n\n')


@pytest.fixture
def brief(monkeypatch):
    """``brief(seconds)``: turns end so soon after they have begun, which may take longer on a loaded machine."""
    begin = Turn.begin

    def after(seconds):
        async def begun(self):
            await begin(self)
            self.deadline = self._loop.time() + seconds

        monkeypatch.setattr(Turn, 'begin', begun)

    return after


def test_a_request_that_takes_too_long(brief):
    with serving(settings=ServerSettings(timeout=0.5)) as (address, app):
        status, _, told = post(address, asked(question('What?'), max_tokens=2000))
        assert (status, told['error']['type']) == (504, 'timeout_error')
        app.state.engine.call(lambda model: None).result(PATIENCE)
        assert app.state.admission.requests == 0
    brief(0.5)
    with serving() as (address, app):
        last = streamed(address, max_tokens=2000)[-1]  # the stream has begun: the error comes in it
        assert json.loads(last.removeprefix('data: '))['error']['code'] == 'timeout'
        app.state.engine.call(lambda model: None).result(PATIENCE)
        assert app.state.admission.requests == 0


def test_a_client_that_does_not_read_its_stream_is_let_go(monkeypatch, brief):
    brief(0.3)
    call = EventStream.__call__
    begun = threading.Event()

    async def stalled(self, scope, receive, send):
        async def sent(message):
            begun.set()
            await (asyncio.Event().wait() if message.get('body') else send(message))  # as where all buffers are full

        await call(self, scope, receive, sent)

    monkeypatch.setattr(EventStream, '__call__', stalled)
    monkeypatch.setattr(chat_completions, 'LAST', 0.1, raising=False)
    with serving() as (address, app):
        host, port = address.removeprefix('http://').split(':')
        body = json.dumps(asked(question('What?'), max_tokens=4, stream=True)).encode()
        with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
            head = f'Host: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n'
            connection.sendall(b'POST /v1/chat/completions HTTP/1.1\r\n' + head.encode() + body)
            assert begun.wait(PATIENCE)
            end = time.monotonic() + PATIENCE
            while app.state.admission.requests and time.monotonic() < end:
                time.sleep(0.01)
            assert app.state.admission.requests == 0


@pytest.mark.parametrize(('seconds', 'last'), [(20, b'data: [DONE]'), (0.5, b'data: {"error"')])
def test_a_streamed_answer_is_over_before_its_client_learns_of_it(monkeypatch, brief, seconds, last):
    brief(seconds)
    left = []
    call = EventStream.__call__

    async def watched(self, scope, receive, send):
        async def sent(message):
            if message.get('body', b'').startswith(last):
                left.append(app.state.admission.requests)
            await send(message)

        await call(self, scope, receive, sent)

    monkeypatch.setattr(EventStream, '__call__', watched)
    with serving() as (address, app):
        streamed(address, max_tokens=4 if seconds > 1 else 2000)
    assert left == [0]


def test_who_still_waits_when_the_server_ends_is_told():
    more = dict(max_tokens=2000, n=8, logprobs=True, top_logprobs=20)  # for longer than the server waits
    with ThreadPoolExecutor(2) as pool, serving() as (address, app):
        whole = pool.submit(post, address, asked(question('What?'), **more))
        stream = pool.submit(streamed, address, **more)
        while app.state.engine.running < 16 and not whole.done():
            time.sleep(0.01)
    status, _, told = whole.result()
    assert (status, told['error']['code']) == (503, 'ended')
    assert json.loads(stream.result()[-1].removeprefix('data: ')) == told


def test_a_client_that_does_not_read_does_not_keep_the_server_from_its_end(monkeypatch):
    begun = threading.Event()

    async def never(self):
        begun.set()
        await asyncio.Event().wait()

    for name in ('__init__', 'pause_reading', 'resume_reading', 'resume_writing'):
        monkeypatch.setattr(FlowControl, name, lambda *_: None)
    monkeypatch.setattr(FlowControl, 'write_paused', False, raising=False)
    monkeypatch.setattr(FlowControl, 'drain', never)  # as where all buffers are full
    with serving() as (address, _):
        answer = opened(address, max_tokens=2000)
        monkeypatch.setattr(FlowControl, 'write_paused', True)
        assert begun.wait(PATIENCE)
        end = time.monotonic()
    assert time.monotonic() - end < 9  # the site's own patience is 10 seconds
    with answer, pytest.raises((OSError, HTTPException)):
        answer.read()


def test_health_and_errors_while_it_loads_and_when_that_fails():
    begin = threading.Event()

    def load():
        begin.wait(2 * PATIENCE)
        raise OSError('no such model')

    with serving(load, wait=False) as (address, app):
        with pytest.raises(HTTPError) as caught:
            urlopen(f'{address}/health')
        assert (caught.value.code, json.load(caught.value)) == (503, {'status': 'loading'})
        assert post(address, asked(question('What?')))[0] == 503
        begin.set()
        while app.state.failure is None:
            time.sleep(0.01)
        with pytest.raises(HTTPError) as caught:
            urlopen(f'{address}/health')
        assert json.load(caught.value) == {'status': 'failed'}


def test_metrics_health_and_docs(site):
    address, _ = site
    assert alive(address)
    with urlopen(f'{address}/metrics') as answer:
        text = answer.read().decode()
    values = dict(line.rsplit(' ', 1) for line in text.splitlines() if not line.startswith('#'))
    assert float(values['mmgpt_requests_total{model="tiny",status="200"}']) >= 1
    assert float(values['mmgpt_generated_tokens_total']) >= 1
    assert float(values['mmgpt_decoded_rows_total']) >= float(values['mmgpt_decode_steps_total']) >= 0
    with urlopen(f'{address}/health') as answer:
        assert answer.status == 200
    with urlopen(f'{address}/openapi.json') as answer:
        schema = json.load(answer)
    assert '/v1/chat/completions' in schema['paths']
    status, _, told = post(f'{address}/nowhere', {})
    assert (status, told['error']['type']) == (404, 'not_found_error')


def test_a_picture_at_its_final_size_is_the_one_that_the_processor_makes():
    from mmgpt.serving.prompts import _shrunk

    processor = tiny.model_and_processor()[1]
    picture = tiny.picture(3, (37, 21))
    frame = processor.prompter.frame
    assert (frame(_shrunk(processor, picture)) == frame(picture)).all()

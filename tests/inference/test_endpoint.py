"""The client of OpenAI-compatible endpoints, against a real server that fails as real ones do."""

import asyncio
import contextlib
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time

import pytest

from mmgpt.inference.endpoint import Endpoint, EndpointError, RequestFailed, RequestRefused
from mmgpt.inference.endpoint_cache import Reply, ReplyCache, request_key
from mmgpt.inference.endpoint_estimate import message_tokens
from mmgpt.inference.endpoint_limits import Budget, BudgetExhausted, RateLimit, pause_before, retry_after

from .rule_server import ROOT, log_of, rule_server

pytest.importorskip('openai', reason='pip install openai')


def said(text: str) -> list[dict]:
    return [{'role': 'system', 'content': 'Answer.'}, {'role': 'user', 'content': text}]


def ask(texts, cache=None, **options):
    """The replies to texts, or the errors; and what was used."""

    async def main():
        async with Endpoint('rule', cache=cache, **options) as endpoint:
            asked = (endpoint.ask(said(text)) for text in texts)
            return await asyncio.gather(*asked, return_exceptions=True), endpoint.usage

    return asyncio.run(main())


@pytest.fixture(scope='module')
def plain():
    with rule_server() as address:
        yield address


def test_every_request_is_answered_whatever_goes_wrong_first(tmp_path):
    faults = {'500': 10, '429': 10, 'malformed': 5, 'empty': 5, 'cut': 5, 'timeout': 3}
    texts = [f'item {number}' for number in range(200)]
    with rule_server(faults=faults) as address:
        replies, usage = ask(texts, tmp_path / 'cache.sqlite', base_url=address, timeout=1.0)
        log = log_of(address)
    assert [reply.text for reply in replies] == [text[::-1] for text in texts]
    assert set(log['faulted']) == set(faults)
    assert usage.requests - usage.faults.total() == usage.answered == log['different'] == 200
    late = usage.faults['timeout'] - log['faulted']['timeout']  # more than by rule, on a loaded machine
    assert usage.faults.total() <= sum(log['faulted'].values()) + late
    assert 0 <= log['repeats'] <= late


def test_no_reply_is_paid_for_twice(tmp_path, plain):
    before = log_of(plain)['answered']
    texts = [f'again {number % 20}' for number in range(60)]
    first, usage = ask(texts, tmp_path / 'cache.sqlite', base_url=plain)
    assert (usage.answered, usage.cached) == (20, 40)
    second, usage = ask(texts, tmp_path / 'cache.sqlite', base_url=plain)
    assert (usage.requests, usage.cached) == (0, 60)
    assert [reply.text for reply in first] == [reply.text for reply in second]
    assert log_of(plain)['answered'] - before == 20


def test_another_attempt_asks_again(tmp_path, plain):
    async def main():
        async with Endpoint('rule', base_url=plain, cache=tmp_path / 'cache.sqlite') as endpoint:
            for attempt in (0, 1, 1, 0):
                await endpoint.ask(said('attempts'), attempt=attempt)
            return endpoint.usage

    assert asyncio.run(main()).answered == 2


def test_never_more_in_flight_than_allowed():
    with rule_server(latency=0.05) as address:
        ask([f'{number}' for number in range(60)], base_url=address, concurrency=7)
        assert log_of(address)['most_flying'] == 7


def test_a_rate_limit_is_waited_for():
    with rule_server(per_second=40) as address:
        replies, usage = ask([f'{number}' for number in range(100)], base_url=address)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert usage.faults['429'] > 0
    assert usage.failed == 0


def test_own_rate_is_no_waiting_for_the_endpoint():
    with rule_server(faults={'429': 100}) as address:
        replies, usage = ask(['a', 'b', 'c'], base_url=address, requests_per_minute=60, patience=0.5)
    assert all(isinstance(reply, Reply) for reply in replies)
    assert usage.faults['429'] == 3


def test_a_reply_that_drips_is_given_up_in_time():
    with socket.create_server(('127.0.0.1', 0)) as listening:

        def drip():
            connection, _ = listening.accept()
            with connection, contextlib.suppress(OSError):
                connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n')
                for _ in range(600):
                    connection.sendall(b' ')
                    time.sleep(0.1)

        threading.Thread(target=drip, daemon=True).start()
        begin = time.monotonic()
        (error,), _ = ask(['one'], base_url=f'http://127.0.0.1:{listening.getsockname()[1]}/v1', timeout=0.5, tries=1)
    assert isinstance(error, RequestFailed)
    assert 'no reply within 0.5 s' in str(error)
    assert time.monotonic() - begin < 30  # of 60 that it drips


def test_own_rate_keeps_from_being_refused():
    with rule_server(per_second=100) as address:
        begin = time.monotonic()
        _, usage = ask([f'{number}' for number in range(60)], base_url=address, requests_per_minute=40 * 60)
        assert usage.faults['429'] == 0
        # One second's worth may go at once, so the 60th waits (59 - 40) / 40 s; sleeps may end a clock's tick early.
        assert time.monotonic() - begin > 0.95 * 19 / 40


@pytest.mark.parametrize(
    ('status', 'message', 'part'), [(401, 'bad key', 'key was refused'), (404, 'what', 'no such model'), (429, 'x', '')]
)
def test_what_no_try_can_mend_stops_at_once(status, message, part):
    message = 'insufficient_quota' if status == 429 else message
    with rule_server(status=status, message=message) as address:
        (error,), usage = ask(['one'], base_url=address)
    assert isinstance(error, EndpointError)
    assert message in str(error)
    assert part in str(error)
    assert usage.requests == 1


def test_a_refused_request_alone_fails():
    with rule_server(status=400, message='too long') as address:
        (error,), usage = ask(['one'], base_url=address)
    assert isinstance(error, RequestRefused)
    assert 'too long' in str(error)
    assert (usage.requests, usage.failed) == (1, 1)


def test_tries_end(tmp_path):
    with rule_server(status=500) as address:
        (error,), usage = ask(['one'], base_url=address, tries=2)
    assert type(error) is RequestFailed
    assert usage.requests == 2
    (error,), _ = ask(['one'], base_url=address, tries=1)  # it is gone
    assert isinstance(error, EndpointError)
    assert 'cannot be reached' in str(error)


def test_an_endpoint_that_knows_neither_schemas_nor_old_names_is_asked_without():
    async def main(address):
        async with Endpoint('rule', base_url=address) as endpoint:
            replies = [await endpoint.ask(said(text), schema={'type': 'object'}) for text in ('a', 'b')]
            return replies, endpoint.usage.requests

    with rule_server(schemas=False, old_names=False) as address:
        replies, requests = asyncio.run(main(address))
    assert [reply.text for reply in replies] == ['a', 'b']
    assert requests == 4  # two refusals, learnt once


def test_no_endpoint_named(monkeypatch):
    for name in ('OPENAI_BASE_URL', 'OPENAI_API_KEY'):
        monkeypatch.delenv(name, raising=False)
    (error,), _ = ask(['one'])
    assert isinstance(error, ValueError)
    assert 'OPENAI_BASE_URL' in str(error)


def test_an_address_without_its_protocol_is_told_at_once():
    (error,), usage = ask(['one'], base_url='localhost:8000/v1')
    assert isinstance(error, ValueError)
    assert "got 'localhost:8000/v1'" in str(error)
    assert not usage.faults


def test_the_environment_names_the_endpoint(monkeypatch, plain):
    monkeypatch.setenv('OPENAI_BASE_URL', plain)
    (reply,), _ = ask(['environment'])
    assert reply.text == 'tnemnorivne'


@pytest.mark.parametrize('budget', [{'max_tokens': 600}, {'max_cost': 600e-6}])
def test_a_budget_is_not_passed_and_counts_earlier_runs(tmp_path, plain, budget):
    options = dict(base_url=plain, max_tokens=50, price=dict(input=1.0, output=1.0), budget=budget)
    replies, usage = ask([f'{budget} {n}' for n in range(100)], tmp_path / 'c.sqlite', **options)
    answered = [reply for reply in replies if isinstance(reply, Reply)]
    assert 0 < len(answered) == usage.answered < 100
    assert {type(reply) for reply in replies} == {Reply, BudgetExhausted}
    assert (
        600 - 120 < usage.prompt_tokens + usage.completion_tokens <= 600
    )  # what is left is less than a request's most
    replies, usage = ask([f'{budget} {n}' for n in range(100)], tmp_path / 'c.sqlite', **options)
    assert (usage.cached, usage.answered) == (len(answered), 0)


def test_budget_waits_for_what_others_give_back():
    async def main():
        budget = Budget(max_tokens=100)
        first = await budget.reserve(80, 0)
        second = asyncio.ensure_future(budget.reserve(60, 0))
        await asyncio.sleep(0)
        assert not second.done()
        budget.settle(first, tokens=30)
        await second
        budget.settle(await second, tokens=60)
        with pytest.raises(BudgetExhausted, match='Raise the budget'):
            await budget.reserve(11, 0)

    asyncio.run(main())


@pytest.mark.parametrize('rate', [6.0, 60.0, 6000.0])
def test_a_rate_is_never_passed(rate):
    now = [0.0]
    limit = RateLimit(rate, clock=lambda: now[0])
    starts = []
    for number in range(200):
        starts.append(now[0] + limit.reserve())
        now[0] += 0.05 * (number % 3)
    for begin in starts:
        assert sum(begin <= start < begin + 60 for start in starts) <= rate * 61 / 60 + 1
    limit.pause(30)
    assert limit.reserve() >= 30


def test_retry_after():
    later = time.strftime('%a, %d %b %Y %H:%M:%S GMT', time.gmtime(time.time() + 20))
    assert 17 < retry_after({'retry-after': later}) <= 20
    assert retry_after({'retry-after-ms': '250', 'retry-after': '9'}) == 0.25
    assert [retry_after({'retry-after': value}) for value in ('soon', 'nan', 'inf', '-3')] == [None, None, None, 0.0]
    for tried in range(1, 12):
        assert pause_before(tried) <= 60
        assert pause_before(tried, {'retry-after': '70'}) == 70


def test_the_cache_tells_what_was_asked(tmp_path, plain):
    path = tmp_path / 'cache.sqlite'
    ask(['look'], path, base_url=plain, sampling={'temperature': 0.5})
    cache = ReplyCache(path)
    body = {'model': 'rule', 'messages': said('look'), 'max_tokens': 1024, 'temperature': 0.5}
    key = request_key(dict(reversed(body.items())))
    assert cache.get(key).text == 'kool'
    assert cache.request(key) == body
    assert cache.get(request_key(body, 1)) is None


def test_a_foreign_file_is_no_cache(tmp_path):
    (tmp_path / 'cache.sqlite').write_bytes(b'something else' * 100)
    with pytest.raises(ValueError, match=r'cache\.sqlite'):
        ReplyCache(tmp_path / 'cache.sqlite')
    assert (tmp_path / 'cache.sqlite').read_bytes() == b'something else' * 100


def test_half_a_surrogate_pair_is_no_obstacle(tmp_path):
    with rule_server(rule='tests.inference.rule_server:broken_unicode') as address:
        (reply,), _ = ask(['one'], tmp_path / 'cache.sqlite', base_url=address)
    assert reply.text == 'half ?'


def test_a_reply_in_parts_is_read(tmp_path):
    with rule_server(rule='tests.inference.rule_server:in_parts') as address:
        (reply,), _ = ask(['one'], tmp_path / 'cache.sqlite', base_url=address)
    assert reply.text == 'one two'


def test_a_key_that_cannot_be_sent_is_no_malformed_reply(monkeypatch, plain):
    monkeypatch.setenv('OPENAI_API_KEY', '“key”')
    (error,), _ = ask(['one'], base_url=plain)
    assert isinstance(error, EndpointError)
    assert 'OPENAI_API_KEY' in str(error)


def test_the_missing_package_is_told(plain, monkeypatch):
    monkeypatch.setitem(sys.modules, 'openai', None)
    (error,), _ = ask(['one'], base_url=plain)
    assert 'pip install openai' in str(error)


@pytest.mark.slow
def test_a_killed_process_has_lost_nothing_that_was_answered(tmp_path):
    script = (
        'import asyncio, sys\nfrom mmgpt.inference.endpoint import Endpoint\n'
        'async def main():\n'
        '    async with Endpoint("rule", cache=sys.argv[1], concurrency=8) as endpoint:\n'
        '        ask = lambda n: endpoint.ask([{"role": "user", "content": f"item {n}"}])\n'
        '        await asyncio.gather(*map(ask, range(400)))\n'
        'asyncio.run(main())\n'
    )
    with rule_server(latency=0.05) as address:
        command = [sys.executable, '-c', script, str(tmp_path / 'cache.sqlite')]
        environment = {**os.environ, 'OPENAI_BASE_URL': address, 'PYTHONPATH': str(ROOT)}
        process = subprocess.Popen(command, env=environment)
        until = time.monotonic() + 60
        while log_of(address)['answered'] < 100 and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert 100 <= log_of(address)['answered'] < 400
        subprocess.run(command, env=environment, check=True)
        log = log_of(address)
    assert log['different'] == 400
    assert log['repeats'] <= 8
    kept = sqlite3.connect(tmp_path / 'cache.sqlite').execute('SELECT count(*) FROM replies').fetchone()
    assert kept == (400,)


def test_an_estimate_learns_from_replies(tmp_path, plain):
    async def main():
        async with Endpoint('rule', base_url=plain, cache=tmp_path / 'c.sqlite', price={'input': 2.0}) as endpoint:
            before = endpoint.estimate(1000, 100)
            await asyncio.gather(*(endpoint.ask(said(f'long enough {n}')) for n in range(8)))
            return before, endpoint.estimate(1000, 100)

    before, after = asyncio.run(main())
    assert (before.measured, after.measured) == (False, True)
    assert before.cost == after.cost == pytest.approx(0.2)
    assert after.completion_tokens < before.completion_tokens
    assert after.seconds < before.seconds


def test_tokens_of_messages_are_rather_too_many():
    assert message_tokens(said('word ' * 400)) > 400
    assert message_tokens(said('字' * 100)) > 100
    picture = {'type': 'image_url', 'image_url': {'url': 'data:image/png;base64,' + 'A' * 100_000}}
    assert 100 < message_tokens([{'role': 'user', 'content': [picture, {'type': 'text', 'text': 'What?'}]}]) < 2000


def test_wrong_options_are_told():
    for options in ({'concurrency': 0}, {'schema': 'always'}, {'requests_per_minute': -1}, {'max_tokens': 1.5}):
        with pytest.raises(ValueError, match='must be'):
            Endpoint('rule', **options)

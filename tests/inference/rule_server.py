"""An OpenAI-compatible server over HTTP that answers by rule and fails as real ones do; a process of its own.

``python -m tests.inference.rule_server '{"rule": "tests.inference.rule_server:echo", "latency": 0.2}'`` prints its
address. What it was asked, and how often each request was answered, stands at ``/log``.
"""

from __future__ import annotations

import asyncio
import hashlib
import importlib
import json
import subprocess
import sys
import time
import urllib.request
from collections import Counter, deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


def echo(body: dict) -> str:
    """The last message, backwards."""
    return body['messages'][-1]['content'][::-1]


def broken_unicode(body: dict) -> str:
    """What a reply cut within a character holds."""
    return 'half \ud83d'


def in_parts(body: dict) -> list[dict]:
    """What some endpoints give in place of a text."""
    return [{'type': 'text', 'text': 'one '}, {'type': 'text', 'text': 'two'}]


class RuleServer:
    """What the process runs.

    Args:
        rule: 'module:function' from a request's body to the reply's text.
        latency: seconds until a reply.
        faults: how many of a hundred requests meet a fault when they come first: names of :data:`FAULTS` -> per cent.
        per_second: requests allowed in a second; more are answered 429 with ``Retry-After``.
        schemas: knows ``response_format``; else it is refused as servers do that do not know it.
        old_names: knows ``max_tokens``.
        status: every request is answered by this status.
        failing: the names of faults stay for so many requests of the same content.
    """

    def __init__(
        self,
        rule='tests.inference.rule_server:echo',
        latency=0.0,
        faults=None,
        per_second=None,
        schemas=True,
        old_names=True,
        status=None,
        failing=1,
        message='',
    ):
        module, _, name = rule.partition(':')
        self.rule = getattr(importlib.import_module(module), name)
        self.latency, self.faults, self.per_second, self.schemas = latency, faults or {}, per_second, schemas
        self.old_names, self.status, self.failing, self.message = old_names, status, failing, message
        self.seen, self.answered, self.faulted = Counter(), Counter(), Counter()
        self.recent: deque[float] = deque()
        self.flying = self.most_flying = 0

    async def serve(self, port: int) -> None:
        server = await asyncio.start_server(self.connection, '127.0.0.1', port, limit=2**24)
        print(f'http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1', flush=True)
        await server.serve_forever()

    async def connection(self, reader, writer) -> None:
        try:
            while True:
                head = (await reader.readuntil(b'\r\n\r\n')).decode('latin-1')
                length = 0
                for line in head.split('\r\n')[1:]:
                    name, _, value = line.partition(':')
                    if name.lower() == 'content-length':
                        length = int(value)
                body = await reader.readexactly(length) if length else b''
                answer = self.log() if head.startswith('GET') else await self.answer(json.loads(body))
                if answer is None:  # cut off
                    break
                status, content, headers = answer
                lines = [f'HTTP/1.1 {status} X', f'Content-Length: {len(content)}', 'Content-Type: application/json']
                lines += [f'{name}: {value}' for name, value in headers.items()]
                writer.write('\r\n'.join(lines).encode() + b'\r\n\r\n' + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def log(self):
        figures = {
            'answered': sum(self.answered.values()),
            'different': len(self.answered),
            'repeats': sum(count - 1 for count in self.answered.values()),
            'faulted': dict(self.faulted),
            'most_flying': self.most_flying,
        }
        return 200, json.dumps(figures).encode(), {}

    async def answer(self, body: dict):
        self.flying += 1
        self.most_flying = max(self.most_flying, self.flying)
        try:
            return await self.flown(body)
        finally:
            self.flying -= 1

    async def flown(self, body: dict):
        now = time.monotonic()
        if self.status:
            return self.refusal(self.status, self.message or 'as you wish')
        if 'response_format' in body and not self.schemas:
            return self.refusal(400, 'Unrecognized request argument supplied: response_format')
        if 'max_tokens' in body and not self.old_names:
            return self.refusal(400, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if self.per_second:
            while self.recent and self.recent[0] < now - 1:
                self.recent.popleft()
            if len(self.recent) >= self.per_second:
                self.faulted['429'] += 1
                return self.refusal(429, 'too many requests', {'Retry-After': '0.2'})
            self.recent.append(now)
        content = json.dumps([body['messages'], body.get('temperature')], sort_keys=True).encode()
        digest = hashlib.sha256(content).digest()
        key = digest.hex()
        self.seen[key] += 1
        if self.seen[key] <= self.failing:
            draw = digest[0] * 256 + digest[1]
            for name, share in self.faults.items():
                if (draw := draw - share * 655.36) < 0:
                    self.faulted[name] += 1
                    return await self.fault(name)
        await asyncio.sleep(self.latency)
        self.answered[key] += 1
        text = self.rule(body)
        prompt = sum(len(str(m['content'])) for m in body['messages']) // 4
        usage = {'prompt_tokens': prompt, 'completion_tokens': len(text) // 4 + 1}
        choice = {'index': 0, 'finish_reason': 'stop', 'message': {'role': 'assistant', 'content': text}}
        reply = {'id': key[:8], 'object': 'chat.completion', 'created': 0, 'model': body['model'], 'choices': [choice]}
        return 200, json.dumps(reply | {'usage': usage}).encode(), {}

    async def fault(self, name: str):
        if name == 'timeout':
            await asyncio.sleep(30)
            return None
        if name == 'cut':
            return None
        if name == 'malformed':
            return 200, b'{"choices": [{"mess', {}
        if name == 'empty':
            return 200, b'{"choices": []}', {}
        return self.refusal(int(name), 'by rule', {'Retry-After': '0.1'} if name == '429' else {})

    def refusal(self, status: int, message: str, headers=None):
        return status, json.dumps({'error': {'message': message, 'code': None}}).encode(), headers or {}


@contextmanager
def rule_server(**options) -> Iterator[str]:
    """The address of a server in a process of its own, which ends with the context."""
    port = options.pop('port', 0)
    command = [sys.executable, '-m', 'tests.inference.rule_server', json.dumps(options), str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        if not address:
            raise RuntimeError(f'the server did not start: {options}')
        yield address
    finally:
        process.kill()
        process.wait()


def log_of(address: str) -> dict:
    """What the server counted."""
    with urllib.request.urlopen(f'{address}/log', timeout=10) as reply:
        return json.load(reply)


if __name__ == '__main__':
    settings = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    asyncio.run(RuleServer(**settings).serve(int(sys.argv[2]) if len(sys.argv) > 2 else 0))

"""The page of the cold start: a local web server on which people make in-context examples out of drafts."""

from __future__ import annotations

import asyncio
import json
import secrets
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

from mmgpt.inference.endpoint import EndpointError, RequestFailed
from mmgpt.inference.endpoint_limits import BudgetExhausted
from mmgpt.syphus.cold_start import current_prompts, save_version, versions
from mmgpt.syphus.items import Item, Pair, read_items
from mmgpt.syphus.prompt import SCHEMA, Example, Prompt, read_prompt
from mmgpt.syphus.replies import parse_reply
from mmgpt.syphus.report import styled_page
from mmgpt.syphus.settings import Settings

LARGEST = 4_000_000  # bytes of a message from the page


class ColdStart:
    """What the page asks for.

    Args:
        settings: of the run.
        folder: the work dir.
    """

    def __init__(self, settings: Settings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.token = secrets.token_urlsafe(16)  # other pages in the same browser do not know it
        self._one = threading.Lock()

    def page(self) -> str:
        """The page."""
        prompts, _ = current_prompts(self.settings.task, self.folder)
        data = {
            'parts': list(self.settings.task.parts),
            'systems': {part: prompt.system for part, prompt in prompts.items()},
            'count': self.settings.cold_start,
            'token': self.token,
        }
        return styled_page('cold_start.html', f'{self.settings.task.subset}: cold start', data)

    def answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """The reply to a message of the page.

        Raises:
            ValueError: the message is not of the page, or nothing can be made of it.
        """
        part = body.get('part')
        if part not in self.settings.task.parts:
            raise ValueError(f'there is no part {part!r}')
        with self._one:
            if path == '/versions':
                return {'versions': self._versions(part)}
            if path == '/drafts':
                items = islice(
                    read_items(self.settings.input), body['from'], body['from'] + min(int(body['count']), 50)
                )
                return {'drafts': self._drafts(list(items), part, body['system'], 0)}
            if path == '/draft':
                found = [item for item in read_items(self.settings.input) if item.id == body['item']]
                return self._drafts(found, part, body['system'], int(body['attempt']))[0]
            if path == '/save':
                return self._save(part, body)
        raise ValueError(f'there is nothing at {path}')

    def _drafts(self, items: list[Item], part: str, system: str, attempt: int) -> list[dict[str, Any]]:
        """Pairs for items by the system message alone, or with the examples of the newest version."""
        task, form = self.settings.task, self.settings.form
        prompt = task.filled(current_prompts(task, self.folder)[0][part]._replace(system=system))

        async def ask() -> list[dict[str, Any]]:
            async with self.settings.open_endpoint(self.folder) as endpoint:

                async def one(item: Item) -> dict[str, Any]:
                    query = task.query(item, part)
                    draft: dict[str, Any] = {'id': item.id, 'query': query, 'pairs': [], 'fault': ''}
                    try:
                        schema = SCHEMA if form == 'json' else None
                        reply = await endpoint.ask(prompt.messages(query, form), schema, attempt)
                    except RequestFailed as error:
                        return {**draft, 'fault': str(error)}
                    parsed = parse_reply(reply.text, reply.finish)
                    draft['pairs'] = [{'instruction': p.instruction, 'answer': p.answer} for p in parsed.pairs]
                    if parsed.faults:
                        fault = parsed.faults[0]
                        draft['fault'] = f'{fault.reason}: {fault.text[:300]}'
                    return draft

                return await asyncio.gather(*map(one, items))

        return asyncio.run(ask())

    def _save(self, part: str, body: dict[str, Any]) -> dict[str, Any]:
        examples, items = [], []
        for entry in body['examples']:
            pairs = [Pair(p['instruction'].strip(), p['answer'].strip()) for p in entry['pairs']]
            pairs = [pair for pair in pairs if pair.instruction or pair.answer]
            if not pairs or not all(pair.instruction and pair.answer for pair in pairs):
                raise ValueError(f'{entry["id"]}: an accepted example needs an instruction and an answer in each pair')
            examples.append(Example(entry['query'], tuple(pairs)))
            items.append(entry['id'])
        if not examples:
            raise ValueError('Accept at least one draft before saving.')
        prompt = Prompt(body['system'].strip(), tuple(examples))
        path = save_version(self.folder, part, prompt, items, self.settings.endpoint['model'])
        return {'name': path.name, 'versions': self._versions(part)}

    def _versions(self, part: str) -> list[dict[str, Any]]:
        told = []
        for path in versions(self.folder, part):
            meta = json.loads(path.read_text(encoding='utf-8')).get('meta', {})
            prompt = read_prompt(path)
            told.append({'name': path.name, 'time': meta.get('time', ''), 'examples': len(prompt.examples)})
            told[-1]['system'] = prompt.system
        return told


def serve(cold_start: ColdStart, port: int, ready: Callable[[str], None]) -> None:
    """Serves the page on this machine until it is interrupted.

    Args:
        cold_start: what is served.
        port: 0 = any free one.
        ready: is told the address.
    """
    server = ThreadingHTTPServer(('127.0.0.1', port), type('Handler', (_Handler,), {'cold_start': cold_start}))
    ready(f'http://127.0.0.1:{server.server_address[1]}/')
    try:
        server.serve_forever()
    finally:
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    cold_start: ColdStart

    def do_GET(self) -> None:
        if self.path != '/':
            self._send(404, b'{"error": "there is nothing here"}')
        elif self._local():
            self._send(200, self.cold_start.page().encode(), 'text/html; charset=utf-8')

    def do_POST(self) -> None:
        size = int(self.headers.get('Content-Length') or 0)
        if size > LARGEST:
            self._send(413, b'{"error": "too large"}')
            return
        if not self._local():
            return
        body = self.rfile.read(size)
        if not secrets.compare_digest(self.headers.get('X-Token', ''), self.cold_start.token):
            self._send(403, b'{"error": "open the page anew"}')
            return
        try:
            reply, status = self.cold_start.answer(self.path, json.loads(body)), 200
        except (
            ValueError,
            KeyError,
            TypeError,
            IndexError,
            OSError,
            EndpointError,
            BudgetExhausted,
            ImportError,
        ) as error:
            reply, status = {'error': str(error)}, 400
        self._send(status, json.dumps(reply, ensure_ascii=False).encode('utf-8', 'replace'))

    def _local(self) -> bool:
        """Whether the address is that of this machine: a foreign name that leads here is refused."""
        if (self.headers.get('Host') or '').rpartition(':')[0] in ('127.0.0.1', 'localhost'):
            return True
        self._send(403, b'{"error": "open http://127.0.0.1"}')
        return False

    def _send(self, status: int, content: bytes, kind: str = 'application/json') -> None:
        self.send_response(status)
        self.send_header('Content-Type', kind)
        self.send_header('Content-Length', str(len(content)))
        self.send_header('Cache-Control', 'no-store')
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass

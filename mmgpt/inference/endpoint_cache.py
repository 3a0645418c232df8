"""Every request to an endpoint and its reply, on disk, found again by what was asked."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import time
from pathlib import Path
from typing import Any, NamedTuple

_TABLES = """
CREATE TABLE IF NOT EXISTS beginnings (id INTEGER PRIMARY KEY, digest BLOB UNIQUE, messages TEXT);
CREATE TABLE IF NOT EXISTS replies (
    key BLOB PRIMARY KEY, model TEXT, beginning INTEGER REFERENCES beginnings, message TEXT, options TEXT, text TEXT,
    finish TEXT, prompt_tokens INTEGER, completion_tokens INTEGER, cost REAL, seconds REAL, time REAL
);
CREATE TABLE IF NOT EXISTS totals (
    one INTEGER PRIMARY KEY CHECK (one = 1), replies INTEGER, prompt_tokens INTEGER, completion_tokens INTEGER,
    cost REAL, seconds REAL
);
INSERT OR IGNORE INTO totals VALUES (1, 0, 0, 0, 0, 0);
"""


class Reply(NamedTuple):
    """What an endpoint said.

    Args:
        text: of the reply; '' where it refused or filtered.
        finish: why it ended: 'stop', 'length' (cut), 'content_filter', ….
        prompt_tokens, completion_tokens: as the endpoint counts them, or estimated where it does not.
        cost: by the prices given.
        seconds: that the request took.
        cached: nothing was asked for it now.
    """

    text: str
    finish: str = 'stop'
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    seconds: float = 0.0
    cached: bool = False


class Totals(NamedTuple):
    """All replies of a cache together; ``seconds`` is the sum of the times they took."""

    replies: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    seconds: float


def request_key(body: dict[str, Any], attempt: int = 0, address: str | None = None) -> bytes:
    """The key of a request: a hash of its content and of which attempt it is, whatever the order of its keys.

    Args:
        body: the content.
        attempt: another one is another request.
        address: of the endpoint, where those of several addresses are not the same.
    """
    asked = [body, attempt] if address is None else [body, attempt, address]
    text = json.dumps(asked, sort_keys=True, ensure_ascii=False, separators=(',', ':'))
    return hashlib.sha256(text.encode('utf-8', 'surrogatepass')).digest()


class ReplyCache:
    """Replies in an SQLite file. A reply is on disk when :meth:`put` returns, so that killing the process loses none.

    Messages before the last one, most of which repeat from request to request, are stored once.

    Args:
        path: the file; None = in memory.

    Raises:
        ValueError: the file is no such database.

    Example:
        >>> cache = ReplyCache(None)
        >>> body = {'model': 'm', 'messages': [{'role': 'user', 'content': 'Hi'}]}
        >>> cache.put(request_key(body), body, Reply('Hello'))
        >>> cache.get(request_key(body)).text, cache.totals().replies
        ('Hello', 1)
    """

    def __init__(self, path: str | Path | None) -> None:
        self.path = path
        if path is not None:
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        self._base = sqlite3.connect(':memory:' if path is None else path, timeout=60)
        try:
            self._base.execute('PRAGMA journal_mode = WAL')
            self._base.execute(
                'PRAGMA synchronous = NORMAL'
            )  # outlives a killed process; a power cut may cost the last
            self._base.executescript(_TABLES)
        except sqlite3.DatabaseError as error:
            self._base.close()
            raise ValueError(f'{path}: expected an SQLite cache of replies, got {error}; move it away') from error
        self._beginnings: dict[bytes, int] = {}

    def get(self, key: bytes) -> Reply | None:
        """The reply to a request; None where it was never answered."""
        row = self._base.execute(
            'SELECT text, finish, prompt_tokens, completion_tokens, cost, seconds FROM replies WHERE key = ?', (key,)
        ).fetchone()
        return None if row is None else Reply(*row, cached=True)

    def put(self, key: bytes, body: dict[str, Any], reply: Reply) -> None:
        """Keeps a reply."""
        options = {name: value for name, value in body.items() if name not in ('model', 'messages')}
        with self._base:
            beginning = self._beginning(body['messages'][:-1])
            row = (key, body['model'], beginning, _json(body['messages'][-1]), _json(options), reply.text, reply.finish)
            figures = (reply.prompt_tokens, reply.completion_tokens, reply.cost, reply.seconds)
            added = self._base.execute(
                'INSERT OR IGNORE INTO replies VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)',
                (*row, *figures, time.time()),
            )
            if added.rowcount:
                self._base.execute(
                    'UPDATE totals SET replies = replies + 1, prompt_tokens = prompt_tokens + ?, '
                    'completion_tokens = completion_tokens + ?, cost = cost + ?, seconds = seconds + ?',
                    figures,
                )

    def request(self, key: bytes) -> dict[str, Any] | None:
        """What was asked, as it was sent; None for an unknown key."""
        row = self._base.execute(
            'SELECT model, messages, message, options FROM replies JOIN beginnings ON beginning = id WHERE key = ?',
            (key,),
        ).fetchone()
        if row is None:
            return None
        return {'model': row[0], 'messages': [*json.loads(row[1]), json.loads(row[2])], **json.loads(row[3])}

    def totals(self) -> Totals:
        """Sums over all replies, those of earlier runs included."""
        row = self._base.execute(
            'SELECT replies, prompt_tokens, completion_tokens, cost, seconds FROM totals'
        ).fetchone()
        return Totals(*row)

    def close(self) -> None:
        """Closes the file."""
        self._base.close()

    def _beginning(self, messages: list[dict]) -> int:
        text = _json(messages)
        digest = hashlib.sha256(text.encode('utf-8', 'surrogatepass')).digest()
        if digest not in self._beginnings:
            self._base.execute('INSERT OR IGNORE INTO beginnings (digest, messages) VALUES (?, ?)', (digest, text))
            found = self._base.execute('SELECT id FROM beginnings WHERE digest = ?', (digest,)).fetchone()
            if len(self._beginnings) > 1000:
                self._beginnings.clear()
            self._beginnings[digest] = found[0]
        return self._beginnings[digest]


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)

"""Reads the pairs out of the replies; what cannot be read is kept with its reason and may be asked again."""

from __future__ import annotations

import json
from collections.abc import Callable

from mmgpt.inference.endpoint_cache import ReplyCache
from mmgpt.syphus.items import Pair, Parsed
from mmgpt.syphus.replies import LONGEST, parse_reply
from mmgpt.syphus.state import State
from mmgpt.syphus.tasks import Task


def parse(state: State, task: Task, cache: ReplyCache, attempt: int, tick: Callable[[], None]) -> None:
    """Parses the replies of an attempt that were not parsed yet."""
    parts = list(task.parts)
    for place, part in enumerate(parts):
        answered = "part = ? AND attempt = ? AND outcome = 'answered'"
        query = f'SELECT n, key FROM asks WHERE {answered} AND n > ? ORDER BY n'
        for n, key in state.rows(query, (part, attempt)):
            reply = cache.get(key)
            if reply is None:  # the cache was taken away: asked again
                state.write('DELETE FROM asks WHERE n = ? AND part = ? AND attempt = ?', (n, part, attempt))
                continue
            parsed = parse_reply(reply.text, reply.finish)
            _keep(state, (n, part, attempt), (n * len(parts) + place) * (LONGEST + 1), parsed)
            tick()
    state.write(  # what was asked again although an earlier reply can now be read
        "UPDATE asks SET outcome = 'parsed' WHERE attempt > ? AND outcome = 'answered' AND EXISTS "
        "(SELECT 1 FROM asks b WHERE b.n = asks.n AND b.part = asks.part AND b.attempt = ? AND b.outcome = 'parsed')",
        (attempt, attempt),
    )
    state.commit()


def _keep(state: State, where: tuple[int, str, int], first: int, parsed: Parsed) -> None:
    n, part, _attempt = where
    base = state.base  # one transaction: after a kill a reply is parsed or it is not
    for fault in parsed.faults:
        base.execute('INSERT INTO fragments VALUES (?, ?, ?, ?, ?)', (*where, fault.text[:4000], fault.reason))
    for place, pair in enumerate(parsed.pairs):
        values = (first + place, n, part, place, pair.instruction, pair.answer, _extra(pair))
        base.execute('INSERT OR REPLACE INTO pairs VALUES (?, ?, ?, ?, ?, ?, ?, NULL, NULL)', values)
    outcome = 'parsed' if parsed.pairs else 'rejected'
    reason = parsed.faults[0].reason if parsed.faults and not parsed.pairs else None
    state.write(
        'UPDATE asks SET outcome = ?, reason = ? WHERE n = ? AND part = ? AND attempt = ?', (outcome, reason, *where)
    )


def _extra(pair: Pair) -> str:
    return json.dumps(pair.extra, ensure_ascii=False) if pair.extra else ''

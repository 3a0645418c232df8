"""Lets the filters judge every pair, in the order of the items; the first one that objects drops it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence

from mmgpt.inference.endpoint import Endpoint, RequestFailed
from mmgpt.syphus.filters import Candidate, Filter
from mmgpt.syphus.state import State
from mmgpt.syphus.tasks import Task

BLOCK = 256  # pairs that are judged together, so that filters that ask can ask at once
KEPT = 'kept'


async def apply_filters(
    state: State, task: Task, filters: Sequence[Filter], endpoint: Endpoint, tick: Callable[[], None]
) -> None:
    """Gives every pair its verdict: 'kept', or the name of the filter that dropped it, with what it found."""
    for one in filters:
        one.begin()
    try:
        for block in _blocks(candidates(state, task)):
            verdicts: dict[int, tuple[str, str | None]] = {}
            for one in filters:
                left = [pair for pair in block if pair.id not in verdicts]
                if one.asks:
                    details = await _asked(one, left, endpoint)
                else:
                    details = [one(pair) for pair in left]
                for pair, detail in zip(left, details):
                    if detail is not None:
                        verdicts[pair.id] = (type(one).__name__, detail)
            for pair in block:
                verdict, detail = verdicts.get(pair.id, (KEPT, None))
                state.write('UPDATE pairs SET verdict = ?, detail = ? WHERE id = ?', (verdict, detail, pair.id))
                tick()
    finally:
        for one in filters:
            one.end()
        state.commit()


async def _asked(one: Filter, pairs: Sequence[Candidate], endpoint: Endpoint) -> list[str | None]:
    """What a filter finds by asking. Every request ends before an error is raised, so that no reply is lost."""
    found = await asyncio.gather(*(one.ask(pair, endpoint) for pair in pairs), return_exceptions=True)
    for error in found:
        if isinstance(error, BaseException) and not isinstance(error, RequestFailed):
            raise error
    return [f'could not be judged: {detail}' if isinstance(detail, RequestFailed) else detail for detail in found]


def candidates(state: State, task: Task) -> Iterator[Candidate]:
    """All pairs, with the facts that their answers may rest on."""
    last, facts = None, ''
    for row in state.pairs():
        if row.item.id != last:
            last, facts = row.item.id, task.facts(row.item)
        yield Candidate(row.id, row.item.id, row.instruction, row.answer, facts)


def _blocks(pairs: Iterator[Candidate]) -> Iterator[list[Candidate]]:
    block: list[Candidate] = []
    for pair in pairs:
        block.append(pair)
        if len(block) == BLOCK:
            yield block
            block = []
    if block:
        yield block

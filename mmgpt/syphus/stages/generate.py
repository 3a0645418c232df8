"""Asks about every item: many at once, each reply kept in the cache before its item counts as answered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from itertools import islice
from typing import Any

from mmgpt.inference.endpoint import Endpoint, RequestFailed
from mmgpt.inference.endpoint_estimate import Estimate, message_tokens
from mmgpt.syphus.items import Item
from mmgpt.syphus.prompt import SCHEMA, Form, Prompt
from mmgpt.syphus.state import State
from mmgpt.syphus.tasks import Task

REMINDER = 'Your last reply could not be read ({reason}). Keep exactly to the form of the reply.'
SAMPLED = 200  # items whose queries an estimate looks at


class Asking:
    """What is asked about the items of a run.

    Args:
        task: writes the queries.
        prompts: what is said before them, by part.
        form: of the replies.
    """

    def __init__(self, task: Task, prompts: dict[str, Prompt], form: Form) -> None:
        self.task, self.prompts, self.form = task, prompts, form

    def messages(self, item: Item, part: str, reason: str = '') -> list[dict[str, str]]:
        """The messages about an item; ``reason`` says why the reply before could not be read."""
        reminder = REMINDER.format(reason=reason) if reason else ''
        return self.prompts[part].messages(self.task.query(item, part), self.form, reminder)

    @property
    def schema(self) -> dict | None:
        """The JSON schema of replies."""
        return SCHEMA if self.form == 'json' else None


async def generate(state: State, asking: Asking, endpoint: Endpoint, attempt: int, tick: Callable[[], None]) -> None:
    """Asks what waits for an attempt.

    Args:
        state: of the run.
        asking: what to ask.
        endpoint: whom.
        attempt: 0, or a later one for replies that could not be read.
        tick: called after each.

    Raises:
        EndpointError, BudgetExhausted: nothing more can be asked; what was answered is kept.
    """

    def jobs() -> Iterator[tuple[int, str]]:
        for part in asking.task.parts:
            for n in state.pending(part, attempt):
                yield n, part

    async def ask(job: tuple[int, str]) -> None:
        n, part = job
        reason = ''
        if attempt:
            last = (n, part, attempt - 1)
            query = 'SELECT reason FROM asks WHERE n = ? AND part = ? AND attempt = ?'
            reason = state.base.execute(query, last).fetchone()[0] or ''
        messages = asking.messages(state.item(n), part, reason)
        key = endpoint.key(endpoint.body(messages, asking.schema), attempt)
        outcome, why = 'answered', None
        try:
            await endpoint.ask(messages, asking.schema, attempt)
        except RequestFailed as error:
            outcome, why = 'failed', str(error)
        state.write('INSERT OR REPLACE INTO asks VALUES (?, ?, ?, ?, ?, ?)', (n, part, attempt, key, outcome, why))
        tick()

    try:
        await each(jobs(), ask, endpoint.concurrency)
    finally:
        state.commit()


async def each(jobs: Iterable[Any], work: Callable[[Any], Awaitable[None]], concurrency: int) -> None:
    """Does jobs, so many at a time, taken from the iterable as they are needed.

    The first error stops the taking; what is in flight ends, then the error is raised.
    """
    jobs, faults = iter(jobs), []

    async def worker() -> None:
        for job in jobs:
            try:
                await work(job)
            except Exception as error:
                faults.append(error)
            if faults:
                return

    await asyncio.gather(*(worker() for _ in range(concurrency)))
    if faults:
        raise faults[0]


def expected(state: State, asking: Asking, endpoint: Endpoint, per_reply: float | None = None) -> Estimate:
    """What generating for all items that were not asked about would take; nothing is asked."""
    waiting, tokens, looked = 0, 0, 0
    for part in asking.task.parts:
        waiting += state.unasked(part)
        for n in islice(state.pending(part, 0), SAMPLED):
            tokens += message_tokens(asking.messages(state.item(n), part))
            looked += 1
    return endpoint.estimate(waiting, tokens / max(looked, 1), per_reply)

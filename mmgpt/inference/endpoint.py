"""Asks any OpenAI-compatible endpoint: many requests at once, within limits, each answered and paid for once.

What generates instructions (``mmgpt.syphus``) and what judges answers use this one client.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from mmgpt.inference.endpoint_cache import Reply, ReplyCache, request_key
from mmgpt.inference.endpoint_connection import (
    BrokenReply,
    Connection,
    EndpointError,
    RequestFailed,
    RequestRefused,
    import_openai,
    words_of,
)
from mmgpt.inference.endpoint_estimate import Estimate, Price, estimate, message_tokens
from mmgpt.inference.endpoint_limits import Budget, RateLimit, pause_before

__all__ = ['Endpoint', 'EndpointError', 'RequestFailed', 'RequestRefused', 'Usage']


@dataclass
class Usage:
    """What was done since the endpoint was opened."""

    requests: int = 0  # sent, failed ones and repeats included
    answered: int = 0
    cached: int = 0  # answered without asking
    failed: int = 0  # given up
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)  # what kept requests from being answered at once


class Endpoint:
    """A chat model behind an OpenAI-compatible address.

    Args:
        model: its name there.
        base_url: such as ``http://127.0.0.1:8000/v1``. None: ``OPENAI_BASE_URL``, without it OpenAI's own.
        api_key: None: ``OPENAI_API_KEY``; local servers need none.
        cache: SQLite file of all requests and replies. None: nothing outlives the object.
        by_address: what the cache has of another ``base_url`` is not taken for a reply of this one.
        concurrency: requests in flight at a time.
        requests_per_minute, tokens_per_minute: rates not to pass; None = as the endpoint lets us.
        tries: how often a request is sent that fails by a connection, a time limit, a status 5xx or a broken reply.
        patience: seconds for which a request waits where the endpoint says that it is too much (429).
        timeout: seconds of one try.
        max_tokens: of a reply.
        sampling: sent with each request, such as ``dict(temperature=0.7, top_p=0.95)``; what the server knows beyond
            the standard goes here, too.
        price: money for a million tokens, ``dict(input=0.15, output=0.6)``.
        budget: ``dict(max_tokens=..., max_cost=...)``, over all that the cache knows, earlier runs included.
        schema: send JSON schemas ('auto': until the endpoint says that it does not know them).

    Raises:
        ImportError: the package ``openai`` is missing.
        ValueError: no endpoint is named, or by no address, as the first request that has to be sent finds.

    Example:
        >>> async def main():
        ...     async with Endpoint('my-model', cache='cache.sqlite') as endpoint:
        ...         return await endpoint.ask([{'role': 'user', 'content': 'Hi'}])
        >>> asyncio.run(main()).text  # doctest: +SKIP
        'Hello!'
    """

    def __init__(
        self,
        model: str,
        base_url: str | None = None,
        api_key: str | None = None,
        cache: str | Path | None = None,
        by_address: bool = False,
        concurrency: int = 32,
        requests_per_minute: float | None = None,
        tokens_per_minute: float | None = None,
        tries: int = 8,
        patience: float = 900.0,
        timeout: float = 120.0,
        max_tokens: int = 1024,
        sampling: Mapping[str, Any] | None = None,
        price: Mapping[str, float] | None = None,
        budget: Mapping[str, float] | None = None,
        schema: Literal['auto', 'never'] = 'auto',
    ) -> None:
        for name, value in (('concurrency', concurrency), ('tries', tries), ('max_tokens', max_tokens)):
            if not isinstance(value, int) or value < 1:
                raise ValueError(f'{name} must be an integer of at least 1, got {value!r}')
        if schema not in ('auto', 'never'):
            raise ValueError(f"schema must be 'auto' or 'never', got {schema!r}")
        self.model, self.max_tokens, self.sampling = model, max_tokens, dict(sampling or {})
        self.concurrency, self.tries, self.patience, self.timeout = concurrency, tries, patience, timeout
        self.price = Price(**(price or {}))
        self.rates = {'requests_per_minute': requests_per_minute, 'tokens_per_minute': tokens_per_minute}
        self._requests, self._tokens = RateLimit(requests_per_minute), RateLimit(tokens_per_minute)
        self._connection = Connection(model, base_url, api_key, concurrency, timeout, schema == 'auto')
        self._by_address = by_address
        self._running: dict[bytes, asyncio.Task[Reply]] = {}
        self._slots = asyncio.Semaphore(concurrency)
        self.usage = Usage()
        self.cache = ReplyCache(cache)
        spent = self.cache.totals()
        self._budget = Budget(**(budget or {}), tokens=spent.prompt_tokens + spent.completion_tokens, cost=spent.cost)

    async def __aenter__(self) -> Endpoint:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends what is in flight and closes the connections and the cache."""
        for task in list(self._running.values()):
            task.cancel()
        await asyncio.gather(*self._running.values(), return_exceptions=True)
        await self._connection.close()
        self.cache.close()

    def body(
        self, messages: Sequence[Mapping[str, Any]], schema: dict | None = None, **sampling: Any
    ) -> dict[str, Any]:
        """The request that :meth:`ask` would send for the same arguments."""
        body = {'model': self.model, 'messages': list(messages), 'max_tokens': self.max_tokens}
        body |= {**self.sampling, **sampling}
        if schema is not None:
            body['response_format'] = {
                'type': 'json_schema',
                'json_schema': {'name': 'reply', 'strict': True, 'schema': schema},
            }
        return body

    def key(self, body: dict[str, Any], attempt: int = 0) -> bytes:
        """Under what the cache has the reply to a request of :meth:`body`."""
        return request_key(body, attempt, self._connection.base_url if self._by_address else None)

    async def ask(
        self, messages: Sequence[Mapping[str, Any]], schema: dict | None = None, attempt: int = 0, **sampling: Any
    ) -> Reply:
        """The reply to a conversation.

        A request that was answered before, now or in an earlier run, is answered from the cache; one that is in flight
        is waited for.

        Args:
            messages: as the OpenAI API has them.
            schema: JSON schema of the reply; where the endpoint does not know schemas the same is asked without.
            attempt: another number asks again what was answered before.
            sampling: in place of the endpoint's own, such as ``temperature=0``.

        Raises:
            RequestFailed: this request was given up; RequestRefused where it would be refused again.
            EndpointError: the endpoint cannot be used; nothing else should be asked.
            BudgetExhausted: the budget does not suffice.
        """
        body = self.body(messages, schema, **sampling)
        key = self.key(body, attempt)
        found = self.cache.get(key)
        if found is not None:
            self.usage.cached += 1
            return found
        task = self._running.get(key)
        if task is not None:
            reply = (await asyncio.shield(task))._replace(cached=True)
            self.usage.cached += 1
            return reply
        task = self._running[key] = asyncio.ensure_future(self._answer(key, body))
        task.add_done_callback(lambda _: self._running.pop(key, None))
        return await task

    async def _answer(self, key: bytes, body: dict[str, Any]) -> Reply:
        prompt = message_tokens(body['messages'])
        most = prompt + body['max_tokens']
        async with self._slots:
            reserved = await self._budget.reserve(most, self.price.of(prompt, body['max_tokens']))
            reply = Reply('')
            try:
                reply = await self._try(body, prompt)
                self.cache.put(key, body, reply)
            except RequestFailed:
                self.usage.failed += 1
                raise
            finally:
                self._budget.settle(reserved, reply.prompt_tokens + reply.completion_tokens, reply.cost)
        self.usage.answered += 1
        self.usage.prompt_tokens += reply.prompt_tokens
        self.usage.completion_tokens += reply.completion_tokens
        self.usage.cost += reply.cost
        return reply

    async def _try(self, body: dict[str, Any], prompt: int) -> Reply:
        """Sends the request until it is answered."""
        openai = import_openai()
        expected = prompt + body['max_tokens'] // 4
        tried, limited, adapted, waited = 0, 0, 0, 0.0
        while True:
            await self._wait(expected)
            self.usage.requests += 1
            headers = {}
            try:
                reply = await self._connection.send(body, prompt)
                self._tokens.correct(reply.prompt_tokens + reply.completion_tokens - expected)
                return reply._replace(cost=self.price.of(reply.prompt_tokens, reply.completion_tokens))
            except (openai.APITimeoutError, TimeoutError):
                fault = f'no reply within {self.timeout:g} s'
                name = 'timeout'
            except openai.APIConnectionError as error:
                fault = f'no connection: {error.__cause__ or error}'
                name = 'connection'
            except BrokenReply as error:
                fault = name = str(error)
            except openai.APIStatusError as error:
                headers, name = error.response.headers, str(error.status_code)
                fault = f'status {error.status_code}: {words_of(error)}'
                if adapted < 2 and self._connection.adapts(error, body):
                    adapted += 1
                    continue
                self._connection.give_up_where_hopeless(error)
            self.usage.faults[name] += 1
            if name == '429':
                limited += 1
                pause = pause_before(limited, headers)
                if waited + pause > self.patience:
                    raise RequestFailed(f'{fault}; waited {waited:.0f} s for it')
                waited += pause
                self._requests.pause(pause / 2 if 'retry-after' not in headers else pause)
                await asyncio.sleep(pause)
                continue
            tried += 1
            if tried >= self.tries:
                if name == 'connection':
                    raise EndpointError(f'{self._connection} cannot be reached ({fault}); start it, then resume')
                raise RequestFailed(f'{fault}; tried {tried} times')
            await asyncio.sleep(pause_before(tried, headers))

    async def _wait(self, tokens: int) -> None:
        wait = max(self._requests.reserve(), self._tokens.reserve(tokens))
        if wait:
            await asyncio.sleep(wait)

    def estimate(self, requests: int, prompt: float, completion: float | None = None) -> Estimate:
        """What so many requests would use, cost and take; nothing is asked.

        Args:
            requests: how many.
            prompt: tokens of each, see :func:`~mmgpt.inference.endpoint_estimate.message_tokens`.
            completion: tokens expected of each reply; None: a quarter of ``max_tokens``. Once there are replies in
                the cache, their mean is used instead.
        """
        expected = self.max_tokens / 4 if completion is None else completion
        known = self.cache.totals()
        return estimate(requests, prompt, expected, self.price, self.concurrency, self.rates, known)

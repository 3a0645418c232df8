"""Answers judged by a chat model behind any OpenAI-compatible endpoint; each judgement is asked and paid for once."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mmengine.dist import broadcast_object_list, is_main_process

from mmgpt.inference.endpoint import Endpoint, RequestFailed

CACHE = 'work_dirs/judge.sqlite'
SIGN = 60.0  # seconds between the signs of life for the processes that wait
Parse = Callable[[str], Any]  # what a reply says; None: it cannot be read


class Judge:
    """Asks a chat model what answers are worth.

    A reply that cannot be read is asked for again, each time at a temperature higher by 0.5, as MM-Vet's grader does.
    Of several processes the first asks and tells the others.

    Args:
        model: the name of the judging model at its endpoint.
        tries: how often one judgement is asked for.
        cache: SQLite file of all judgements: an interrupted evaluation, or another one of the same answers, asks only
            what is new. Judgements of one address are not taken for those of another.
        kwargs: as :class:`~mmgpt.inference.endpoint.Endpoint` takes them: ``base_url``, ``concurrency``, ``price``,
            ``budget``, …; the key is in ``OPENAI_API_KEY``.

    Example::

        judge = Judge('gpt-4o-mini', base_url='http://127.0.0.1:8000/v1')
        judge([[{'role': 'user', 'content': 'Is 2 + 2 = 4? Reply yes or no.'}]], yes_or_no)  # [1.0]
    """

    def __init__(self, model: str, tries: int = 5, cache: str | None = CACHE, **kwargs: Any) -> None:
        if not isinstance(tries, int) or tries < 1:
            raise ValueError(f'tries must be an integer of at least 1, got {tries!r}')
        self.tries, self.model = tries, model
        self._endpoint = dict(model=model, cache=cache, by_address=True, max_tokens=16) | kwargs

    def __call__(self, conversations: Sequence[Sequence[dict[str, Any]]], parse: Parse) -> list[Any]:
        """What each reply says; None where none could be read.

        Args:
            conversations: messages as the OpenAI API has them.
            parse: from a reply to what it says, None where that cannot be read.

        Raises:
            EndpointError: the endpoint cannot be used; the message says what to do.
        """
        judged: list[Any] = [None]
        if is_main_process():
            try:
                judged = [asyncio.run(self._with_signs(conversations, parse))]
            except Exception as error:  # the others must hear of it, or they would wait for ever
                judged = [error]
            broadcast_object_list(judged)
        while judged[0] is None:
            broadcast_object_list(judged)
        if isinstance(judged[0], Exception):
            raise judged[0]
        return judged[0]

    async def _with_signs(self, conversations: Sequence, parse: Parse) -> list[Any]:
        """All judgements; until they are there, the other processes are told so, which wait no longer than a limit."""
        judging = asyncio.ensure_future(self._all(conversations, parse))
        while not (await asyncio.wait([judging], timeout=SIGN))[0]:
            broadcast_object_list([None])
        return judging.result()

    async def _all(self, conversations: Sequence, parse: Parse) -> list[Any]:
        if self._endpoint['cache'] is not None:
            Path(self._endpoint['cache']).parent.mkdir(parents=True, exist_ok=True)
        async with Endpoint(**self._endpoint) as endpoint:
            return await asyncio.gather(*(self._one(endpoint, messages, parse) for messages in conversations))

    async def _one(self, endpoint: Endpoint, messages: Sequence, parse: Parse) -> Any:
        for attempt in range(self.tries):
            try:
                reply = await endpoint.ask(messages, attempt=attempt, temperature=min(0.5 * attempt, 2.0))
            except RequestFailed:
                continue
            said = parse(reply.text)
            if said is not None:
                return said
        return None


def number_between(low: float, high: float) -> Parse:
    """Reads the first number of a reply where it lies between the two.

    Example:
        >>> number_between(0, 1)('Correctness: 0.5'), number_between(0, 1)('5')
        (0.5, None)
    """

    def parse(reply: str) -> float | None:
        found = re.search(r'-?(?:\d+(?:\.\d+)?|(?<![\w.])\.\d+)', reply)
        value = None if found is None else float(found.group())
        return value if value is not None and low <= value <= high else None

    return parse


def yes_or_no(reply: str) -> float | None:
    """1 for a reply that begins with yes, 0 for no."""
    found = re.match(r'\W*(yes|no)\b', reply, re.IGNORECASE)
    return None if found is None else float(found.group(1).lower() == 'yes')

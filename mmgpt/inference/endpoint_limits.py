"""What holds requests to an endpoint back: rates by requests and tokens, a budget, and pauses between tries."""

from __future__ import annotations

import asyncio
import email.utils
import random
import time
from collections.abc import Callable, Mapping

BURST = 1.0  # seconds' worth of a rate that may be used at once after a time of rest
LONGEST_PAUSE = 60.0  # seconds between two tries, unless the endpoint asks for more


class BudgetExhausted(RuntimeError):
    """The next request could cost more than is left; what was answered before is kept."""


class RateLimit:
    """Spreads amounts over time so that no more than a rate is used, however many wait.

    Args:
        per_minute: the rate; None = no limit.
        clock: gives seconds.

    Example:
        >>> limit = RateLimit(60, clock=lambda: 100.0)
        >>> [limit.reserve() for _ in range(4)]  # one second's worth at once, then one a second
        [0.0, 0.0, 1.0, 2.0]
    """

    def __init__(self, per_minute: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        if per_minute is not None and not per_minute > 0:
            raise ValueError(f'a rate per minute must be above 0, or None for no limit; got {per_minute}')
        self._interval = 0.0 if per_minute is None else 60 / per_minute
        self._clock = clock
        self._next = float('-inf')  # when the rate allows more
        self._paused = float('-inf')

    def reserve(self, amount: float = 1.0) -> float:
        """Seconds to wait before ``amount`` may be used; it counts as used from now on."""
        now = self._clock()
        start = max(self._next, now - BURST, self._paused)
        self._next = start + amount * self._interval
        return max(0.0, start - now)

    def correct(self, amount: float) -> None:
        """More was used than had been reserved, or less where negative."""
        self._next += amount * self._interval

    def pause(self, seconds: float) -> None:
        """Nothing is allowed for so long: the endpoint said that it was too much."""
        self._paused = max(self._paused, self._clock() + seconds)


class Budget:
    """What may be spent, in tokens and in money. A request reserves the most that it can cost before it is sent.

    Where the rest would not do for it, it waits for what others in flight will not have used; where nobody is in
    flight, the budget is exhausted. So the limits are never passed by more than the estimate of a prompt's tokens errs.

    Args:
        max_tokens: of prompts and replies together; None = no limit.
        max_cost: in the currency of the prices; None = no limit.
        tokens, cost: what was spent before.
    """

    def __init__(
        self, max_tokens: int | None = None, max_cost: float | None = None, tokens: int = 0, cost: float = 0.0
    ) -> None:
        for name, value in (('max_tokens', max_tokens), ('max_cost', max_cost)):
            if value is not None and value < 0:
                raise ValueError(f'the budget {name} must not be below 0, got {value}')
        self.max_tokens, self.max_cost = max_tokens, max_cost
        self.tokens, self.cost = tokens, cost
        self.exhausted = False
        self._reserved: list[tuple[int, float]] = []
        self._changed = asyncio.Event()

    async def reserve(self, tokens: int, cost: float) -> tuple[int, float]:
        """Sets the amounts aside; what it returns is to be given to :meth:`settle`.

        Raises:
            BudgetExhausted: they do not fit, and nobody in flight may give something back.
        """
        while not self._fits(tokens, cost):
            if not self._reserved or self.exhausted:
                self.exhausted = True
                self._changed.set()
                raise BudgetExhausted(
                    f'the budget is used up: {self.tokens:,} tokens and {self.cost:.4f} were spent of '
                    f'{_limit(self.max_tokens)} tokens and {_limit(self.max_cost)}; the next request may need '
                    f'{tokens:,} tokens and {cost:.4f}. Raise the budget and resume: what was answered is kept'
                )
            self._changed.clear()
            await self._changed.wait()
        reserved = (tokens, cost)
        self._reserved.append(reserved)
        return reserved

    def settle(self, reserved: tuple[int, float], tokens: int = 0, cost: float = 0.0) -> None:
        """What was set aside became this; nothing, where the request failed."""
        self._reserved.remove(reserved)
        self.tokens += tokens
        self.cost += cost
        self._changed.set()

    def _fits(self, tokens: int, cost: float) -> bool:
        tokens += self.tokens + sum(reserved[0] for reserved in self._reserved)
        cost += self.cost + sum(reserved[1] for reserved in self._reserved)
        return (self.max_tokens is None or tokens <= self.max_tokens) and (
            self.max_cost is None or cost <= self.max_cost
        )


def _limit(value: float | None) -> str:
    return 'unlimited' if value is None else f'{value:,}'


def pause_before(
    tried: int, headers: Mapping[str, str] | None = None, jitter: Callable[[], float] = random.random
) -> float:
    """Seconds until the next try: doubling from half a second, by chance up to half less, at least what is asked for.

    Args:
        tried: how often it was tried.
        headers: of the refusal; ``Retry-After`` (seconds or a date, RFC 9110 section 10.2.3) and ``Retry-After-Ms``.
        jitter: gives numbers from 0 to 1.

    Example:
        >>> pause_before(3, {'retry-after': '7'}, lambda: 0.0)
        7.0
        >>> pause_before(3, None, lambda: 0.0), pause_before(3, None, lambda: 1.0)
        (1.0, 2.0)
    """
    pause = min(LONGEST_PAUSE, 0.25 * 2**tried) * (0.5 + jitter() / 2)
    return max(pause, retry_after(headers or {}) or 0.0)


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that an endpoint asks to wait; None where it does not say, or not in a known way."""
    for name, unit in (('retry-after-ms', 1e-3), ('retry-after', 1.0)):
        value = headers.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
            except ValueError:
                continue
        if seconds == seconds and seconds < 86_400:
            return max(0.0, seconds)
    return None

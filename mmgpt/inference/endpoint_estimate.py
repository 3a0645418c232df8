"""What requests to an endpoint will use, cost and take, before they are sent."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from mmgpt.inference.endpoint_cache import Totals

PICTURE_TOKENS = 800  # assumed of a picture in a message
TOKENS_PER_SECOND = 50  # assumed of a reply, where nothing was measured
FIRST_TOKEN = 0.5  # seconds assumed until a reply begins


class Price(NamedTuple):
    """Money for a million tokens of prompts (``input``) and of replies (``output``)."""

    input: float = 0.0
    output: float = 0.0

    def of(self, prompt_tokens: float, completion_tokens: float) -> float:
        """The money for so many tokens."""
        return (prompt_tokens * self.input + completion_tokens * self.output) / 1e6


def message_tokens(messages: Iterable[str | Mapping[str, Any]]) -> int:
    """About how many tokens messages have, rather too many than too few: no tokenizer is known for every endpoint.

    Example:
        >>> message_tokens([{'role': 'user', 'content': 'What is the man in the red coat doing?'}])
        15
    """
    total = 0.0
    for message in messages:
        content = message if isinstance(message, str) else message.get('content') or ''
        parts = [content] if isinstance(content, str) else [part.get('text', part) for part in content]
        for part in parts:
            total += text_tokens(part) if isinstance(part, str) else PICTURE_TOKENS
        total += 0 if isinstance(message, str) else 4
    return math.ceil(total)


def text_tokens(text: str) -> float:
    """About how many tokens a text has: 3.6 ASCII characters make one, and one of another script about 1.2."""
    ascii_characters = len(text) if text.isascii() else sum(character < '\x80' for character in text)
    return ascii_characters / 3.6 + (len(text) - ascii_characters) * 1.2


class Estimate(NamedTuple):
    """What requests will use: an expectation, not a bound.

    Args:
        requests: how many.
        prompt_tokens, completion_tokens: of all together.
        cost: by the endpoint's prices.
        seconds: at the endpoint's concurrency and rates.
        measured: the length and time of replies are those of the replies in the cache, not assumed.

    Example:
        >>> print(Estimate(1000, 500_000, 120_000, 0.147, 92.0, False))
        1,000 requests: about 500,000 + 120,000 tokens, 0.15 in money, 2 min (lengths and times of replies are assumed)
    """

    requests: int
    prompt_tokens: int
    completion_tokens: int
    cost: float
    seconds: float
    measured: bool

    def __add__(self, other: Estimate) -> Estimate:  # one after the other
        return Estimate(*(a + b for a, b in zip(self[:5], other[:5])), self.measured and other.measured)

    def __str__(self) -> str:
        how = 'are those of the replies so far' if self.measured else 'are assumed'
        tokens = f'{self.prompt_tokens:,} + {self.completion_tokens:,} tokens'
        time = readable_time(self.seconds)
        assumed = f'lengths and times of replies {how}'
        return f'{self.requests:,} requests: about {tokens}, {self.cost:.2f} in money, {time} ({assumed})'


def estimate(
    requests: int,
    prompt: float,
    completion: float,
    price: Price,
    concurrency: int,
    rates: Mapping[str, float | None],
    known: Totals,
) -> Estimate:
    """What requests of a kind will use.

    Args:
        requests: how many.
        prompt, completion: tokens of each, as far as they are known; replies of the cache go before.
        price, concurrency, rates: of the endpoint.
        known: the replies in the cache.
    """
    measured = known.replies >= 5
    if measured:
        completion, latency = known.completion_tokens / known.replies, known.seconds / known.replies
    else:
        latency = FIRST_TOKEN + completion / TOKENS_PER_SECOND
    tokens = requests * (prompt + completion)
    seconds = requests * latency / concurrency
    if rates.get('requests_per_minute'):
        seconds = max(seconds, 60 * requests / rates['requests_per_minute'])
    if rates.get('tokens_per_minute'):
        seconds = max(seconds, 60 * tokens / rates['tokens_per_minute'])
    figures = (round(requests * prompt), round(requests * completion))
    return Estimate(requests, *figures, price.of(*figures), seconds, measured)


def readable_time(seconds: float) -> str:
    """'40 s', '12 min' or '3.5 h'."""
    if seconds < 90:
        return f'{seconds:.0f} s'
    return f'{seconds / 60:.0f} min' if seconds < 5400 else f'{seconds / 3600:.1f} h'

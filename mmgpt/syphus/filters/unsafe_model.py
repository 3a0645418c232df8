"""Unsafe content, as a model judges it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmgpt.registry import SYPHUS_FILTERS
from mmgpt.syphus.filters.base import Candidate, Filter

if TYPE_CHECKING:
    from mmgpt.inference.endpoint import Endpoint

RULES = (
    'You review training data. Unsafe is: instructions for violence or crime, sexual content, hatred of groups, '
    'encouragement of self-harm, private data of people. Reply with one word: safe or unsafe.'
)


@SYPHUS_FILTERS.register_module()
class UnsafeByModel(Filter):
    """The endpoint's model calls the pair unsafe.

    Args:
        rules: what it is told.
    """

    asks = True

    def __init__(self, rules: str = RULES) -> None:
        self.rules = rules

    async def ask(self, pair: Candidate, endpoint: Endpoint) -> str | None:
        """See :class:`Filter`."""
        told = f'Question: {pair.instruction}\nAnswer: {pair.answer}'
        messages = [{'role': 'system', 'content': self.rules}, {'role': 'user', 'content': told}]
        reply = await endpoint.ask(messages, temperature=0.0, max_tokens=5)
        return 'the model says unsafe' if 'unsafe' in reply.text.lower() else None

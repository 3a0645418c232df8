"""Models behind OpenAI-compatible addresses under evaluation, for comparison."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

from mmgpt.data.picture_bytes import data_url, encoded
from mmgpt.evaluation.items import Generation, Prompt
from mmgpt.evaluation.models.base import EvaluatedModel
from mmgpt.evaluation.models.flamingo import before
from mmgpt.evaluation.prompts import PromptWriter
from mmgpt.inference.endpoint import Endpoint, EndpointError, RequestFailed, RequestRefused

MOST_REFUSED = 32  # one after the other; more are no matter of what the questions say


class EndpointModel(EvaluatedModel):
    """A chat model behind an OpenAI-compatible address; pictures are sent as data URLs. It tells no likelihoods.

    Args:
        model: its name there.
        options: of :class:`mmgpt.inference.endpoint.Endpoint`, such as ``base_url``, ``cache``, ``concurrency``.
    """

    can_rank = False

    def __init__(self, model: str, **options: Any) -> None:
        self.model, self.options = model, {'sampling': {'temperature': 0}, **options}
        self.name = f'openai:{model}'
        self._refused = 0  # since the last answer
        self.fingerprint = [model, options.get('base_url') or os.environ.get('OPENAI_BASE_URL')]

    def generate(
        self, prompts: Sequence[Prompt], writer: PromptWriter, settings: Generation
    ) -> list[str | RequestRefused]:
        """See :meth:`EvaluatedModel.generate`. Beams are the server's business; a prompt's requests run together.

        Raises:
            EndpointError: the endpoint cannot be used, gave a request up, or refuses one after the other.
        """
        replies = asyncio.run(self._ask([[*map(_message, writer.messages(prompt))] for prompt in prompts], settings))
        for reply in replies:
            self._refused = self._refused + 1 if isinstance(reply, RequestRefused) else 0
            if self._refused == MOST_REFUSED:
                raise EndpointError(f'{self.name}: {MOST_REFUSED} questions one after the other were refused: {reply}')
        return replies

    async def _ask(self, conversations: list[list[dict[str, Any]]], settings: Generation) -> list[str | RequestRefused]:
        async with Endpoint(self.model, **{'max_tokens': settings.max_new_tokens, **self.options}) as endpoint:
            return await asyncio.gather(*(self._one(endpoint, each, settings) for each in conversations))

    async def _one(
        self, endpoint: Endpoint, conversation: list[dict[str, Any]], settings: Generation
    ) -> str | RequestRefused:
        try:
            reply = await endpoint.ask(conversation)
        except RequestRefused as error:
            return error
        except RequestFailed as error:
            raise EndpointError(f'{self.name}: {error}; the same command goes on from there') from None
        if reply.finish == 'content_filter' and not reply.text:
            return RequestRefused('the reply was filtered')
        return before(reply.text, settings.stop)


def _message(message: dict[str, Any]) -> dict[str, Any]:
    parts = []
    for part in message['content']:
        pictures = {'image': [part.get('image')], 'video': part.get('video')}.get(part['type'])
        parts += (
            [part]
            if pictures is None
            else [{'type': 'image_url', 'image_url': {'url': data_url(encoded(p))}} for p in pictures]
        )
    only_text = message['role'] == 'assistant'  # whose messages hold no parts
    return {**message, 'content': parts[-1]['text'] if only_text else parts}

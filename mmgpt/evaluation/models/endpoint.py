"""Models behind OpenAI-compatible addresses under evaluation, for comparison."""

from __future__ import annotations

import asyncio
import base64
import io
import os
from collections.abc import Sequence
from typing import Any

from PIL import Image

from mmgpt.evaluation.items import Generation, Prompt
from mmgpt.evaluation.models.base import EvaluatedModel
from mmgpt.evaluation.models.flamingo import before
from mmgpt.evaluation.prompts import PromptWriter


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
        self.fingerprint = [model, options.get('base_url') or os.environ.get('OPENAI_BASE_URL')]

    def generate(self, prompts: Sequence[Prompt], writer: PromptWriter, settings: Generation) -> list[str]:
        """See :meth:`EvaluatedModel.generate`. Beams are the server's business; a prompt's requests run together.

        Raises:
            RuntimeError: a request was given up, or the endpoint cannot be used.
        """
        return asyncio.run(self._ask([[*map(_message, writer.messages(prompt))] for prompt in prompts], settings))

    async def _ask(self, conversations: list[list[dict[str, Any]]], settings: Generation) -> list[str]:
        from mmgpt.inference.endpoint import Endpoint

        async with Endpoint(self.model, **{'max_tokens': settings.max_new_tokens, **self.options}) as endpoint:
            replies = await asyncio.gather(*map(endpoint.ask, conversations))
        return [before(reply.text, settings.stop) for reply in replies]


def _message(message: dict[str, Any]) -> dict[str, Any]:
    parts = []
    for part in message['content']:
        pictures = {'image': [part.get('image')], 'video': part.get('video')}.get(part['type'])
        parts += (
            [part] if pictures is None else [{'type': 'image_url', 'image_url': {'url': _url(p)}} for p in pictures]
        )
    only_text = message['role'] == 'assistant'  # whose messages hold no parts
    return {**message, 'content': parts[-1]['text'] if only_text else parts}


def _url(picture: Image.Image) -> str:
    file = io.BytesIO()
    picture.save(file, 'PNG')
    return 'data:image/png;base64,' + base64.b64encode(file.getvalue()).decode()

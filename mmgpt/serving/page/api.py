"""What the page asks beside chat completions: about the model, the prompt's text, a look inside, a vote."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from fastapi import APIRouter, Request
from pydantic import Field

from mmgpt.hub.messages import read_messages
from mmgpt.inference.look_inside import look_inside
from mmgpt.serving.errors import ApiError
from mmgpt.serving.page.inside import inside_as_json
from mmgpt.serving.prompts import conversation_checked, plain_messages, without_media
from mmgpt.serving.schema import Message, Strict
from mmgpt.serving.turn import adapter_of
from mmgpt.structures import Turn

router = APIRouter(prefix='/api', tags=['page'])


class Conversation(Strict):
    """Messages as of a chat completion."""

    model: str
    messages: list[Message] = Field(min_length=1)


class Feedback(Conversation):
    """What a user thinks of the last answer of a conversation."""

    verdict: Literal['up', 'down', 'flag']
    comment: str = Field('', max_length=2000)
    settings: dict[str, Any] = {}


@router.get('/info')
async def info(http: Request) -> dict[str, Any]:
    """What the page has to know about the model and the server."""
    state = http.app.state
    config, prompter = state.model.config, state.processor.prompter
    return {
        'models': [state.name, *state.engine.adapters],
        'template': prompter.template.to_dict(),
        'special_tokens': sorted({*prompter.template.special_tokens, *state.processor.tokenizer.all_special_tokens}),
        'attend': config.attend,
        'image_size': prompter.image_transform.size,
        'num_frames': state.processor.num_frames,
        'context_length': state.engine.context_length,
        'layers': [int(name) for name in state.model.gated_blocks],
        'parameters': state.model.num_parameters(),
        'max_tokens': state.settings.max_tokens,
        'max_body_bytes': state.settings.max_body_bytes,
        'logs': state.log is not None,
        'arena': state.arena is not None,
    }


@router.post('/prompt')
async def prompt(body: Conversation, http: Request) -> dict[str, Any]:
    """The exact text that a conversation becomes, and how many tokens it has; a picture is one, its mark."""
    prompter = http.app.state.processor.prompter
    with conversation_checked():
        turns = _turns(body.messages)
        text, tokens = prompter.text(turns, generate=True), prompter.encode(turns, generate=True)
    return {'text': text, 'tokens': len(tokens.input_ids)}


@router.post('/look')
async def look(body: Conversation, http: Request) -> dict[str, Any]:
    """Where the model looked when it said each word of the last answer."""
    state = http.app.state
    adapter = adapter_of(body.model, state)
    if body.messages[-1].role != 'assistant':
        raise ApiError(400, 'messages: there is no answer to look into', 'invalid_messages', 'messages')
    limit = state.engine.context_length
    with _admitted(http):
        with conversation_checked():
            length = len(state.processor.prompter.encode(_turns(body.messages)).input_ids)
        if limit is not None and length > limit:
            message = f'the conversation has {length} tokens; the model takes {limit}'
            raise ApiError(400, message, 'context_length_exceeded', 'messages')
        messages = await _in_readers(http, plain_messages, state.processor, body.messages, state.settings)

        def looking(model: Any) -> dict[str, Any]:
            return inside_as_json(look_inside(model, state.processor, messages).words())

        try:
            with conversation_checked():
                async with asyncio.timeout(state.settings.timeout):
                    return await asyncio.wrap_future(state.engine.call(looking, adapter))
        except TimeoutError:
            raise ApiError(504, f'no result within {state.settings.timeout:g} s', 'timeout') from None


@router.post('/feedback', status_code=204)
async def feedback(body: Feedback, http: Request) -> None:
    """Keeps a vote or a flag with its conversation, where the server keeps a log."""
    log = http.app.state.log
    if log is None:
        raise ApiError(404, 'this server keeps no log: start it with --log-dir', 'no_log')
    adapter_of(body.model, http.app.state)  # raises where there is no such model
    with _admitted(http):
        await _in_readers(http, log.feedback, body.model_dump())


@contextmanager
def _admitted(http: Request) -> Iterator[None]:
    """Counts a request among those in the house."""
    admission = http.app.state.admission
    admission.enter()
    try:
        yield
    finally:
        admission.leave()


async def _in_readers(http: Request, function: Callable[..., Any], *arguments: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(http.app.state.readers, function, *arguments)


def _turns(messages: Sequence[Message]) -> list[Turn]:
    """The turns of a conversation without the pixels of its media."""
    return read_messages([without_media(message) for message in messages], load=False)

"""``POST /v1/chat/completions`` and ``GET /v1/models``."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from mmgpt.serving.errors import ApiError, ended
from mmgpt.serving.schema import ChatRequest, Completion, Error, Model, Models
from mmgpt.serving.turn import Turn

router = APIRouter(prefix='/v1')
ERRORS = {status: {'model': Error} for status in (400, 401, 404, 408, 413, 429, 500, 503, 504)}
GONE = 499  # nobody sees this status but the metrics: the client went away
LAST = 5.0  # seconds after a turn's deadline in which a stream may still tell of it


@router.get('/models', responses={401: {'model': Error}, 503: {'model': Error}})
async def models(http: Request) -> Models:
    """The model and its adapters."""
    state = http.app.state
    names = [state.name, *state.engine.adapters] if state.engine else []
    return Models(
        data=[Model(id=n, created=state.started, parent=None if n == state.name else state.name) for n in names]
    )


@router.get('/models/{name:path}', responses={404: {'model': Error}})
async def model(name: str, http: Request) -> Model:
    """One of them."""
    found = next((one for one in (await models(http)).data if one.id == name), None)
    if found is None:
        raise ApiError(404, f'there is no model {name!r}: see /v1/models', 'model_not_found', 'model')
    return found


@router.post('/chat/completions', response_model=Completion, responses=ERRORS)
async def chat_completions(body: ChatRequest, http: Request) -> Any:
    """Answers a conversation; with ``stream`` as server-sent events."""
    return await respond(Turn(body, http.app.state, http.state.body), http)


async def respond(turn: Turn, http: Request) -> Any:
    """The answer to a request, however it ends: a completion, a stream of events, or an error."""
    try:
        if turn.body.stream:
            await _unless_gone(turn.begin(), http)
            return EventStream(turn)
        completion = await _unless_gone(turn.whole(), http)
    except asyncio.CancelledError:  # the server ends: the gate says so
        turn.close(503)
        raise
    except ApiError as error:
        turn.close(error.status)
        raise
    except BaseException:
        turn.close(500)
        raise
    turn.close(200 if completion is not None else GONE)
    return completion if completion is not None else Response(status_code=GONE)


class EventStream(StreamingResponse):
    """Server-sent events of a turn, which ends with them, however they end: a client that does not read, by time."""

    def __init__(self, turn: Turn) -> None:
        super().__init__(turn.events(), media_type='text/event-stream', headers={'Cache-Control': 'no-cache'})
        self.turn = turn

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Sends them."""
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self.turn.deadline + LAST):
                    await super().__call__(scope, receive, send)
        except asyncio.CancelledError:
            self.turn.close(503)
            with suppress(asyncio.CancelledError):  # again: a client that does not read is not waited for
                await send({'type': 'http.response.body', 'body': f'data: {ended().json()}\n\n'.encode()})
        finally:
            self.turn.close(GONE)  # where the last event was not reached


async def _unless_gone(work: Any, http: Request) -> Any:
    """What the work gives, or None where the client goes away before; it is then cancelled."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(http.receive())
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for one in (task, gone):
            one.cancel()
        await asyncio.gather(task, gone, return_exceptions=True)

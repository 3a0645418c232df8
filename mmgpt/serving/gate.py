"""What every request passes before anything of it is looked at: the key, and limits of size, number and time."""

from __future__ import annotations

import asyncio
import secrets
from typing import Any

from mmgpt.serving.errors import ApiError, ended
from mmgpt.serving.settings import ServerSettings

GUARDED = ('/v1/', '/api/')


class Admission:
    """How many requests are in the house, and the bytes of their bodies."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.requests = 0
        self.bytes = 0

    def enter(self) -> None:
        """Counts a request that is to be answered.

        Raises:
            ApiError: there are as many as there may be.
        """
        if self.requests >= self.settings.max_requests:
            raise ApiError(429, 'too many requests are waiting: try again later', 'queue_full', retry_after=1)
        self.requests += 1

    def leave(self) -> None:
        """Takes it off again."""
        self.requests -= 1


class Body:
    """The bytes of one request, counted among those of all until they are released."""

    def __init__(self, admission: Admission) -> None:
        self.admission = admission
        self.chunks: list[bytes] = []
        self.size = 0

    def add(self, chunk: bytes) -> None:
        """Takes a chunk.

        Raises:
            ApiError: the body, or all of them together, are too large.
        """
        settings = self.admission.settings
        self.size += len(chunk)
        self.admission.bytes += len(chunk)
        if self.size > settings.max_body_bytes:
            raise too_large(settings.max_body_bytes)
        if self.admission.bytes > settings.max_buffered_bytes:
            raise ApiError(503, 'the server is busy reading other requests', 'busy', retry_after=1)
        self.chunks.append(chunk)

    def release(self) -> None:
        """Its bytes are no longer held."""
        self.admission.bytes -= self.size
        self.size = 0
        self.chunks = []


class Gate:
    """ASGI middleware before all routes that cost something.

    Args:
        app: what comes after it.
        settings: the limits.
        state: of the application: what is counted, and whether the model is there.
    """

    def __init__(self, app: Any, settings: ServerSettings, state: Any) -> None:
        self.app = app
        self.settings = settings
        self.state = state
        self.admission: Admission = state.admission

    async def __call__(self, scope: dict, receive: Any, send: Any) -> None:
        """Lets a request in, or answers it with an error."""
        if scope['type'] != 'http' or not scope['path'].startswith(GUARDED):
            await self.app(scope, receive, send)
            return
        body = Body(self.admission)
        try:
            headers = {key.lower(): value for key, value in scope['headers']}
            self._check_key(headers)
            if self.state.engine is None:
                raise ApiError(503, 'the model is loading', 'loading', retry_after=5)
            if scope['method'] in ('POST', 'PUT', 'PATCH'):
                self._check_room(headers)
                if not await self._read(body, receive):
                    return  # the client went away
                receive = _replay(body, receive)
            scope.setdefault('state', {})['body'] = body
            await self.app(scope, receive, send)
        except ApiError as error:
            body.release()
            await error.response()(scope, receive, send)
        except asyncio.CancelledError:
            await ended().response()(scope, receive, send)
        finally:
            body.release()

    def _check_key(self, headers: dict[bytes, bytes]) -> None:
        if self.settings.api_key is None:
            return
        kind, _, key = headers.get(b'authorization', b'').partition(b' ')
        if kind.lower() != b'bearer' or not secrets.compare_digest(key.strip(), self.settings.api_key.encode()):
            raise ApiError(401, 'the API key is missing or wrong', 'invalid_api_key')

    def _check_room(self, headers: dict[bytes, bytes]) -> None:
        length = headers.get(b'content-length', b'0')
        if length.isdigit() and int(length) > self.settings.max_body_bytes:
            raise too_large(self.settings.max_body_bytes)
        if self.admission.requests >= self.settings.max_requests:
            self.admission.enter()  # raises

    async def _read(self, body: Body, receive: Any) -> bool:
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                while True:
                    message = await receive()
                    if message['type'] == 'http.disconnect':
                        body.release()
                        return False
                    body.add(message.get('body', b''))
                    if not message.get('more_body'):
                        return True
        except TimeoutError:
            seconds = self.settings.body_timeout
            raise ApiError(408, f'the request did not arrive within {seconds:g} s', 'body_timeout') from None


def too_large(limit: int) -> ApiError:
    """The error of a body over the limit."""
    return ApiError(413, f'the request is larger than {limit} bytes: send smaller or fewer pictures', 'body_too_large')


def _replay(body: Body, receive: Any) -> Any:
    """Gives what was read, then what the server says next: that the client went away."""
    given = False

    async def replayed() -> dict[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        whole, body.chunks = b''.join(body.chunks), []
        return {'type': 'http.request', 'body': whole, 'more_body': False}

    return replayed

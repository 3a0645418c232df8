"""The connection to an endpoint: sends one request, reads its reply, and says what a refusal means."""

from __future__ import annotations

import asyncio
import os
import time
from types import ModuleType
from typing import Any

from mmgpt.inference.endpoint_cache import Reply
from mmgpt.inference.endpoint_estimate import message_tokens

REFUSING = {401: 'the key was refused', 403: 'access was refused', 404: 'there is no such model or address'}
CONNECTIONS = 16  # of a client
PASSING = {408, 409, 425, 500, 502, 503, 504, 520, 522, 524, 529}  # statuses that another try may not meet


class EndpointError(RuntimeError):
    """The endpoint cannot be used as it is: the run should stop. The message says what to do."""


class RequestFailed(RuntimeError):
    """One request was not answered, for reasons of its own; others may be."""


class RequestRefused(RequestFailed):
    """The endpoint refuses one request, such as for what it says or how long it is; the same again would be, too."""


class BrokenReply(Exception):
    """A reply that is no chat completion."""


class Connection:
    """The clients of one address, and what was learnt of the keys that it knows.

    Args:
        model, base_url, api_key, concurrency, timeout: see :class:`~mmgpt.inference.endpoint.Endpoint`.
        schemas: send JSON schemas until the endpoint says that it does not know them.
    """

    def __init__(
        self, model: str, base_url: str | None, api_key: str | None, concurrency: int, timeout: float, schemas: bool
    ) -> None:
        self.model = model
        self.base_url = base_url or os.environ.get('OPENAI_BASE_URL')
        self._key = api_key or os.environ.get('OPENAI_API_KEY')
        self._concurrency, self._timeout = concurrency, timeout
        self._unknown = set() if schemas else {'response_format'}  # keys that the endpoint does not know
        self._renamed: dict[str, str] = {}
        self._clients: list[Any] = []
        self._turn = 0

    def __str__(self) -> str:
        return f'model {self.model!r} at {self.base_url or "OpenAI"}'

    async def close(self) -> None:
        """Ends the connections."""
        await asyncio.gather(*(client.close() for client in self._clients))

    async def send(self, body: dict[str, Any], prompt: int) -> Reply:
        """The reply to a request, without its cost.

        Args:
            body: of the request; keys that the endpoint does not know are left out.
            prompt: its tokens, where the endpoint does not count them.

        Raises:
            BrokenReply: it is no chat completion.
            EndpointError: the request cannot be sent.
        """
        client, begin = self._client(), time.monotonic()
        body = {self._renamed.get(name, name): value for name, value in body.items() if name not in self._unknown}
        try:
            posted = client.post('/chat/completions', cast_to=object, body=body)
            reply = await asyncio.wait_for(posted, self._timeout)  # the client's own limit is one of each read
            choice = reply['choices'][0]
            text, finish = _text(choice['message'].get('content') or ''), choice.get('finish_reason') or 'stop'
            used = reply.get('usage') or {}
            tokens = (used.get('prompt_tokens') or prompt, used.get('completion_tokens') or message_tokens([text]))
            tokens = tuple(int(count) for count in tokens)
        except UnicodeEncodeError as error:
            raise EndpointError(
                f'{self}: the key or the request cannot be sent ({error}); is OPENAI_API_KEY typed right?'
            ) from None
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise BrokenReply('malformed reply') from None
        text = text.encode('utf-8', 'replace').decode()  # half a surrogate pair has no place in a file
        return Reply(text, finish, *tokens, seconds=time.monotonic() - begin)

    def adapts(self, error: Any, body: dict[str, Any]) -> bool:
        """Whether the endpoint, as it says, does not know a key that it can do without; it is not sent any more."""
        said = words_of(error).lower()
        if error.status_code not in (400, 415, 422, 501):
            return False
        if 'response_format' in body and any(w in said for w in ('response_format', 'json_schema', 'schema')):
            self._unknown.add('response_format')
        elif 'max_completion_tokens' in said and 'max_tokens' not in self._renamed:
            self._renamed['max_tokens'] = 'max_completion_tokens'
        else:
            return False
        return True

    def give_up_where_hopeless(self, error: Any) -> None:
        """Raises an EndpointError or a RequestRefused for a status that another try would meet, too."""
        status, said = error.status_code, words_of(error)
        if status in REFUSING:
            raise EndpointError(f'{self}: {REFUSING[status]} (status {status}: {said})') from None
        if status == 429 and 'insufficient_quota' in said:
            raise EndpointError(f'{self}: the account has no money left ({said})') from None
        if status not in PASSING and status != 429 and status < 500:
            raise RequestRefused(f'status {status}: {said}') from None

    def _client(self) -> Any:
        """A client, made when first needed: estimates and cached replies need none.

        A client looks through all its connections for each request, so many requests at a time have several clients.
        """
        if not self._clients:
            openai = import_openai()
            address = self.base_url
            if not (address or self._key):
                raise ValueError(
                    'no endpoint is named: set OPENAI_BASE_URL (such as http://127.0.0.1:8000/v1) and, where it wants '
                    'one, OPENAI_API_KEY'
                )
            if address and not address.startswith(('http://', 'https://')):
                raise ValueError(f'the address of an endpoint begins with http:// or https://, got {address!r}')
            options = {'base_url': address, 'api_key': self._key or 'none', 'max_retries': 0, 'timeout': self._timeout}
            count = -(-self._concurrency // CONNECTIONS)
            self._clients = [openai.AsyncOpenAI(**options) for _ in range(count)]
        self._turn = (self._turn + 1) % len(self._clients)
        return self._clients[self._turn]


def import_openai() -> ModuleType:
    """The package ``openai``, which is imported when something is sent.

    Raises:
        ImportError: it is missing.
    """
    try:
        import openai
    except ImportError as error:
        raise ImportError('endpoints are asked through openai, which is not installed: pip install openai') from error
    return openai


def _text(content: str | list[Any]) -> str:
    """The text of a message, which some endpoints give as a list of parts."""
    if isinstance(content, list):
        content = ''.join(part if isinstance(part, str) else part.get('text', '') for part in content)
    if not isinstance(content, str):
        raise TypeError('content is no text')
    return content


def words_of(error: Any) -> str:
    """The endpoint's own words."""
    body = error.body if isinstance(error.body, dict) else {}
    body = body['error'] if isinstance(body.get('error'), dict) else body
    parts = [str(body[name]) for name in ('message', 'code', 'type') if body.get(name)]
    return ' '.join(parts or [str(error.message)])[:500]

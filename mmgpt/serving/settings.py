"""What a server allows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ServerSettings:
    """What a server allows. Everything that a client can make grow has a limit.

    Args:
        api_key: what clients must send as ``Authorization: Bearer …``; None: nothing.
        max_batch: answers that are decoded together.
        max_waiting: requests that wait beyond those; more get 429.
        timeout: seconds from when a request was read to the end of its answer.
        body_timeout: seconds in which a request's body has to arrive.
        max_body_bytes: of one request.
        max_buffered_bytes: of the bodies of all requests at one time.
        max_pixels: of one picture or frame, told by its header before anything is decoded.
        max_media: pictures and videos of one request.
        max_tokens: of an answer where the request says nothing.
        temperature: where the request says nothing; 0 = greedy, as ``model.generate``.
        prefix_bytes: memory for texts that may go on, see ``BatchEngine``.
        log_dir: where votes and flags of the page's users are kept; None: nowhere.

    Raises:
        ValueError: a number that is too small, or an empty key.
    """

    api_key: str | None = None
    max_batch: int = 16
    max_waiting: int = 64
    timeout: float = 300.0
    body_timeout: float = 30.0
    max_body_bytes: int = 32 * 2**20
    max_buffered_bytes: int = 256 * 2**20
    max_pixels: int = 32_000_000
    max_media: int = 64
    max_tokens: int = 256
    temperature: float = 0.0
    prefix_bytes: int = 2**30
    log_dir: str | Path | None = None

    def __post_init__(self) -> None:
        for name, least in {'max_batch': 1, 'max_waiting': 0, 'max_tokens': 1}.items():
            if getattr(self, name) < least:
                raise ValueError(f'{name} must be at least {least}, got {getattr(self, name)}')
        for name in ('timeout', 'body_timeout'):
            if not getattr(self, name) > 0:
                raise ValueError(f'{name} must be more than 0 seconds, got {getattr(self, name)}')
        if self.api_key == '':
            raise ValueError('api_key is empty: give a key, or None where clients need none')

    @property
    def max_requests(self) -> int:
        """Requests that are prepared, wait or run at one time."""
        return self.max_batch + self.max_waiting

"""What a batch engine is asked, and what it tells."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.prefixes import Prompt
from mmgpt.inference.sampling import Token

logger = logging.getLogger(__name__)


class QueueFull(RuntimeError):
    """As many requests wait as may wait."""


@dataclass(frozen=True)
class Request:
    """What is to be answered.

    Args:
        prompt: the text with its media.
        settings: how answers are generated; without beams.
        adapter: the name of an adapter; None: the base.
        n: how many answers; the i-th draws with ``settings.seed + i``.
        logprobs: None, or the log probabilities of each token and of so many of the likeliest are told.
    """

    prompt: Prompt
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    adapter: str | None = None
    n: int = 1
    logprobs: int | None = None


@dataclass(frozen=True)
class Progress:
    """What a step of decoding brings for one answer of a request.

    Args:
        index: of the answer, 0 to n - 1.
        text: the piece of text that became certain; '' where there is none.
        token: the token that was chosen.
        finish: None: it goes on; 'stop': at a stop token or string; 'length': at ``max_new_tokens``.
        error: what ended the request instead; no more comes.
    """

    index: int
    text: str = ''
    token: Token | None = None
    finish: str | None = None
    error: BaseException | None = None


@dataclass(eq=False)
class Job:
    """A request on its way.

    Args:
        request: what is to be answered.
        on_progress: called in the engine's thread with each ``Progress``; it must not block.
    """

    request: Request
    on_progress: Callable[[Progress], None]
    created: float = field(default_factory=time.perf_counter)
    reused: int = 0  # tokens of the prompt that were not computed again
    cancelled: bool = False
    ended: int = 0  # how many of its answers are whole

    def cancel(self) -> None:
        """Ends it at the next step; nothing more is told. From any thread."""
        self.cancelled = True

    def tell(self, progress: Progress) -> None:
        """Hands a step's result over; a listener that fails ends its own request only."""
        if self.cancelled or self.ended == self.request.n:
            return
        self.ended += progress.finish is not None
        try:
            self.on_progress(progress)
        except Exception:
            logger.exception('the listener of a request failed; the request is cancelled')
            self.cancelled = True
        if progress.error is not None:
            self.cancelled = True


@dataclass(frozen=True)
class Answer:
    """A whole answer: its text, the tokens generated, why it ended, the seconds since it was asked, tokens reused."""

    text: str
    tokens: int
    finish: str
    seconds: float
    reused: int = 0


class GrowingAnswer:
    """The answer of a request of one, put together from its progress."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._texts: list[str] = []
        self._tokens = 0

    def add(self, made: Progress) -> None:
        """Takes what a step has brought."""
        self._texts.append(made.text)
        self._tokens += made.token is not None

    def whole(self, finish: str) -> Answer:
        """The answer, which has just ended."""
        seconds = time.perf_counter() - self.job.created
        return Answer(''.join(self._texts), self._tokens, finish, seconds, self.job.reused)

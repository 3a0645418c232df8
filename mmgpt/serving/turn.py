"""One request and its answers: from the client's fields to the engine, and back as a whole or as events."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator
from typing import Any

from mmgpt.inference.answer_text import spelt
from mmgpt.inference.batching import BatchEngine
from mmgpt.inference.generation import GenerationSettings
from mmgpt.inference.requests import Job, Progress, QueueFull, Request
from mmgpt.inference.sampling import Token
from mmgpt.serving import schema
from mmgpt.serving.errors import ApiError
from mmgpt.serving.gate import Body
from mmgpt.serving.prompts import read_prompt
from mmgpt.serving.schema import ChatRequest

UNSUPPORTED = ('frequency_penalty', 'presence_penalty', 'logit_bias', 'tools', 'functions')


class Turn:
    """One request. Making it counts it among those in the house; ``close`` takes it off again.

    Args:
        body: what the client sent.
        state: of the application, see ``mmgpt.serving.app``.
        received: the request's bytes, released once its pictures are read.

    Raises:
        ApiError: 429, there are as many requests as there may be.
    """

    def __init__(self, body: ChatRequest, state: Any, received: Body) -> None:
        self.body = body
        self.state = state
        self.engine: BatchEngine = state.engine
        self.stops = frozenset(self.engine.processor.stop_token_ids)
        self.job: Job | None = None
        self._received = received
        self._progress: asyncio.Queue[Progress] = asyncio.Queue()
        self._loop = asyncio.get_running_loop()
        self._started = time.perf_counter()
        self.deadline = self._loop.time() + state.settings.timeout
        self._generated = 0
        self._closed = False
        self._id = f'chatcmpl-{uuid.uuid4().hex}'
        self._created = int(time.time())
        state.admission.enter()

    async def begin(self) -> None:
        """Reads the pictures, away from the event loop, and lines the request up.

        Raises:
            ApiError: something is wrong with the request, or it takes too long.
        """
        adapter = self._adapter()
        self._check_fields()
        try:
            async with asyncio.timeout_at(self.deadline):
                prompt = await self._loop.run_in_executor(
                    self.state.readers, read_prompt, self.engine, self.body.messages, self.state.settings
                )
        except TimeoutError:
            raise self._late() from None
        self.body.messages = []
        self._received.release()
        body = self.body
        logprobs = (body.top_logprobs or 0) if body.logprobs else None
        request = Request(prompt, self._settings(len(prompt.ids)), adapter, body.n or 1, logprobs)
        try:
            self.job = self.engine.submit(request, self._tell)
        except QueueFull as error:
            raise ApiError(429, str(error), 'queue_full', retry_after=1) from error
        except ValueError as error:
            raise ApiError(400, str(error), 'invalid_value') from error

    async def whole(self) -> schema.Completion:
        """Begins, and waits for all answers."""
        await self.begin()
        count = self.body.n or 1
        texts: list[list[str]] = [[] for _ in range(count)]
        tokens: list[list[Token]] = [[] for _ in range(count)]
        finish = [''] * count
        async for made in self._all():
            texts[made.index].append(made.text)
            tokens[made.index].append(made.token)
            finish[made.index] = made.finish or ''
        choices = [
            schema.Choice(
                index=i,
                message=schema.AnswerMessage(content=''.join(texts[i])),
                finish_reason=finish[i],
                logprobs=self._logprobs(tokens[i]),
            )
            for i in range(count)
        ]
        return schema.Completion(
            id=self._id, created=self._created, model=self.body.model, choices=choices, usage=self._usage()
        )

    async def events(self) -> AsyncIterator[str]:
        """Server-sent events, after ``begin``; before the last one of them it is closed."""
        wants_usage = self.body.stream_options is not None and self.body.stream_options.include_usage
        more = {'usage': None} if wants_usage else {}
        for index in range(self.body.n or 1):
            yield self._event(
                [schema.Delta(index=index, delta=schema.DeltaMessage(role='assistant', content=''))], more
            )
        try:
            async for made in self._all():
                logprobs = self._logprobs([made.token])
                if made.text or (logprobs and logprobs.content):
                    delta = schema.DeltaMessage(content=made.text)
                    yield self._event([schema.Delta(index=made.index, delta=delta, logprobs=logprobs)], more)
                if made.finish:
                    last = schema.Delta(index=made.index, delta=schema.DeltaMessage(), finish_reason=made.finish)
                    yield self._event([last], more)
        except ApiError as error:  # the status was sent long ago
            self.close(error.status)
            yield f'data: {error.json()}\n\n'
            return
        if wants_usage:
            yield self._event([], {'usage': self._usage()})
        self.close(200)
        yield 'data: [DONE]\n\n'

    def close(self, status: int) -> None:
        """Cancels what still runs, and counts the request as ended."""
        if self._closed:
            return
        self._closed = True
        if self.job is not None:
            self.job.cancel()
        self._received.release()
        self.state.admission.leave()
        metrics = self.state.metrics
        known = self.body.model in (self.state.name, *self.engine.adapters)
        metrics.requests.labels(self.body.model if known else '', status).inc()
        if self.job is not None:
            metrics.prompt_tokens.inc(len(self.job.request.prompt.ids))
            metrics.cached_tokens.inc(self.job.reused)
            metrics.generated_tokens.inc(self._generated)
            metrics.whole.observe(time.perf_counter() - self._started)

    # ---- the request

    def _adapter(self) -> str | None:
        return adapter_of(self.body.model, self.state)

    def _check_fields(self) -> None:
        body = self.body
        for name in UNSUPPORTED:
            if getattr(body, name):
                raise ApiError(400, f'{name} is not supported', 'unsupported_parameter', name)
        if body.response_format is not None and body.response_format.type != 'text':
            raise ApiError(400, 'response_format must be text', 'unsupported_parameter', 'response_format')
        if body.top_logprobs is not None and not body.logprobs:
            raise ApiError(400, 'top_logprobs needs logprobs', 'invalid_value', 'top_logprobs')
        if body.n is not None and body.n > self.state.settings.max_batch:
            raise ApiError(400, f'n must be at most {self.state.settings.max_batch}', 'invalid_value', 'n')
        stop = self._stop()
        if len(stop) > 16 or not all(0 < len(text) <= 256 for text in stop):
            raise ApiError(400, 'stop: at most 16 strings of 1 to 256 characters', 'invalid_value', 'stop')

    def _stop(self) -> tuple[str, ...]:
        stop = self.body.stop
        return (stop,) if isinstance(stop, str) else tuple(stop or ())

    def _settings(self, length: int) -> GenerationSettings:
        body, default = self.body, self.state.settings
        limit = self.engine.context_length
        asked = body.max_completion_tokens or body.max_tokens
        if limit is not None and length + (asked or 1) > limit:
            message = f'the prompt has {length} tokens and the answer may have {asked or 1}; the model takes {limit}'
            raise ApiError(400, message, 'context_length_exceeded', 'messages')
        most = default.max_tokens if limit is None else min(default.max_tokens, limit - length)
        return GenerationSettings(
            max_new_tokens=asked or most,
            temperature=default.temperature if body.temperature is None else body.temperature,
            top_p=1.0 if body.top_p is None else body.top_p,
            stop=self._stop(),
            seed=body.seed,
        )

    # ---- the answers

    def _tell(self, progress: Progress) -> None:
        """Called in the engine's thread."""
        self._loop.call_soon_threadsafe(self._progress.put_nowait, progress)

    async def _all(self) -> AsyncIterator[Progress]:
        left = self.body.n or 1
        while left:
            try:
                async with asyncio.timeout_at(self.deadline):
                    made = await self._progress.get()
            except TimeoutError:
                raise self._late() from None
            if made.error is not None:
                raise ApiError(500, 'the answer failed inside of the server; its log says how') from made.error
            if not self._generated:
                self.state.metrics.first.observe(time.perf_counter() - self._started)
            self._generated += 1
            left -= made.finish is not None
            yield made

    def _late(self) -> ApiError:
        return ApiError(504, f'there was no answer within {self.state.settings.timeout:g} s', 'timeout')

    def _usage(self) -> schema.Usage:
        length = len(self.job.request.prompt.ids)
        return schema.Usage(
            prompt_tokens=length,
            completion_tokens=self._generated,
            total_tokens=length + self._generated,
            prompt_tokens_details=schema.PromptDetails(cached_tokens=self.job.reused),
        )

    def _logprobs(self, tokens: list[Token]) -> schema.Logprobs | None:
        if not self.body.logprobs:
            return None

        def told(token: int, logprob: float) -> dict[str, Any]:
            text, spelling = spelt(self.engine.processor.tokenizer, token)
            return {'token': text, 'logprob': max(logprob, -9999.0), 'bytes': list(spelling)}

        return schema.Logprobs(
            content=[
                schema.TokenLogprob(
                    **told(token.id, token.logprob), top_logprobs=[schema.TopLogprob(**told(*one)) for one in token.top]
                )
                for token in tokens
                if token.id not in self.stops
            ]
        )

    def _event(self, choices: list[schema.Delta], more: dict[str, Any]) -> str:
        chunk = schema.Chunk(id=self._id, created=self._created, model=self.body.model, choices=choices, **more)
        unset = None if more else {'usage'}
        return f'data: {chunk.model_dump_json(exclude=unset)}\n\n'


def adapter_of(model: str, state: Any) -> str | None:
    """The adapter that a request's ``model`` names; None: the model itself.

    Raises:
        ApiError: 404, there is no such model.
    """
    if model == state.name:
        return None
    if model not in state.engine.adapters:
        raise ApiError(404, f'there is no model {model!r}: see /v1/models', 'model_not_found', 'model')
    return model

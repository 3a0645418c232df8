"""Continuous batching: requests join and leave a running batch between two tokens.

One thread owns the model. Each of its steps takes new requests in (their prompts run as one padded batch, or go on from
a text that was computed before), joins their caches with those of the running rows, and decodes one token of every row.
Rows differ in length, media, settings and seed. Requests of different adapters run in batches of their own, in turn.
"""

from __future__ import annotations

import logging
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from transformers import DynamicCache

from mmgpt.inference.generation import context_length
from mmgpt.inference.prefixes import EncodedMedia, Prefixes, Prompt, active_adapters
from mmgpt.inference.requests import Answer, GrowingAnswer, Job, Progress, QueueFull, Request
from mmgpt.inference.running_batch import RunningBatch
from mmgpt.models.cache_rows import is_joinable

logger = logging.getLogger(__name__)


class BatchEngine:
    """Answers requests together.

    Args:
        model: a ``Flamingo`` in evaluation mode. From now on it belongs to the engine's thread; see ``call``.
        processor: its processor.
        adapters: names and folders of adapters that requests may choose.
        max_batch: rows that are decoded together.
        max_waiting: requests that wait; more are refused.
        prefill_tokens: tokens of prompts that one step takes in at most, but for a single longer prompt, so that
            running answers do not stand still for long.
        prefix_bytes: memory for texts that may go on; 0 computes every prompt from its beginning.

    Raises:
        ValueError, OSError: an adapter cannot be put on the model.
        ValueError: the cache of the model's decoder holds more than keys and values, or a number is too small.

    Example::

        with BatchEngine(*load_folder('work_dirs/otter_demo/hf')) as engine:
            requests = [Request(engine.prompt(messages)) for messages in conversations]
            for place, answer in engine.generate(requests):
                print(place, answer.text)
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        adapters: Mapping[str, str | Path] | None = None,
        max_batch: int = 16,
        max_waiting: int = 64,
        prefill_tokens: int = 4096,
        prefix_bytes: int = 2**30,
    ) -> None:
        if not is_joinable(DynamicCache(config=model.config.text_config)):
            raise ValueError(
                f'texts of {model.config.text_config.model_type} cannot be answered together: its cache holds more '
                'than keys and values; ask one question at a time, with tools/chat.py or mmgpt.inference.Chat'
            )
        for name, value in (('max_batch', max_batch), ('max_waiting', max_waiting)):
            if value < 1:
                raise ValueError(f'{name} must be at least 1, got {value}')
        self.model = model
        self.processor = processor
        self.max_batch = max_batch
        self.max_waiting = max_waiting
        self.prefill_tokens = prefill_tokens
        self.steps = 0  # of decoding
        self.decoded = 0  # rows of all steps
        self._own = active_adapters(model)
        self.adapters = tuple(adapters or ())
        for name, folder in (adapters or {}).items():
            model.load_adapter(folder, name)
        self._current: str | bool | None = False  # nothing chosen yet
        self.encoded = EncodedMedia(model)
        self.prefixes = Prefixes(model.config, prefix_bytes)
        self._batches: dict[str | None, RunningBatch] = {}
        self._waiting: deque[Job] = deque()
        self._calls: deque[tuple[Callable[[Any], Any], str | None, Future]] = deque()
        self._wake = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name='mmgpt-batch-engine', daemon=True)
        self._thread.start()

    # ---- from any thread

    def prompt(self, messages: Iterable[Any]) -> Prompt:
        """The prompt of a conversation, see ``mmgpt.hub.messages``.

        Raises:
            ValueError: the conversation is not as it should be, or too long for the model.
            OSError: a picture or video cannot be read.
        """
        inputs = self.processor.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=True
        )
        pixels = inputs.get('pixel_values')
        if pixels is not None and pixels.is_floating_point():
            pixels = pixels.to(self.model.dtype)
        return Prompt.of(inputs['input_ids'], pixels, inputs.get('frame_mask'))

    def submit(self, request: Request, on_progress: Callable[[Progress], None]) -> Job:
        """Lines a request up.

        Args:
            request: what is to be answered.
            on_progress: called in the engine's thread with each ``Progress``; it must not block.

        Raises:
            QueueFull: as many wait as may wait.
            ValueError: an unknown adapter, beams, more answers than rows, or a prompt without room for an answer.
        """
        settings = request.settings.within(self.context_length, len(request.prompt.ids))
        request = replace(request, settings=settings)
        if request.adapter is not None and request.adapter not in self.adapters:
            raise ValueError(
                f'there is no adapter {request.adapter!r}; there are: {", ".join(self.adapters) or "none"}'
            )
        if request.settings.num_beams > 1:
            raise ValueError(f'beams are not batched: num_beams must be 1, got {request.settings.num_beams}')
        if not 1 <= request.n <= self.max_batch:
            raise ValueError(f'n must be from 1 to {self.max_batch}, got {request.n}')
        job = Job(request, on_progress)
        with self._wake:
            if self._closed:
                raise RuntimeError('the engine is closed')
            if len(self._waiting) >= self.max_waiting:
                self._waiting = deque(job for job in self._waiting if not job.cancelled)
            if len(self._waiting) >= self.max_waiting:
                raise QueueFull(f'{len(self._waiting)} requests are waiting')
            self._waiting.append(job)
            self._wake.notify()
        return job

    def call(self, function: Callable[[Any], Any], adapter: str | None = None) -> Future:
        """Runs ``function(model)`` in the engine's thread between two steps, with an adapter or the base."""
        future: Future = Future()
        with self._wake:
            if self._closed:
                raise RuntimeError('the engine is closed')
            self._calls.append((function, adapter, future))
            self._wake.notify()
        return future

    def generate(self, requests: Iterable[Request | None]) -> Iterator[tuple[int, Answer | BaseException | None]]:
        """Answers many requests of one answer each; as they get ready, with their place among the requests.

        The requests are drawn as they are needed, so they may come from a file of any length. None stands for a request
        that could not be made: its answer is None.
        """
        ready: queue.SimpleQueue = queue.SimpleQueue()
        growing: dict[int, GrowingAnswer] = {}
        numbered, more = enumerate(requests), True
        ahead = min(self.max_batch + self.max_waiting // 2, self.max_waiting)
        try:
            while more or growing:
                while more and len(growing) < ahead:
                    place, request = next(numbered, (None, None))
                    more = place is not None
                    if request is not None:
                        try:
                            job = self.submit(request, lambda made, place=place: ready.put((place, made)))
                        except ValueError as error:
                            yield place, error
                            continue
                        growing[place] = GrowingAnswer(job)
                    elif more:
                        yield place, None
                if not growing:
                    continue
                place, made = ready.get()
                growing[place].add(made)
                if made.error is not None:
                    del growing[place]
                    yield place, made.error
                elif made.finish is not None:
                    yield place, growing.pop(place).whole(made.finish)
        finally:
            for answer in growing.values():
                answer.job.cancel()

    @property
    def context_length(self) -> int | None:
        """Tokens that prompt and answer may have together; None: no limit is known."""
        return context_length(self.model.config)

    @property
    def is_alive(self) -> bool:
        """Whether requests are answered."""
        return self._thread.is_alive() and not self._closed

    @property
    def waiting(self) -> int:
        """Requests that wait."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Rows that are decoded."""
        return sum(len(batch.rows) for batch in list(self._batches.values()))

    def close(self) -> None:
        """Ends the thread; what still runs gets an error."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        self._thread.join()

    def __enter__(self) -> BatchEngine:
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    # ---- in the engine's thread

    def _work(self) -> None:
        while True:
            with self._wake:
                while not (self._closed or self._waiting or self._calls or self._batches):
                    self._wake.wait()
                if self._closed:
                    break
                calls = list(self._calls)
                self._calls.clear()
            for function, adapter, future in calls:
                self._call(function, adapter, future)
            with torch.inference_mode():
                self._step()
        error = RuntimeError('the engine was closed')
        for job in self._waiting:
            job.tell(Progress(0, error=error))
        for batch in self._batches.values():
            batch.fail(error)
        for _, _, future in self._calls:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)

    def _call(self, function: Callable[[Any], Any], adapter: str | None, future: Future) -> None:
        if not future.set_running_or_notify_cancel():
            return
        try:
            self._use(adapter)
            future.set_result(function(self.model))
        except BaseException as error:  # the caller's, whatever it is
            future.set_exception(error)

    def _step(self) -> None:
        new: dict[str | None, list[Job]] = {}
        for job in self._admitted():
            new.setdefault(job.request.adapter, []).append(job)
        for adapter in dict.fromkeys([*self._batches, *new]):
            jobs = new.get(adapter, [])
            batch = self._batches.get(adapter)
            try:
                if batch is None:
                    parts = self.model, self.processor, self.encoded, self.prefixes
                    batch = self._batches[adapter] = RunningBatch(*parts, self._names(adapter))
                self._use(adapter)
                batch.drop_cancelled()
                if jobs:
                    batch.take_in(jobs)
                if batch.rows:
                    self.steps += 1
                    self.decoded += len(batch.rows)
                    batch.step()
            except Exception as error:  # all that it concerns are told, and the thread goes on
                logger.exception('a batch failed')
                if batch is not None:
                    batch.fail(error)
                for job in jobs:
                    job.tell(Progress(0, error=error))
        self._batches = {adapter: batch for adapter, batch in self._batches.items() if batch.rows}

    def _admitted(self) -> list[Job]:
        """The next jobs that there is room for."""
        rows, tokens, admitted = self.running, 0, []
        with self._wake:
            while self._waiting:
                job = self._waiting[0]
                length = len(job.request.prompt.ids)
                if job.cancelled:
                    self._waiting.popleft()
                    continue
                if rows + job.request.n > self.max_batch or (admitted and tokens + length > self.prefill_tokens):
                    break
                admitted.append(self._waiting.popleft())
                rows, tokens = rows + job.request.n, tokens + length
        return admitted

    def _use(self, adapter: str | None) -> None:
        """Computes with an adapter, or as the base."""
        if adapter != self._current and getattr(self.model, 'peft_config', None):
            self._current = False  # unknown, should the following fail
            if names := self._names(adapter):
                self.model.enable_adapters()
                self.model.set_adapter(names)
            else:
                self.model.disable_adapters()
        self._current = adapter

    def _names(self, adapter: str | None) -> tuple[str, ...]:
        """All adapters that are active for a request: the model's own, and the one that it chose."""
        return self._own if adapter is None else (*self._own, adapter)

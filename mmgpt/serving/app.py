"""The application: routes, limits, and the model behind them.

``create_app(load, name)`` gives a FastAPI application. Loading begins when the server starts, in a thread; until it is
done ``/health`` and every route below ``/v1/`` and ``/api/`` answer 503. What other routes may use lies in
``request.app.state``:

``name``        the model's id, as in ``/v1/models``
``model``       the ``Flamingo``; it belongs to the engine's thread:
                ``await asyncio.wrap_future(engine.call(function))`` runs ``function(model)`` there between two tokens
``processor``   its processor
``engine``      the ``mmgpt.inference.batching.BatchEngine``, None while loading: ``engine.prompt(messages)`` makes a
                prompt (in ``readers``, since it opens pictures), ``engine.submit(request, on_progress)`` lines it up
``settings``    the ``ServerSettings``
``readers``     a small thread pool for work on pictures
``admission``   counts the requests in the house
``metrics``     the Prometheus counters

``log``         the ``mmgpt.serving.log.Log`` of votes; None: nothing is kept
``arena``       the ``mmgpt.serving.arena.Arena`` of two models; None: there is one

Below ``/api/``, which serves the page, the same gate holds as below ``/v1/``: key, size, time.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from mmgpt.inference.batching import BatchEngine
from mmgpt.serving import arena, chat_completions, errors, page
from mmgpt.serving.arena import Arena, Rival
from mmgpt.serving.gate import Admission, Gate
from mmgpt.serving.log import Log
from mmgpt.serving.metrics import Metrics
from mmgpt.serving.settings import ServerSettings

logger = logging.getLogger(__name__)
READERS = 2  # threads that read pictures: each holds one at its full size
FAREWELL = 1.0  # seconds in which requests that were cancelled may end


def create_app(
    load: Callable[[], tuple[Any, Any]],
    name: str,
    settings: ServerSettings | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    on_failure: Callable[[BaseException], None] | None = None,
    rival: Rival | None = None,
) -> FastAPI:
    """The application of one model.

    Args:
        load: gives the model and its processor.
        name: the model's id.
        settings: what the server allows.
        adapters: ids and folders of LoRA adapters, chosen by a request's ``model``.
        on_failure: called where loading fails.
        rival: what the model is compared with in blind votes; needs ``settings.log_dir``.

    Raises:
        ValueError: an adapter has the model's id, or a rival without a folder for the votes.
        OSError: the folder for the votes cannot be made.

    Example::

        app = create_app(lambda: load_folder('work_dirs/otter_demo/hf'), 'otter')
        uvicorn.run(app, host='127.0.0.1', port=8000)
    """
    settings, adapters = settings or ServerSettings(), dict(adapters or {})
    if name in adapters:
        raise ValueError(f'the adapter {name!r} has the id of the model: choose another name')
    if rival is not None and settings.log_dir is None:
        raise ValueError('two models are compared so that votes are kept: say where (log_dir)')

    def engine_of(model: Any, processor: Any, adapters: Mapping[str, str | Path]) -> BatchEngine:
        return BatchEngine(
            model,
            processor,
            adapters,
            max_batch=settings.max_batch,
            max_waiting=settings.max_requests,  # the gate counts them; a burst waits here between two steps
            prefix_bytes=settings.prefix_bytes,
        )

    def loading() -> None:
        try:
            state.model, state.processor = load()
            engine = engine_of(state.model, state.processor, adapters)
            if rival is not None:
                state.arena = Arena(rival.contestants(name, engine, engine_of), state.log)
            state.engine = engine
        except BaseException as error:  # whatever it is: the server's owner decides
            state.failure = error
            if on_failure is None:
                logger.exception('the model could not be loaded')
            else:
                on_failure(error)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        thread = threading.Thread(target=loading, name='mmgpt-loading', daemon=True)
        thread.start()
        state.readers = ThreadPoolExecutor(READERS, 'mmgpt-reader')
        yield
        with suppress(TimeoutError):  # what still ran was cancelled: its clients are told, before the process ends
            async with asyncio.timeout(FAREWELL):
                while state.admission.requests:
                    await asyncio.sleep(0.01)
        state.readers.shutdown(wait=False, cancel_futures=True)
        if state.engine is not None:
            state.engine.close()
        if state.arena is not None:
            state.arena.close()

    app = FastAPI(title='mmgpt', description='Chat with pictures and videos, as OpenAI clients do.', lifespan=lifespan)
    state = app.state
    state.name, state.settings, state.started = name, settings, int(time.time())
    state.model = state.processor = state.engine = state.arena = state.failure = None
    state.log = None if settings.log_dir is None else Log(settings.log_dir)
    state.admission = Admission(settings)
    state.metrics = Metrics(lambda: state.engine)
    errors.install(app)
    app.add_middleware(Gate, settings=settings, state=state)
    for part in (chat_completions, page, arena):
        app.include_router(part.router)

    @app.get('/health')
    async def health() -> JSONResponse:
        """200 while requests are answered, 503 before and where that failed."""
        if state.engine is not None:
            status = 'ok' if state.engine.is_alive else 'failed'
        else:
            status = 'failed' if state.failure else 'loading'
        return JSONResponse({'status': status}, 200 if status == 'ok' else 503)

    @app.get('/metrics')
    async def metrics() -> Response:
        """For Prometheus."""
        return Response(state.metrics.text(), media_type='text/plain; version=0.0.4; charset=utf-8')

    return app

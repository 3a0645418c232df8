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

The page of ``mmgpt.serving.page`` and the battles of ``mmgpt.serving.arena`` are included where they are there: each
module has a ``router``. Below ``/api/`` the same gate holds as below ``/v1/``: key, size, time.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse

from mmgpt.inference.batching import BatchEngine
from mmgpt.serving import chat_completions, errors
from mmgpt.serving.gate import Admission, Gate
from mmgpt.serving.metrics import Metrics
from mmgpt.serving.settings import ServerSettings

logger = logging.getLogger(__name__)
READERS = 2  # threads that read pictures: each holds one at its full size
FURTHER = ('mmgpt.serving.page', 'mmgpt.serving.arena')


def create_app(
    load: Callable[[], tuple[Any, Any]],
    name: str,
    settings: ServerSettings | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    on_failure: Callable[[BaseException], None] | None = None,
) -> FastAPI:
    """The application of one model.

    Args:
        load: gives the model and its processor.
        name: the model's id.
        settings: what the server allows.
        adapters: ids and folders of LoRA adapters, chosen by a request's ``model``.
        on_failure: called where loading fails.

    Raises:
        ValueError: an adapter has the model's id.

    Example::

        app = create_app(lambda: load_folder('work_dirs/otter_demo/hf'), 'otter')
        uvicorn.run(app, host='127.0.0.1', port=8000)
    """
    settings, adapters = settings or ServerSettings(), dict(adapters or {})
    if name in adapters:
        raise ValueError(f'the adapter {name!r} has the id of the model: choose another name')

    def loading() -> None:
        try:
            state.model, state.processor = load()
            state.engine = BatchEngine(
                state.model,
                state.processor,
                adapters,
                max_batch=settings.max_batch,
                max_waiting=settings.max_requests,  # the gate counts them; a burst waits here between two steps
                prefix_bytes=settings.prefix_bytes,
            )
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
        state.readers.shutdown(wait=False, cancel_futures=True)
        if state.engine is not None:
            state.engine.close()

    app = FastAPI(title='mmgpt', description='Chat with pictures and videos, as OpenAI clients do.', lifespan=lifespan)
    state = app.state
    state.name, state.settings, state.started = name, settings, int(time.time())
    state.model = state.processor = state.engine = state.failure = None
    state.admission = Admission(settings)
    state.metrics = Metrics(lambda: state.engine)
    errors.install(app)
    app.add_middleware(Gate, settings=settings, state=state)
    app.include_router(chat_completions.router)

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

    for module in FURTHER:
        if importlib.util.find_spec(module) is not None:
            app.include_router(importlib.import_module(module).router)
    return app

"""Runs the application on a port of this machine."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.auto import AutoHTTPProtocol

from mmgpt.hub.io import load_folder
from mmgpt.serving.app import create_app
from mmgpt.serving.arena import Rival
from mmgpt.serving.settings import ServerSettings

CONNECTIONS = 1000  # at a time; more get 503
HEAD = 30.0  # seconds in which the head of a connection's request has to arrive


class HeadInTime(AutoHTTPProtocol):
    """A connection that is closed where no whole head of a request comes: uvicorn would wait for the first for ever."""

    late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """Waits for the first head."""
        super().connection_made(transport)
        self.late = self.loop.call_later(HEAD, self.timeout_keep_alive_handler)

    def data_received(self, data: bytes) -> None:
        """Waits no longer once a head is there, and anew where a part of the next one is."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self.late is None:
            self.late = self.loop.call_later(HEAD, self.timeout_keep_alive_handler)

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no longer."""
        super().connection_lost(exc)
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self.late is not None:
            self.late.cancel()
            self.late = None


def serve(
    folder: str | Path,
    host: str = '127.0.0.1',
    port: int = 8000,
    settings: ServerSettings | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    device: str | None = None,
    dtype: str = 'auto',
    compare: str | None = None,
) -> None:
    """Serves a model folder until the process is told to end.

    Args:
        folder: of a model; its name is the model's id.
        host: where to listen.
        port: where to listen; 0 takes a free one.
        settings: what the server allows.
        adapters: ids and folders of adapters.
        device: see ``load_folder``, as ``dtype``.
        compare: the name of an adapter, or the folder of a second model, for blind votes.

    Raises:
        OSError: the port is taken, or the model cannot be loaded; so do ValueError and ImportError.
    """
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    def load(name: str | Path) -> tuple[Any, Any]:
        return load_folder(name, device, dtype)

    rival = None
    if compare in (adapters or {}):
        rival = Rival(compare)
    elif compare is not None:
        own, other = names_of(folder, compare)
        rival = Rival(other, lambda: load(compare), against=own)
    app = create_app(lambda: load(folder), Path(folder).resolve().name, settings, adapters, failed, rival)
    with _bound(host, port) as listening:
        config = uvicorn.Config(
            app,
            http=HeadInTime,
            log_level='warning',
            limit_concurrency=CONNECTIONS,
            timeout_graceful_shutdown=5,
            server_header=False,
        )
        server = uvicorn.Server(config)
        print(
            f'http://{host}:{listening.getsockname()[1]}/ (page), /v1 (API), /docs, /metrics; loading {folder}',
            flush=True,
        )
        server.run([listening])
    if failures:
        raise failures[0]


def _bound(host: str, port: int) -> socket.socket:
    """A socket at the address."""
    bound = socket.socket(socket.AF_INET6 if ':' in host else socket.AF_INET, socket.SOCK_STREAM)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        told = 'ports are 0 to 65535' if isinstance(error, OverflowError) else error.strerror or error
        raise OSError(f'cannot listen on {host}:{port}: {told}; choose another --port') from error
    return bound


def names_of(*folders: str | Path) -> list[str]:
    """The names of folders, with as much of what they lie in as tells them apart.

    Raises:
        ValueError: they are one.

    Example:
        >>> names_of('work_dirs/otter_demo/hf', 'work_dirs/multimodal_gpt_demo/hf')
        ['otter_demo/hf', 'multimodal_gpt_demo/hf']
    """
    paths = [Path(folder).resolve() for folder in folders]
    if len(set(paths)) < len(paths):
        raise ValueError(f'{paths[0]} is to be compared with itself: choose another model')
    for length in range(1, max(len(path.parts) for path in paths) + 1):
        names = ['/'.join(path.parts[-length:]) for path in paths]
        if len(set(names)) == len(names):
            break
    return names

"""Runs the application on a port of this machine."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

import uvicorn

from mmgpt.hub.io import load_folder
from mmgpt.serving.app import create_app
from mmgpt.serving.settings import ServerSettings

CONNECTIONS = 1000  # at a time; more get 503


def serve(
    folder: str | Path,
    host: str = '127.0.0.1',
    port: int = 8000,
    settings: ServerSettings | None = None,
    adapters: Mapping[str, str | Path] | None = None,
    device: str | None = None,
    dtype: str = 'auto',
) -> None:
    """Serves a model folder until the process is told to end.

    Args:
        folder: of a model; its name is the model's id.
        host: where to listen.
        port: where to listen; 0 takes a free one.
        settings: what the server allows.
        adapters: ids and folders of adapters.
        device: see ``load_folder``, as ``dtype``.

    Raises:
        OSError: the port is taken, or the model cannot be loaded; so do ValueError and ImportError.
    """
    failures: list[BaseException] = []

    def failed(error: BaseException) -> None:
        failures.append(error)
        server.should_exit = True

    app = create_app(
        lambda: load_folder(folder, device, dtype), Path(folder).resolve().name, settings, adapters, failed
    )
    family = socket.AF_INET6 if ':' in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host, port))
        except OSError as error:
            raise OSError(
                f'cannot listen on {host}:{port}: {error.strerror or error}; choose another --port'
            ) from error
        config = uvicorn.Config(
            app, log_level='warning', limit_concurrency=CONNECTIONS, timeout_graceful_shutdown=5, server_header=False
        )
        server = uvicorn.Server(config)
        print(f'http://{host}:{listening.getsockname()[1]}/v1 (API), /docs, /metrics; loading {folder}', flush=True)
        server.run([listening])
    if failures:
        raise failures[0]

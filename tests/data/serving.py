"""A web server for tests: gives parts of files, counts what it gives, and fails when it is told to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Server:
    """What a server of a folder was asked for, and how it should behave.

    Args:
        folder: its files are served.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.address = ''
        self.parts: list[tuple[str, int, int]] = []  # of each GET the file, the first byte, and how many were given
        self.failures = 0  # so many requests from now on are answered by 503
        self.status = 0  # what each request is answered by; 0 = as it should be
        self.tags = True  # whether files have ETags
        self.ranges = True  # whether parts of files are given

    @property
    def given(self) -> int:
        """Bytes of all answers."""
        return sum(size for _, _, size in self.parts)

    def tag(self, data: bytes) -> str:
        """What tells the versions of a file apart."""
        return f'"{hashlib.sha256(data).hexdigest()[:16]}"'

    def listing(self, path: str) -> list | dict | None:
        """What the API of the Hugging Face hub answers for the data set ``owner/name``, which is the folder."""
        root = '/api/datasets/owner/name'
        if path == root or path.startswith(root + '/revision/'):
            return {'id': 'owner/name', 'sha': '0' * 40}
        if not path.startswith(root + '/tree/'):
            return None
        below = path.removeprefix(root + '/tree/').partition('/')[2]
        return [
            {
                'type': 'directory' if file.is_dir() else 'file',
                'path': str(file.relative_to(self.folder)),
                'size': 0 if file.is_dir() else file.stat().st_size,
                'oid': '' if file.is_dir() else self.tag(file.read_bytes()),
            }
            for file in sorted((self.folder / below).iterdir())
        ]


@contextmanager
def serve(folder: Path) -> Iterator[Server]:
    """Serves a folder on a free port of this machine."""
    server = Server(folder)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = 'HTTP/1.1'

        def do_HEAD(self) -> None:
            self.answer(whole=False)

        def do_GET(self) -> None:
            self.answer(whole=True)

        def answer(self, whole: bool) -> None:
            path = self.path.partition('?')[0]
            if server.failures or server.status:
                status = 503 if server.failures else server.status
                server.failures = max(0, server.failures - 1)
                self.send(status, b'', {})
                return
            if (listed := server.listing(path)) is not None:
                self.send(200, json.dumps(listed).encode(), {'Content-Type': 'application/json'})
                return
            file = server.folder / path.removeprefix('/datasets/owner/name/resolve/main').lstrip('/')
            if not file.is_file():
                self.send(404, b'', {})
                return
            data = file.read_bytes()
            headers = {'Accept-Ranges': 'bytes' if server.ranges else 'none'}
            headers |= {'ETag': server.tag(data)} if server.tags else {}
            status, first, asked = 200, 0, self.headers.get('Range') if server.ranges else None
            if asked and whole:
                first, last = map(int, asked.removeprefix('bytes=').split('-'))
                headers['Content-Range'] = f'bytes {first}-{last}/{len(data)}'
                status, data = 206, data[first : last + 1]
            if whole:
                server.parts.append((path, first, len(data)))
            self.send(status, data, headers, whole)

        def send(self, status: int, data: bytes, headers: dict[str, str], whole: bool = True) -> None:
            self.send_response(status)
            for name, value in {**headers, 'Content-Length': str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            if whole and self.command != 'HEAD':
                self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    listener = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    listener.daemon_threads = True
    server.address = f'http://127.0.0.1:{listener.server_port}'
    thread = threading.Thread(target=listener.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        listener.shutdown()
        listener.server_close()
        thread.join()

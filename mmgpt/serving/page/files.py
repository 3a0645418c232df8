"""The files of the page, which need no build and fetch nothing from elsewhere."""

from __future__ import annotations

from pathlib import Path

from fastapi import APIRouter
from fastapi.responses import FileResponse

from mmgpt.serving.errors import ApiError

STATIC = Path(__file__).with_name('static')
TYPES = {
    '.html': 'text/html; charset=utf-8',
    '.css': 'text/css; charset=utf-8',
    '.js': 'text/javascript; charset=utf-8',
    '.svg': 'image/svg+xml',
}
# Scripts and styles from this server only, none inline; pictures that a user chose are data: or blob: addresses.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    "media-src data: blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    'Content-Security-Policy': POLICY,
    'X-Content-Type-Options': 'nosniff',
    'Referrer-Policy': 'no-referrer',
    'Cache-Control': 'no-cache',
}

router = APIRouter(include_in_schema=False)


@router.get('/')
async def chat() -> FileResponse:
    """The chat."""
    return _file('index.html')


@router.get('/arena')
async def arena() -> FileResponse:
    """Two models side by side."""
    return _file('arena.html')


@router.get('/page/{name}')
async def file(name: str) -> FileResponse:
    """A script, style or icon of the page."""
    if name not in {path.name for path in STATIC.iterdir()}:
        raise ApiError(404, f'there is no file {name!r} of the page')
    return _file(name)


def _file(name: str) -> FileResponse:
    path = STATIC / name
    return FileResponse(path, media_type=TYPES[path.suffix], headers=HEADERS)

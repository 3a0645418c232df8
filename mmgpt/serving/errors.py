"""OpenAI's error objects."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

KINDS = {
    401: 'authentication_error',
    404: 'not_found_error',
    408: 'timeout_error',
    429: 'rate_limit_error',
    500: 'server_error',
    503: 'server_error',
    504: 'timeout_error',
}


class ApiError(Exception):
    """An answer that is an error.

    Args:
        status: of HTTP.
        message: for people.
        code: for programs.
        param: the field of the request at fault.
        retry_after: seconds after which to try again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.retry_after = status, message, code, param, retry_after

    def body(self) -> dict[str, Any]:
        """The error object."""
        kind = KINDS.get(self.status, 'invalid_request_error')
        return {'error': {'message': self.message, 'type': kind, 'param': self.param, 'code': self.code}}

    def json(self) -> str:
        """The same as text."""
        return json.dumps(self.body(), ensure_ascii=False)

    def response(self) -> JSONResponse:
        """The answer."""
        headers = {} if self.retry_after is None else {'Retry-After': str(self.retry_after)}
        if self.status == 401:
            headers['WWW-Authenticate'] = 'Bearer'
        return JSONResponse(self.body(), self.status, headers)


def ended() -> ApiError:
    """The error of a request that is cancelled, which a server does only where it ends itself."""
    return ApiError(503, 'the server was ended before the answer was whole', 'ended')


def install(app: FastAPI) -> None:
    """Lets every error of an application leave as an error object."""

    @app.exception_handler(ApiError)
    async def own(request: Request, error: ApiError) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = max(error.errors(), key=lambda one: len(one['loc']))  # of a union, the part that came nearest
        if first['type'] == 'json_invalid':
            return ApiError(400, f'the body is not JSON: {first["ctx"]["error"]}', 'invalid_json').response()
        param = _place(first['loc'])
        return ApiError(400, f'{param or "body"}: {first["msg"]}', 'invalid_value', param or None).response()

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> JSONResponse:
        response = ApiError(error.status_code, str(error.detail)).response()
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return ApiError(500, 'something failed inside of the server; its log says what').response()


def _place(loc: Sequence[str | int]) -> str:
    """The place of a value in the body, without the names of what a union may be, of which some stand for a key."""
    names = [str(part) for part in loc[1:] if part != 'str' and '[' not in str(part)]
    return '.'.join(name for name, _ in groupby(names))

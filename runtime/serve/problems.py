"""Errors as answers: RFC 9457 problems."""

import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from lorair.runtime.errors import (
    BusyError,
    DependencyError,
    DiskFullError,
    LorairError,
    OptionError,
    OutOfMemoryError,
    OutputError,
    PictureError,
    RequestError,
)
from lorair.runtime.serve.outcome import ClientGoneError
from lorair.runtime.serve.schema import Problem

MEDIA_TYPE = "application/problem+json"

# What pydantic's sentences begin with; what is left says what was wanted.
_PYDANTIC = re.compile(r"^(?:Input|String|Value) (?:should (?:be|have)|error,) |^String should ")

_WORDS = {
    400: "The request is malformed.",
    401: "No token, or a wrong one.",
    403: "A page of another site sent it.",
    408: "The body came too slowly.",
    413: "The body is too long.",
    415: "The body is no picture, by its content type.",
    421: "The server does not answer to the name in `Host`.",
    422: "The picture or an option cannot be used.",
    503: "Busy, shutting down, out of time or memory; try again after `Retry-After` seconds.",
}


def answers(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """These problems, for OpenAPI."""
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {
        status: {"description": _WORDS[status], "model": Problem, "content": {MEDIA_TYPE: schema}}
        for status in statuses
    }


def status_of(error: LorairError) -> int:
    """HTTP's number for an error."""
    if isinstance(error, RequestError):
        return error.status
    if isinstance(error, (BusyError, DiskFullError, OutOfMemoryError)):
        return HTTPStatus.SERVICE_UNAVAILABLE
    if isinstance(error, (PictureError, OptionError, OutputError, DependencyError)):
        return HTTPStatus.UNPROCESSABLE_ENTITY
    return HTTPStatus.INTERNAL_SERVER_ERROR


def problem(error: LorairError) -> JSONResponse:
    """An error as an answer."""
    status = status_of(error)
    headers = {}
    if status == HTTPStatus.SERVICE_UNAVAILABLE:
        headers["Retry-After"] = str(getattr(error, "retry_after", 10))
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    content = Problem.of(error, status).model_dump()
    return JSONResponse(content, status, headers, MEDIA_TYPE)


def install(app: FastAPI) -> None:
    """Have every error answered this way."""
    app.add_exception_handler(LorairError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(ClientGoneError, _gone)
    app.add_exception_handler(ClientDisconnect, _gone)


async def _ours(request: Request, error: Any) -> JSONResponse:
    return problem(error)


async def _gone(request: Request, error: Any) -> Response:
    """Nobody reads it; the log has the number that nginx made usual."""
    return Response(status_code=499)


async def _invalid(request: Request, error: Any) -> JSONResponse:
    """What pydantic says of the first bad option, as our own errors say it."""
    first = error.errors()[0]
    name, found = str(first["loc"][-1]), str(first.get("input"))[:100]
    wanted = _PYDANTIC.sub("", first["msg"])
    if first["type"] == "extra_forbidden":
        wanted, found = f"one of the options {', '.join(_options(request))}", "another"
    return problem(OptionError(name, wanted=wanted, found=found, hint="see /docs"))


def _options(request: Request) -> list[str]:
    """The names of the options that the request's path takes."""
    operation = request.app.openapi()["paths"][request.scope["route"].path]
    return [one["name"] for one in operation[request.method.lower()]["parameters"]]


async def _http(request: Request, error: Any) -> JSONResponse:
    """Starlette's own: no such path, no such method."""
    what, wanted = str(error.detail).lower(), None
    found = f"{request.method} {request.url.path}"[:100]
    if error.status_code == HTTPStatus.NOT_FOUND:
        what, wanted = "no such path", ", ".join(("/", *request.app.openapi()["paths"]))
    elif error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        what, wanted = "no such method here", (error.headers or {}).get("Allow")
    refused = RequestError(error.status_code, what, wanted=wanted, found=found, hint="see /docs")
    answer = problem(refused)
    answer.headers.update(error.headers or {})
    return answer

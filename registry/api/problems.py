"""Problem documents (RFC 9457): the one place where an exception becomes an HTTP answer.

A `TierlinkError` says itself what it is. Whatever else escapes is a bare 500 with an incident id,
and the log line of that id holds the rest: internals never leave.
"""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from schemas.errors import (
    BadInput,
    BadQuery,
    Conflict,
    Forbidden,
    MethodNotAllowed,
    NotFound,
    TierlinkError,
    TooLarge,
    Unauthenticated,
    Unavailable,
    Unsupported,
)

MEDIA_TYPE = "application/problem+json"

_log = logging.getLogger("registry.api")

_BY_STATUS: Mapping[int, type[TierlinkError]] = {
    400: BadInput,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: TooLarge,
    415: Unsupported,
}


def problem(err: BaseException) -> dict[str, object]:
    """Return the members of the problem document; those of a batch line are the same."""
    if isinstance(err, TierlinkError) and _told(err):
        return err.problem()
    return _incident(err)


def response(err: BaseException) -> Response:
    """Turn any exception into its answer."""
    body = problem(err)
    status = err.status if isinstance(err, TierlinkError) else 500
    text = json.dumps(body, ensure_ascii=False).encode()
    return Response(text, status, _headers(err), media_type=MEDIA_TYPE)


def _told(err: TierlinkError) -> bool:
    return err.status < 500 or isinstance(err, Unavailable)  # noqa: PLR2004  (HTTP's own line)


def _incident(err: BaseException) -> dict[str, object]:
    incident = secrets.token_hex(8)
    _log.error("incident %s", incident, exc_info=err)
    return {"title": "Internal error", "status": 500, "code": "internal", "incident": incident}


def _headers(err: BaseException) -> dict[str, str]:
    headers = {"cache-control": "no-store"}
    if isinstance(err, Unavailable):
        headers["retry-after"] = str(err.retry_after)
    if isinstance(err, Unauthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(err, MethodNotAllowed) and err.value:
        headers["allow"] = str(err.value)
    return headers


class Problems:
    """The outermost layer: nothing that is raised passes it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the app; answer for what it raises, unless an answer has begun."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message).setdefault("x-content-type-options", "nosniff")
            await send(message)

        try:
            await self.app(scope, receive, watch)
        except Exception as err:
            if begun:
                raise  # the server cuts the connection: the client sees that it is not whole
            await response(err)(scope, receive, watch)


def install(app: FastAPI) -> None:
    """Make the framework's own refusals TierlinkErrors, so that they take the same way."""

    async def refused(request: Request, err: Exception) -> Response:
        assert isinstance(err, HTTPException)
        raise _of_http(request, err) from err

    async def invalid(request: Request, err: Exception) -> Response:
        assert isinstance(err, RequestValidationError)
        raise _of_validation(request, err) from err

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)


def _of_http(request: Request, err: HTTPException) -> TierlinkError:
    # FastAPI wraps what a body raised while it was read
    if isinstance(err.__cause__, TierlinkError):
        return err.__cause__
    path = request.url.path
    if err.status_code == 404:  # noqa: PLR2004
        return NotFound(f"there is no {path} here", value=path, fix="GET /docs lists what there is")
    if err.status_code == 405:  # noqa: PLR2004
        allowed = (err.headers or {}).get("Allow", "")
        return MethodNotAllowed(
            f"{request.method} is not for this path", value=allowed, fix=f"use {allowed}"
        )
    return _BY_STATUS.get(err.status_code, BadInput)(str(err.detail))


def _of_validation(request: Request, err: RequestValidationError) -> TierlinkError:
    found: Sequence[Mapping[str, Any]] = err.errors()
    first = found[0]
    where, *path = first["loc"]
    if where == "query":
        name = ".".join(str(part) for part in path)
        return BadQuery(f"{name}: {first['msg']}", value=_short(first.get("input")))
    if first["type"] == "json_invalid":
        reason = first.get("ctx", {}).get("error", "")
        return BadInput(f"the body is not JSON: {reason}", position=path[0] if path else None)
    if where == "body" and not path and not is_json(request.headers.get("content-type")):
        return _unsupported(request)
    name = ".".join(str(part) for part in path) or "the body"
    return BadInput(f"{name}: {first['msg']}", value=_short(first.get("input")))


def _unsupported(request: Request) -> TierlinkError:
    if "content-type" not in request.headers and not int(
        request.headers.get("content-length", 0) or 0
    ):
        return BadInput("the body is missing", fix="send a JSON object")
    return Unsupported(
        "the body is not declared as JSON",
        value=request.headers.get("content-type"),
        fix="send Content-Type: application/json",
    )


def is_json(content_type: str | None) -> bool:
    """Tell whether a Content-Type is JSON's."""
    essence = (content_type or "").partition(";")[0].strip().lower()
    return essence == "application/json"


def _short(value: object) -> object:
    return value if isinstance(value, bool | int | str) else None

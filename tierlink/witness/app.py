"""The HTTP side of a witness: bounded bodies in, cosignature lines or a problem document out."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.errors import TierlinkError, TooLarge, Unavailable
from schemas.submission import MAX_SUBMISSION, SIZE_TYPE, encode_size

from .cosigning import OtherSize, Witness

BODY_SECONDS = 10.0  # for a whole submission to arrive
AT_WORK = 64  # submissions that are read or judged at a time; more are told to come back

_HEADERS = {"cache-control": "no-store", "x-content-type-options": "nosniff"}

_log = logging.getLogger("tierlink.witness")


def create_app(witness: Witness) -> Starlette:
    """Return the service of one witness."""
    free = AT_WORK

    async def add_checkpoint(request: Request) -> Response:
        nonlocal free
        if free == 0:
            raise Unavailable("too many submissions at a time")
        free -= 1
        try:
            body = await _body(request)
            # In a thread, because it waits for the disk. A caller who leaves does not end it:
            # the turn at the origin belongs to the thread.
            line = await asyncio.to_thread(witness.add_checkpoint, body)
        finally:
            free += 1
        return Response(line, headers=_HEADERS, media_type="text/plain")

    async def about(request: Request) -> Response:
        del request
        held = await asyncio.to_thread(witness.held)
        logs = [
            {"origin": origin, "size": 0 if newest is None else newest.size}
            for origin, newest in held
        ]
        return JSONResponse(
            {"status": "ok", "name": witness.key.name, "vkey": witness.key.vkey, "logs": logs},
            headers=_HEADERS,
        )

    return Starlette(
        routes=[
            Route("/add-checkpoint", _answered(add_checkpoint), methods=["POST"]),
            Route("/", _answered(about)),
            Route("/healthz", _answered(about)),
        ]
    )


def _answered(
    handle: Callable[[Request], Awaitable[Response]],
) -> Callable[[Request], Awaitable[Response]]:
    """Answer for what a handler raises."""

    async def answer(request: Request) -> Response:
        try:
            return await handle(request)
        except OtherSize as err:
            # the one refusal whose form the protocol fixes
            headers = {**_HEADERS, "content-type": SIZE_TYPE}
            return Response(encode_size(err.size), err.status, headers)
        except TierlinkError as err:
            if err.status >= 500:  # noqa: PLR2004  (HTTP's own line)
                _log.error("%s %s", request.url.path, err.detail, exc_info=err)
            return _problem(err)

    return answer


def _problem(err: TierlinkError) -> Response:
    headers = dict(_HEADERS)
    if isinstance(err, Unavailable):
        headers["retry-after"] = str(err.retry_after)
    body = json.dumps(err.problem(), ensure_ascii=False).encode()
    return Response(body, err.status, headers, "application/problem+json")


async def _body(request: Request) -> bytes:
    """Read a submission; raise TooLarge, or Unavailable where it does not come to an end."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > MAX_SUBMISSION:
                    raise TooLarge(f"a submission has at most {MAX_SUBMISSION} bytes")
    except TimeoutError:
        raise Unavailable(f"the submission did not come within {BODY_SECONDS:g} s") from None
    return bytes(body)

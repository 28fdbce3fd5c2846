"""GET /v1/proof/{prefix}/{suffix}: the bundle by which anybody checks a record without this node.

    at    as of when: RFC 3339 or Unix seconds; the newest published epoch where it is left out

HEAD, ETag and conditional requests as for answers. What the bundle holds is specified in
docs/wire.md and verified by `schemas.proof`.
"""

from __future__ import annotations

import hashlib
from typing import Final

from schemas.errors import MethodNotAllowed
from schemas.identifier import Identifier
from schemas.when import read_moment

from .answers import Answer, Head
from .asgi import JSON, Receive, Scope, Send, finish, start
from .native import Request, read_query
from .prover import Prover
from .render import encode

ROUTE: Final = "/v1/proof/"
ALLOW: Final = b"GET, HEAD, OPTIONS"

_HEAD: Final = Head(
    200,
    [
        (b"content-type", JSON),
        (b"cache-control", b"public, max-age=0, must-revalidate"),
        (b"access-control-allow-origin", b"*"),
        (b"access-control-expose-headers", b"etag"),
        (b"x-content-type-options", b"nosniff"),
    ],
)
_PREFLIGHT: Final = [
    (b"allow", ALLOW),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", ALLOW),
    (b"access-control-allow-headers", b"accept, if-none-match"),
    (b"access-control-max-age", b"86400"),
]


class ProofRoute:
    """Sends bundles; an ASGI application for the paths below `ROUTE`."""

    def __init__(self, prover: Prover) -> None:
        self._prover = prover

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request; raise what the error edge translates."""
        if scope["method"] == "OPTIONS":
            await start(send, 204, _PREFLIGHT)
            await finish(send)
            return
        if scope["method"] not in {"GET", "HEAD"}:
            raise MethodNotAllowed("a proof is read", value=ALLOW.decode(), fix="use GET")
        request = Request.read(scope)
        at = read_query(request.query, ("at",)).get("at")
        identifier = Identifier.from_path(request.path.removeprefix(ROUTE.encode()))
        proved = await self._prover.prove(identifier, None if at is None else read_time(at))
        body = encode(proved.to_json())
        answer = Answer(_HEAD, body, etag=b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode())
        for message in answer.asgi(request.method, request.if_none_match):
            await send(message)


def read_time(text: str) -> int:
    """Read Unix seconds or an RFC 3339 time, its fraction cut off; raise BadQuery."""
    return int(read_moment("at", text))

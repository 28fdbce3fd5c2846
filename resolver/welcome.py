"""The start page: it asks for an identifier and goes there. Programs get the list of calls."""

from __future__ import annotations

from urllib.parse import parse_qs

from schemas.errors import MethodNotAllowed
from schemas.identifier import Identifier

from .asgi import JSON, Receive, Scope, Send, finish, start
from .native import Request
from .render import Renderer, encode

_CALLS = encode(
    {
        "service": "tierlink resolver",
        "resolve": "/{prefix}/{suffix}",
        "batch": "/v1/resolve",
        "trace": "/v1/trace/{prefix}/{suffix}",
        "ready": "/readyz",
    }
)


class Welcome:
    """Answers at /."""

    def __init__(self, renderer: Renderer) -> None:
        self._renderer = renderer

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["method"] not in {"GET", "HEAD"}:
            raise MethodNotAllowed("this page is only read", value="GET, HEAD", fix="use GET")
        asked = parse_qs(scope["query_string"].decode("latin-1")).get("identifier")
        request = Request.read(scope)
        if asked:
            path = Identifier.parse(asked[0].strip()).path
            await start(send, 303, [(b"location", b"/" + path.encode()), (b"content-length", b"0")])
            await finish(send)
        elif request.problem_form().page:
            answer = self._renderer.welcome(request.problem_form())
            for message in answer.asgi(request.method, request.if_none_match):
                await send(message)
        else:
            length = (b"content-length", b"%d" % len(_CALLS))
            await start(send, 200, [(b"content-type", JSON), length, (b"vary", b"accept")])
            await finish(send, b"" if request.method == "HEAD" else _CALLS)

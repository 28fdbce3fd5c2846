"""POST /v1/identifiers, the usual one: past the framework, for that costs more than the writing.

What `registry.express` does not take, and every call with an Idempotency-Key, is handed on to the
route as it came; so is whatever is to be refused. The answer is the route's own.
"""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.identifiers import PATH, shown
from registry.api.problems import is_json
from registry.api.transaction import MAX_BODY, Deps
from registry.express import Express


class Usual:
    """Answers the usual registration, and hands on everything else."""

    def __init__(self, app: ASGIApp, deps: Deps) -> None:
        self.app = app
        self._express = Express(deps.store, deps.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        authorization = _usual(scope)
        if authorization is None:
            await self.app(scope, receive, send)
            return
        # whole before the transaction: a slow sender holds no connection
        messages, body = await _received(receive)
        if body is not None:
            done = await self._express.register(authorization, body)
            if done is not None:
                await shown(done)(scope, receive, send)
                return
        await self.app(scope, _again(messages, receive), send)


def _usual(scope: Scope) -> str | None:
    """Return who calls, if this is a registration in JSON that is to be done once."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != PATH:
        return None
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in found or name == b"idempotency-key":
            return None
        found[name] = value
    authorization = found.get(b"authorization")
    if authorization is None or not is_json(found.get(b"content-type", b"").decode("latin-1")):
        return None
    return authorization.decode("latin-1")


async def _received(receive: Receive) -> tuple[list[Message], bytes | None]:
    """Return what came, and the body; None where it is too long, or broke off."""
    messages, body = list[Message](), bytearray()
    more = True
    while more:
        message = await receive()
        messages.append(message)
        body += message.get("body", b"")
        if message["type"] != "http.request" or len(body) > MAX_BODY:
            return messages, None
        more = message.get("more_body", False)
    return messages, bytes(body)


def _again(messages: list[Message], receive: Receive) -> Receive:
    """Return what gives the messages once more, and then goes on."""
    ahead = iter(messages)

    async def again() -> Message:
        message = next(ahead, None)
        return await receive() if message is None else message

    return again

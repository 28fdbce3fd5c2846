"""POST /v1/identifiers, the usual one: before the framework, which costs more than the writing.

What `registry.express` does not take, and every call with an Idempotency-Key, is handed on to the
route as it came; so is whatever is to be refused. The answer is the route's own, byte for byte.
"""

from __future__ import annotations

import json

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from registry.api.identifiers import PATH, view
from registry.api.problems import Problems, is_json
from registry.api.transaction import MAX_BODY, Deps
from registry.express import Express
from registry.identifiers import Standing
from schemas.identifier import Identifier

_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode  # as the route's


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
            try:
                done = await self._express.register(authorization, body)
            except Exception as err:  # noqa: BLE001  (answered as whatever a route raises)
                await Problems(_raising(err))(scope, receive, send)
                return
            if done is not None:
                for message in _answer(done.record.identifier, done.standing):
                    await send(message)
                return
        await self.app(scope, _again(messages, receive), send)


def _answer(identifier: Identifier, stands: Standing) -> tuple[Message, Message]:
    """Return what the route answers where an identifier is new."""
    body = _encode(view(stands)).encode()
    headers = [
        (b"etag", b'"1"'),
        (b"location", b"/" + identifier.path.encode()),
        (b"cache-control", b"no-cache"),
        (b"content-length", b"%d" % len(body)),
        (b"content-type", b"application/json"),
        (b"x-content-type-options", b"nosniff"),
    ]
    return (
        {"type": "http.response.start", "status": 201, "headers": headers},
        {"type": "http.response.body", "body": body},
    )


def _raising(err: Exception) -> ASGIApp:
    async def app(_scope: Scope, _receive: Receive, _send: Send) -> None:
        raise err

    return app


def _usual(scope: Scope) -> str | None:
    """Return who calls, if this is a registration in JSON that is to be done once."""
    if scope["type"] != "http" or scope["method"] != "POST" or scope["path"] != PATH:
        return None
    headers = scope["headers"]
    found: dict[bytes, bytes] = dict(headers)
    if len(found) != len(headers) or b"idempotency-key" in found:
        return None
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

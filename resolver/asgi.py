"""The ASGI types that this package speaks, and a route: no framework stands behind them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias, TypedDict

from schemas.errors import TooLarge

from .answers import Message

JSON = b"application/json"
NDJSON = b"application/x-ndjson"


class Scope(TypedDict):
    """What we read of an HTTP scope."""

    type: str
    method: str
    path: str
    raw_path: bytes
    query_string: bytes
    headers: list[tuple[bytes, bytes]]


Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Route:
    """An application and where it stands: exactly at `path`, or at all below it if it ends in /."""

    path: str
    app: App

    def fits(self, path: str) -> bool:
        """Tell whether a decoded path is for this route; / stands for itself alone."""
        if self.path.endswith("/") and self.path != "/":
            return path.startswith(self.path)
        return path == self.path


async def read_body(receive: Receive, limit: int) -> bytes:
    """Read a request body; raise TooLarge beyond `limit` bytes."""
    body = bytearray()
    while True:
        message = await receive()
        chunk = message.get("body", b"")
        assert isinstance(chunk, bytes)
        body += chunk
        if len(body) > limit:
            raise TooLarge(f"the body is over {limit} bytes", fix="send it in parts")
        if not message.get("more_body", False):
            return bytes(body)


async def start(send: Send, status: int, headers: list[tuple[bytes, bytes]]) -> None:
    """Begin a response."""
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def finish(send: Send, body: bytes = b"") -> None:
    """Send the last piece of a body."""
    await send({"type": "http.response.body", "body": body})

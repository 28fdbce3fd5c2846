"""HTTP/1.1 as a load generator needs it: one request at a time over a connection that stays open.

Nothing here is shared with the server under test. No pipelining: a request that is sent behind
another one on the same connection would measure that one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import cast

_BODILESS = {b"204", b"304"}
_LENGTH = b"\r\ncontent-length:"
_CHUNKED = b"\r\ntransfer-encoding: chunked"
_LAST_CHUNK = len(b"0\r\n\r\n")


class BadResponse(ValueError):
    """What came is no response that ends by itself."""


def span(data: bytes) -> int:
    """Return how many bytes the response at the beginning of `data` has.

    While it is not complete: a number larger than `len(data)`, that it has at least.
    """
    end = data.find(b"\r\n\r\n") + 4
    if end < 4:  # noqa: PLR2004  (the empty line has not come)
        return len(data) + 1
    if data[:7] != b"HTTP/1.":
        raise BadResponse(f"not HTTP: {data[:32]!r}")
    if data[9:12] in _BODILESS:
        return end
    at = data.find(_LENGTH, 0, end)
    if at < 0:  # perhaps in another spelling
        head = data[:end].lower()
        at = head.find(_LENGTH)
        if at < 0:
            if _CHUNKED in head:
                return _chunked(data, end)
            raise BadResponse(f"neither a length nor chunks: {data[:end]!r}")
    at += len(_LENGTH)
    return end + int(data[at : data.index(b"\r\n", at)])


def _chunked(data: bytes, at: int) -> int:
    while True:
        line = data.find(b"\r\n", at)
        if line < 0:
            return len(data) + 1
        size = int(data[at:line].partition(b";")[0], 16)
        at = line + 2 + size + 2
        if size == 0:
            return at
        if at >= len(data):
            return at + _LAST_CHUNK


def body_of(response: bytes) -> bytes:
    """Return the body of a complete response, chunks put together."""
    head, _, body = response.partition(b"\r\n\r\n")
    if _CHUNKED not in head.lower():
        return body
    parts = []
    while body:
        line, _, rest = body.partition(b"\r\n")
        size = int(line.partition(b";")[0], 16)
        parts.append(rest[:size])
        body = rest[size + 2 :]
    return b"".join(parts)


def header(response: bytes, name: bytes) -> bytes | None:
    """Return the value of a header, by its name in lower case."""
    head = response[: response.find(b"\r\n\r\n") + 2]
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        at = head.lower().find(b"\r\n" + name + b":")
        if at < 0:
            return None
    at += len(name) + 3
    return head[at : head.index(b"\r\n", at)].strip()


class Connection(asyncio.Protocol):
    """One connection: `ask`, then `answered(connection, response)` or `lost(connection, why)`.

    The times of the request under way are kept here for whoever asks: `due` and `sent`, on the
    clock of the caller.
    """

    def __init__(
        self,
        answered: Callable[[Connection, bytes], None],
        lost: Callable[[Connection, str], None],
    ) -> None:
        self._answered = answered
        self._lost = lost
        self._transport: asyncio.Transport | None = None
        self._parts: list[bytes] = []
        self._have = 0
        self._need = 0
        self._why = "closed"
        self.busy = False
        self.closing = False  # the server said that this response is the last one
        self.due = 0.0
        self.sent = 0.0
        self.asked: object = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by its class

    def ask(self, request: bytes, asked: object, due: float, sent: float) -> None:
        """Send a request; the connection must be idle."""
        self.busy, self.asked, self.due, self.sent = True, asked, due, sent
        assert self._transport is not None
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Gather a response, and hand it over when it is complete."""
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = b"".join(self._parts)
            self._parts = []
        try:
            need = span(data)
        except ValueError as err:
            self.abort(f"bad response: {err}")
            return
        if need > len(data):
            self._parts, self._have, self._need = [data], len(data), need
            return
        if need < len(data) or not self.busy:
            self.abort("bytes that nobody asked for")
            return
        self.busy = False
        self.closing = data.find(b"onnection: close\r\n", 0, 2048) >= 0
        self._answered(self, data)

    def abort(self, why: str) -> None:
        """Give the connection up; `lost` follows."""
        self._why = why
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        if self._transport is not None:
            self._transport.close()

    def connection_lost(self, err: Exception | None) -> None:
        """Tell that it is gone, whoever closed it."""
        self._lost(self, self._why if err is None else f"{type(err).__name__}")

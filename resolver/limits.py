"""What one connection may cost, and what it is told when it asks for more.

Standard library only: the edge is part of the hot path.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Final


@dataclass(frozen=True, slots=True)
class Limits:
    """The numbers of the front door; seconds are on the clock of the store."""

    head_bytes: int = 16_384  # more: 431
    target_bytes: int = 8_192  # more: 414
    held_bytes: int = 65_536  # of requests that wait for the response before them
    head_seconds: float = 5  # for a whole head; also from the connection to its first byte
    idle_seconds: float = 60  # between requests
    body_seconds: float = 10  # in each such span …
    body_bytes: int = 10_240  # … a body grows by so much, unless the application makes it wait
    write_seconds: float = 30  # for a client to take what a full buffer holds
    linger_seconds: float = 2  # after the last response, for the client to read it
    drain_seconds: float = 1  # at shutdown, for one more request of an idle connection
    blocks: int = 1024  # header blocks remembered …
    block_bytes: int = 4096  # … of at most this size


class Refusal:
    """The response to what is no request that can be answered; it ends the connection."""

    __slots__ = ("code", "line", "rest", "status")

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        problem = {"title": status.phrase, "status": int(status), "code": code, "detail": detail}
        body = json.dumps(problem, separators=(",", ":")).encode()
        self.code = code
        self.status = int(status)
        self.line = b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode())  # then the date
        self.rest = (
            b"content-type: application/problem+json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (len(body), body)
        )

    def __repr__(self) -> str:
        return f"Refusal({self.status}, {self.code})"


BAD_REQUEST: Final = Refusal(
    HTTPStatus.BAD_REQUEST, "request_malformed", "this is not an HTTP/1.1 request"
)
BAD_HOST: Final = Refusal(
    HTTPStatus.BAD_REQUEST, "host_invalid", "a request has one valid Host (RFC 9112, 3.2)"
)
BAD_FRAMING: Final = Refusal(
    HTTPStatus.BAD_REQUEST, "framing_invalid", "the one transfer coding understood is chunked"
)
BAD_VERSION: Final = Refusal(
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "http_version", "spoken here: HTTP/1.1 and HTTP/1.0"
)
TOO_SLOW: Final = Refusal(
    HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "the request came too slowly"
)
TARGET_TOO_LONG: Final = Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG, "target_too_long", "the request target is too long"
)
HEAD_TOO_LARGE: Final = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "the request head is too large"
)


@dataclass(slots=True)
class Traffic:
    """Plain counters of one process, read by whoever renders metrics."""

    connections: int = 0
    passed_on: int = 0  # requests that went to the application
    refused: dict[int, int] = field(default_factory=dict)  # by status
    closed_idle: int = 0
    cut_off: int = 0  # clients that would not take their response

    def refuse(self, status: int) -> None:
        """Count a refusal."""
        self.refused[status] = self.refused.get(status, 0) + 1

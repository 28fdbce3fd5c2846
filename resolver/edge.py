"""HOT: the front door, below ASGI: request bytes -> answer bytes, else the ASGI application.

Notice for whoever changes this module:
* it imports the standard library, uvicorn's protocol class with its parser, `resolver.answers` and
  `resolver.blocks` (import contract "hot");
* a hit costs at most 4 Python calls from socket to socket and allocates nothing but what it sends
  (tests/budgets/test_edge_calls.py);
* both paths give the same bytes (tests/properties/test_edge_paths.py).

A request is answered here when all of this holds, and goes to the application otherwise:

    1. the connection is idle: no message under way, no response running, room to write, not draining;
    2. the packet is one complete head (several: one after the other), its block known (`blocks`);
    3. GET or HEAD, HTTP/1.1, a known target; where there is a condition, one that matches;
    4. the answer is fresh (`answers`).

The parser is given one message at a time: what follows is held, and reading stops, until the
response is written. A message that is ambiguous is refused and ends its connection. So responses
cannot come in another order than their requests, and the parser cannot lose its place.

What the server lacks, each a number in `Limits`: time for a head, for an idle connection, for a
body (a least rate), for a client to take its response; the size of a head, of a target, of what is
held.
"""

from __future__ import annotations

import asyncio
import enum
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from http import HTTPStatus
from math import inf
from typing import ClassVar, Literal

import uvicorn
from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from .answers import STATUS_304, Answers
from .blocks import Blocks, Negotiate, cut_condition

# An ASGI application: what it is called with is the server's affair.
ASGI = Callable[..., Awaitable[None]]

QUOTE = 34
HEAD_END = b"\r\n\r\n"
FLUSH = 65_536  # bytes of pipelined answers that are written at once


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may cost."""

    head_bytes: int = 16_384
    target_bytes: int = 8_192
    held_bytes: int = 262_144  # of requests that wait for the response before them
    head_seconds: float = 5  # also from the connection to its first byte
    idle_seconds: float = 60
    body_seconds: float = 10  # in each such span a body grows by `body_bytes`
    body_bytes: int = 10_240
    write_seconds: float = 30  # for a full buffer to drain
    linger_seconds: float = 2  # between the last response and the end, for the client to read it
    drain_seconds: float = 1  # at shutdown, for one more request of an idle connection
    blocks: int = 1024
    block_bytes: int = 4096


class _Refusal:
    """A response to what is no request that we can answer; it ends the connection."""

    def __init__(self, status: HTTPStatus, code: str, detail: str) -> None:
        problem = {"title": status.phrase, "status": int(status), "code": code, "detail": detail}
        body = json.dumps(problem, separators=(",", ":")).encode()
        self.status = int(status)
        self.line = b"HTTP/1.1 %d %s\r\n" % (status, status.phrase.encode())
        self.rest = (
            b"content-type: application/problem+json\r\ncontent-length: %d\r\n"
            b"connection: close\r\n\r\n%s" % (len(body), body)
        )


BAD_REQUEST = _Refusal(HTTPStatus.BAD_REQUEST, "request_invalid", "not a valid HTTP/1.1 request")
BAD_HOST = _Refusal(
    HTTPStatus.BAD_REQUEST, "host_invalid", "a request has exactly one valid Host (RFC 9112 3.2)"
)
BAD_FRAMING = _Refusal(
    HTTPStatus.BAD_REQUEST, "framing_invalid", "the only transfer coding understood is chunked"
)
BAD_VERSION = _Refusal(
    HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "http_version", "HTTP/1.1 and HTTP/1.0 are spoken here"
)
TOO_SLOW = _Refusal(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "the request came too slowly")
TARGET_TOO_LONG = _Refusal(
    HTTPStatus.REQUEST_URI_TOO_LONG, "target_too_long", "the request target is too long"
)
HEAD_TOO_LARGE = _Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", "the request head is too large"
)

_HOST = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]*")


@dataclass(slots=True)
class Traffic:
    """Plain counters of one process, read by whoever renders metrics."""

    connections: int = 0
    passed_on: int = 0  # requests that went to the application
    refused: dict[int, int] = field(default_factory=dict)  # by status
    closed_idle: int = 0
    cut_off: int = 0  # would not take their response


class _Phase(enum.Enum):
    """Where a connection stands in its reading."""

    START = 0  # between messages
    HEAD = 1  # part of a head has come, and is kept in `_rest`
    BODY = 2
    OVER = 3  # nothing more is read


class Edge(HttpToolsProtocol):
    """One connection; `make_protocol` makes the class that a server can use."""

    answers: ClassVar[Answers]
    blocks: ClassVar[Blocks]
    limits: ClassVar[Limits]
    traffic: ClassVar[Traffic]

    __slots__ = (
        "_answers", "_clock", "_draining", "_due", "_eof", "_fault", "_idle", "_known", "_made", "_owed",
        "_phase", "_rest", "_since", "_timer", "_window",
    )  # fmt: skip

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = None  # nothing here speaks WebSocket
        self._answers = self.answers
        self._clock = self.answers.clock
        self._known = self.blocks.known
        self._idle = False  # a hit may be answered; kept by `_settle`
        self._phase = _Phase.OVER
        self._rest = b""  # in HEAD: the part that has come; in START: what waits its turn
        self._owed = 0  # bytes of a body with a length still to come; -1: chunked
        self._window = 0  # bytes of a body in the present span
        self._fault = BAD_REQUEST  # why a callback of the parser raised
        self._draining = False
        self._eof = False
        self._made = 0.0
        self._since = 0.0  # when the present wait began, on the clock
        self._due = inf  # when the timer goes off
        self._timer: asyncio.TimerHandle | None = None

    # The fast path

    def data_received(self, data: bytes) -> None:
        if self._idle:
            out = self._answer(data)
            if out is not None:
                self.transport.write(out)
                return
        self._read(data)

    def _answer(self, request: bytes) -> bytes | None:
        """Return the response to one complete head, None where the application has to give it."""
        line, _, block = request.partition(b"\r\n")
        condition = b""
        find = self._known.get(block)
        if find is None:
            cut = cut_condition(request)
            if cut is None:
                return None
            block, condition = cut
            find = self._known.get(block)
            if find is None:
                return None
        if line[-9:] != b" HTTP/1.1":
            return None
        if line[:4] == b"GET ":
            answer = find(line[4:-9])
        elif line[:5] == b"HEAD ":
            answer = find(line[5:-9])
        else:
            return None
        if answer is None:
            return None
        answers, now = self._answers, self._clock()
        if not (
            now < answers.calm_until
            and now < answer.expires
            and answer.seen == answers.generation
            or answers.recheck(answer, now)
        ):
            return None
        head = answer.head
        if condition:
            if condition[:2] == b"W/":
                condition = condition[2:]
            # A value without its quote could be found in another field of the answer.
            if (
                condition[0] != QUOTE
                or not head.not_modified
                or not answer.tail.startswith(condition, answer.etag_at + 6)
            ):
                return None
            answers.not_modified += 1
            out = b"".join((STATUS_304, answers.date, head.not_modified, condition, b"\r\n"))
        elif line[0] == 72:
            answers.heads += 1
            out = b"".join((head.status_line, answers.date, head.fields, answer.tail[: answer.body_at]))
        else:
            out = b"".join((head.status_line, answers.date, head.fields, answer.tail))
        answers.hits += 1
        self._since = now
        return out

    # Everything else: one message at a time to the parser

    def _read(self, data: bytes) -> None:
        """Take what has come after what waited; answer, pass on, keep or refuse it."""
        if self._rest:
            data, self._rest = self._rest + data, b""
        ready: list[bytes] = []
        while data and self._phase is not _Phase.OVER:
            if self._phase is _Phase.BODY:
                data = self._feed_body(data)
            elif self._busy() or self.flow.write_paused:
                break
            else:
                data = self._take(data, ready)
        self._flush(ready)
        if data and self._phase is _Phase.START:
            self._hold(data)
        self._settle()

    def _take(self, data: bytes, ready: list[bytes]) -> bytes:
        """Take one head off the data; what is left of it is returned."""
        data = data.lstrip(b"\r\n")  # empty lines before a request (RFC 9112 §2.2)
        end = data.find(HEAD_END) + len(HEAD_END)
        if end < len(HEAD_END):
            self._keep(data, ready)
            return b""
        head, data = data[:end], data[end:]
        self._phase = _Phase.START
        out = None if self._draining else self._answer(head)
        if out is None:
            self._flush(ready)
            self._feed_head(head)
        else:
            ready.append(out)
            if sum(map(len, ready)) >= FLUSH:
                self._flush(ready)
        return data

    def _flush(self, ready: list[bytes]) -> None:
        if ready:
            self.transport.write(b"".join(ready))
            ready.clear()

    def _keep(self, data: bytes, ready: list[bytes]) -> None:
        """Keep part of a head until the rest comes, unless it cannot become a request."""
        if not data:
            return
        refusal = None
        if not data[:1].isupper() or data.count(b"\n") != data.count(b"\r\n"):
            refusal = BAD_REQUEST
        elif len(data) > self.limits.head_bytes:
            refusal = HEAD_TOO_LARGE if b"\r\n" in data else TARGET_TOO_LONG
        if refusal is not None:
            self._flush(ready)
            self._refuse(refusal)
            return
        if self._phase is _Phase.START:
            self._phase, self._since = _Phase.HEAD, self._clock()
        self._rest = data

    def _hold(self, data: bytes) -> None:
        """Let requests wait for the response before them."""
        if len(data) > self.limits.held_bytes and self._busy():
            self._stop()
            return
        self._rest = data
        self.flow.pause_reading()

    def _feed_head(self, head: bytes) -> None:
        """Give the parser a whole head; unless it refuses, the application runs."""
        if len(head) > self.limits.head_bytes:
            self._refuse(HEAD_TOO_LARGE)
            return
        if head.find(b"\r\n") > self.limits.target_bytes:
            self._refuse(TARGET_TOO_LONG)
            return
        before = self.cycle
        self._phase, self._fault = _Phase.BODY, BAD_REQUEST
        self._window, self._since = 0, self._clock()
        try:
            self.parser.feed_data(head)
        except HttpParserUpgrade:
            pass  # ignored, as RFC 9110 §7.8 allows; nothing came after it
        except HttpParserError:
            if self.cycle is before:
                self._refuse(self._fault)
            else:
                self._break(self._fault)
            return
        self.traffic.passed_on += 1
        if self._phase is _Phase.START:
            self.blocks.learn(head, self.headers)

    def _feed_body(self, data: bytes) -> bytes:
        """Give the parser what belongs to the body; what comes after it is returned."""
        part, after = data, b""
        if self._owed > 0:
            part, after = data[: self._owed], data[self._owed :]
            self._owed -= len(part)
        self._window += len(part)
        try:
            self.parser.feed_data(part)
        except (HttpParserError, HttpParserUpgrade):
            if self._phase is _Phase.START:
                self._stop()  # a request in the packet that ends a chunked body: not told apart
            else:
                self._break(BAD_REQUEST)
            return b""
        return after

    def on_message_begin(self) -> None:
        if self._phase is _Phase.START:
            raise ValueError("a second message in one feed")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        fault = self._check()
        if fault is not None:
            self._fault = fault
            raise ValueError(fault.code)
        super().on_headers_complete()
        self.cycle.default_headers = self._answers.today()
        if self._draining:
            self.cycle.keep_alive = False

    def _check(self) -> _Refusal | None:
        """Look at what the parser lets pass though it is ambiguous (RFC 9112 §3.2, §6.1)."""
        version = self.parser.get_http_version()
        if version not in {"1.1", "1.0"}:
            return BAD_VERSION
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (version == "1.1" and not hosts):
            return BAD_HOST
        if hosts and not _HOST.fullmatch(hosts[0]):
            return BAD_HOST
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        if codings and (version == "1.0" or codings != [b"chunked"]):
            return BAD_FRAMING
        lengths = [value for name, value in self.headers if name == b"content-length"]
        self._owed = -1 if codings else sum(map(int, lengths))  # the parser allows one at most
        return None

    def on_message_complete(self) -> None:
        self._phase = _Phase.START
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._unset_keepalive_if_required()  # ours is the timer
        if self._phase is _Phase.START:
            self._since = self._clock()
        if self.transport.is_closing():
            self._phase = _Phase.OVER
        elif self._rest:
            self.loop.call_soon(self._resume)
            return
        elif self._eof:
            self.transport.close()
        self._settle()

    def _resume(self) -> None:
        if self._phase is not _Phase.OVER:
            self.flow.resume_reading()
            self._read(b"")
            if self._eof and not self._busy() and not self._rest:
                self.transport.close()

    def eof_received(self) -> bool | None:  # type: ignore[override]  # half-closed is still open
        if self._phase is _Phase.START and self._busy() and self.scheme == "http":
            self._eof = True
            return True
        return None

    # How it ends

    def _refuse(self, refusal: _Refusal) -> None:
        """Answer what is no request, and end the connection; no response may be under way."""
        counts = self.traffic.refused
        counts[refusal.status] = counts.get(refusal.status, 0) + 1
        self._answers.today()
        self.transport.write(b"".join((refusal.line, self._answers.date, refusal.rest)))
        self._end()

    def _break(self, refusal: _Refusal) -> None:
        """End a request whose body went wrong; a response that has begun stays unfinished."""
        cycle = self.cycle
        begun = cycle.response_started
        if not cycle.response_complete:
            cycle.disconnected = True
            cycle.message_event.set()
        if begun:
            self._end()
        else:
            self._refuse(refusal)

    def _stop(self) -> None:
        """Read no more requests; the response under way says so, and ends the connection."""
        self._phase = _Phase.OVER
        self.cycle.keep_alive = False
        if self.cycle.response_complete:
            self._end()

    def _end(self) -> None:
        """Close our side, and let the client read before the socket goes (RFC 9112 §9.6)."""
        self._phase, self._rest, self._since = _Phase.OVER, b"", self._clock()
        self.flow.resume_reading()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        else:
            self.transport.close()

    def shutdown(self) -> None:
        """Drain: one more request of an idle connection is still answered, with `close`."""
        self._draining = True
        if self._busy():
            self.cycle.keep_alive = False
        elif self._phase is _Phase.START:
            self._since = self._clock()
        self._settle()

    # States and times

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # so has uvicorn
        super().connection_made(transport)
        self.traffic.connections += 1
        self._phase, self._since = _Phase.START, self._clock()
        self._made = self._since
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        self._phase, self._idle, self._rest = _Phase.OVER, False, b""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._idle, self._since = False, self._clock()
        self._arm()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._since = self._clock()
        if self._rest and self._phase is _Phase.START:
            self.loop.call_soon(self._resume)
        else:
            self._settle()

    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _settle(self) -> None:
        self._idle = (
            self._phase is _Phase.START
            and not self._rest
            and not self._draining
            and not self.flow.write_paused
            and not self._busy()
        )
        self._arm()

    def _patience(self) -> float:
        """Return for how long the present state may last."""
        limits = self.limits
        if self.flow.write_paused:
            return limits.write_seconds
        if self._phase is _Phase.HEAD:
            return limits.head_seconds
        if self._phase is _Phase.BODY:
            return limits.body_seconds
        if self._busy():
            return inf  # the application has time limits of its own
        if self._phase is _Phase.OVER:
            unsent = self.transport.get_write_buffer_size()
            return limits.write_seconds if unsent else limits.linger_seconds
        if self._draining:
            return limits.drain_seconds
        return limits.idle_seconds if self._since > self._made else limits.head_seconds

    def _arm(self) -> None:
        """See that the timer goes off in time: rarely set, and never by a hit."""
        due = self._since + self._patience()
        if due >= self._due or self.parser is None:
            return
        if self._timer is not None:
            self._timer.cancel()
        now = self._clock()
        self._due = min(due, now + self.limits.idle_seconds)
        self._timer = self.loop.call_later(max(0.0, self._due - now), self._watch)

    def _watch(self) -> None:
        self._due, self._timer = inf, None
        now = self._clock()
        if now >= self._since + self._patience():
            self._time_out(now)
        self._arm()

    def _time_out(self, now: float) -> None:
        if self.flow.write_paused or self._phase is _Phase.OVER or self.transport.is_closing():
            self.traffic.cut_off += 1
            self.transport.abort()
        elif self._phase is _Phase.HEAD:
            self._refuse(TOO_SLOW)
        elif self._phase is _Phase.BODY:
            if not self.flow.read_paused and self._window < self.limits.body_bytes:
                self._break(TOO_SLOW)
            self._window, self._since = 0, now
        else:
            self.traffic.closed_idle += 1
            self.transport.close()
            self._phase, self._since = _Phase.OVER, now


def make_protocol(answers: Answers, negotiate: Negotiate, limits: Limits = Limits()) -> type[Edge]:
    """Return the protocol class for `uvicorn.Config(http=…)`: one front door over one store.

    `negotiate` makes the variant of an Accept header (None where there is none), and is all that
    an answer may depend on besides its target; None keeps such requests from the fast path.
    """
    members = {
        "answers": answers,
        "blocks": Blocks(answers, negotiate, limits.blocks, limits.block_bytes),
        "limits": limits,
        "traffic": Traffic(),
        "__slots__": (),
    }
    return type("EdgeProtocol", (Edge,), members)


def config(
    app: ASGI,
    protocol: type[Edge],
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    fd: int | None = None,
    lifespan: Literal["on", "off", "auto"] = "auto",
) -> uvicorn.Config:
    """Return the settings under which both paths write the same bytes.

    No header is added by the server itself (the protocol adds the date), nothing is logged for a
    request, and addresses that proxies claim are not believed.
    """
    return uvicorn.Config(
        app,
        host=host,
        port=port,
        fd=fd,
        http=protocol,
        loop="auto",
        ws="none",
        lifespan=lifespan,
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
    )

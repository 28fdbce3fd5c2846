"""HOT: the front door, below ASGI: request bytes -> answer bytes, else the ASGI application.

Notice for whoever changes this module:
* it imports the standard library, the server's protocol class with its parser, and the modules of
  this package that import the standard library alone (import contract "hot");
* a hit costs at most 4 Python calls from socket to socket, logs nothing, and allocates nothing but
  what it compares and sends (tests/budgets/test_edge_calls.py);
* both paths give the same bytes (tests/properties/test_edge_paths.py).

A request is answered here when all of this holds, and goes to the application otherwise:

    1. the connection is idle: no message under way, no response either, room to write, no drain;
    2. the bytes are one complete head whose block is known (`blocks`), but for If-None-Match;
    3. it is GET or HEAD of HTTP/1.1, for a target that is kept;
    4. the answer is fresh (`answers`);
    5. If-None-Match, where there is one, is exactly its entity tag.

Where only 3 or 4 is missing, and the target may be an identifier, whoever knows more than the store
is asked first (`Ask`), and what he tells is written here; until then the connection is busy. Where
he has nothing to tell, the request goes to the application as it came.

The parser is given one message at a time: what follows is held, and reading stops, until the
response is written. What is ambiguous is refused, and ends its connection. So no response can come
in another order than its request, and the parser cannot lose its place in the stream.

What the server lacks is here too, each with a number in `limits`: time for a head, for an idle
connection, for a body (a least rate), for a client to take its response; the size of a head.
"""

from __future__ import annotations

import asyncio
import enum
import re
from collections.abc import Callable
from math import inf
from typing import ClassVar, Protocol, cast

import uvicorn
from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from .answers import STATUS_304, Answer, Answers, Headers
from .blocks import Blocks, Negotiate, Question, cut_condition
from .limits import (
    BAD_FRAMING,
    BAD_HOST,
    BAD_REQUEST,
    BAD_VERSION,
    HEAD_TOO_LARGE,
    TARGET_TOO_LONG,
    TOO_SLOW,
    Limits,
    Refusal,
    Traffic,
)

HEAD_END = b"\r\n\r\n"
FLUSH = 65_536  # bytes of pipelined answers that are written at once

_H = ord("H")
_CONTINUE = b"HTTP/1.1 100 "
_HOST = re.compile(rb"[A-Za-z0-9\-._~%!$&'()*+;=:\[\]]*")


class Told(Protocol):
    """Takes an answer, once; None where there is none to tell.

    `instead` replaces headers of the answer, as in `Answer.asgi`.
    """

    def __call__(self, answer: Answer | None, instead: Headers = ()) -> None:
        """Take it: an answer may be sent at this moment, and is not kept for later."""
        ...


# Asks for the answer to a target in a variant: False where there is nobody to ask, else it is told
# later, and never before this call returns.
Ask = Callable[[bytes, int, Told], bool]


class _Waiting:
    """A request that waits for an answer; whoever closed or went on meanwhile is not told."""

    __slots__ = ("edge", "head", "question")

    def __init__(self, edge: Edge, head: bytes, question: Question) -> None:
        self.edge = edge
        self.head = head
        self.question = question

    def __call__(self, answer: Answer | None, instead: Headers = ()) -> None:
        if self.edge.waiting is self:
            self.edge.told(self, answer, instead)


class _Gathering:
    """The transport of one response: its head goes out with what follows it, as ASGI has it."""

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None  # what waits; empty once it has gone

    def write(self, data: bytes) -> None:
        """Keep the head; write everything else, and the head in front of it."""
        if self._head is None and not data.startswith(_CONTINUE):
            self._head = data
        elif self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Let a head go out alone: nothing follows it."""
        if self._head:
            self._transport.write(self._head)
            self._head = b""

    def close(self) -> None:
        """Close after what was written."""
        self.flush()
        self._transport.close()

    def is_closing(self) -> bool:
        """Tell whether the connection ends."""
        return self._transport.is_closing()


class _Phase(enum.Enum):
    """Where a connection stands in its reading."""

    START = 0  # between messages
    HEAD = 1  # part of a head has come
    BODY = 2
    OVER = 3  # nothing more is read


class Edge(HttpToolsProtocol):
    """One connection; `make_protocol` makes the class that a server can use."""

    answers: ClassVar[Answers]
    blocks: ClassVar[Blocks]
    limits: ClassVar[Limits]
    traffic: ClassVar[Traffic]
    ask: Ask  # not a method: the class has it as a static one

    def __init__(
        self,
        config: uvicorn.Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        """Take the place of uvicorn's own protocol."""
        super().__init__(config, server_state, app_state, _loop)
        self.ws_protocol_class = None  # nothing here speaks WebSocket
        self._answers = self.answers
        self._clock = self.answers.clock
        self._known = self.blocks.known
        self.waiting: _Waiting | None = None
        self._idle = False  # step 1; kept by `_settle`
        self._phase = _Phase.OVER
        self._rest = b""  # in HEAD: the part that has come; in START: what waits its turn
        self._owed = 0  # bytes of a body still to come; -1: chunked, its end is in the bytes
        self._grown = 0  # bytes of a body in the present span
        self._fault = BAD_REQUEST  # why a callback of the parser raised
        self._draining = False
        self._eof = False  # the client has closed its side
        self._made = 0.0
        self._since = 0.0  # when the present wait began
        self._due = inf  # when the timer goes off
        self._timer: asyncio.TimerHandle | None = None

    # The fast path

    def data_received(self, data: bytes) -> None:
        """Answer a packet that is one hit; everything else takes the long way."""
        if self._idle:
            out = self._answer(data)
            if out is not None:
                self.transport.write(out)
                return
        self._read(data)

    # Long, because each call it made would cost a hundredth of the whole hit.
    def _answer(self, request: bytes) -> bytes | None:  # noqa: C901, PLR0911, PLR0912
        """Return the response to one complete head, None where the application has to give it."""
        # 2
        line, _, block = request.partition(b"\r\n")
        condition = None
        find = self._known.get(block)
        if find is None:
            cut = cut_condition(block)
            if cut is None:
                return None
            block, condition = cut
            find = self._known.get(block)
            if find is None:
                return None
        # 3
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
        # 4
        answers, now = self._answers, self._clock()
        if (
            now >= answers.calm_until or now >= answer.expires or answer.seen != answers.generation
        ) and not answers.recheck(answer, now):
            return None
        head = answer.head
        # 5
        if condition is not None:
            if condition[:2] == b"W/":
                condition = condition[2:]
            # Without its quote, a value might be found in another field of the answer.
            if (
                condition[:1] != b'"'
                or not head.not_modified
                or not answer.tail.startswith(condition + b"\r\n", answer.etag_at + 6)
            ):
                return None
            out = b"".join((STATUS_304, answers.date, head.not_modified, condition, HEAD_END))
            answers.not_modified += 1
        elif line[0] == _H:
            own = answer.tail[: answer.body_at]
            out = b"".join((head.status_line, answers.date, head.fields, own))
            answers.heads += 1
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
            if self._draining or not self._wait(head):
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
        refusal = self._flaw(data)
        if refusal is not None:
            self._flush(ready)
            self._refuse(refusal)
            return
        if self._phase is _Phase.START:
            self._phase, self._since = _Phase.HEAD, self._clock()
        self._rest = data

    def _flaw(self, head: bytes) -> Refusal | None:
        """Tell why a head, or part of one, is no request: the same in however many packets."""
        most = self.limits.head_bytes
        seen = head[: most + 1]
        if not seen[:1].isupper() or seen.count(b"\n") != seen.count(b"\r\n"):
            return BAD_REQUEST
        if len(head) > most:
            return HEAD_TOO_LARGE if b"\r\n" in seen else TARGET_TOO_LONG
        return None

    def _hold(self, data: bytes) -> None:
        """Let requests wait for the response before them."""
        if len(data) > self.limits.held_bytes and self._busy():
            self._wait_no_longer()
            if self._busy():
                self._stop()
            return
        self._rest = data
        self.flow.pause_reading()

    # What is asked for

    def _wait(self, head: bytes) -> bool:
        """Ask for the answer to a whole head; False where the application has to be asked."""
        question = self.blocks.question(head)
        if question is None:
            return False
        waiting = self.waiting = _Waiting(self, head, question)
        if not self.ask(question.target, question.variant, waiting):
            self.waiting = None
            return False
        return True

    def told(self, waiting: _Waiting, answer: Answer | None, instead: Headers) -> None:
        """Write the answer that was waited for, or let the application give it; then go on."""
        self.waiting = None
        if answer is None:
            self._feed_head(waiting.head)
        else:
            question = waiting.question
            self._answers.today()
            self.transport.write(
                answer.wire(self._answers.date, question.method, question.if_none_match, instead)
            )
            self._since = self._clock()
        if self._busy() or self._phase is _Phase.OVER:
            self._settle()
        else:
            self._go_on()

    def _wait_no_longer(self) -> None:
        """Let the application answer what is waited for: it can say that the connection ends."""
        waiting, self.waiting = self.waiting, None
        if waiting is not None:
            self._feed_head(waiting.head)

    def _feed_head(self, head: bytes) -> None:
        """Give the parser a whole head; unless it refuses, the application runs."""
        refusal = self._flaw(head)
        if refusal is None and head.find(b"\r\n") > self.limits.target_bytes:
            refusal = TARGET_TOO_LONG
        if refusal is not None:
            self._refuse(refusal)
            return
        before = self.cycle
        self._phase, self._fault = _Phase.BODY, BAD_REQUEST
        self._grown, self._since = 0, self._clock()
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
        self._grown += len(part)
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
        """Begin a message, and only where one may begin."""
        if self._phase is _Phase.START:
            raise ValueError("a second message in one feed")
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Start the application, unless the head is ambiguous."""
        fault = self._check()
        if fault is not None:
            self._fault = fault
            raise ValueError(fault.code)
        super().on_headers_complete()
        self.cycle.default_headers = self._answers.today()
        self._gathering = _Gathering(self.transport)
        self.cycle.transport = cast("asyncio.Transport", self._gathering)
        if self._draining:
            self.cycle.keep_alive = False

    def _check(self) -> Refusal | None:
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
        """Be ready for the next message."""
        self._phase = _Phase.START
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with what waited for this response."""
        self._gathering.flush()
        super().on_response_complete()
        self._unset_keepalive_if_required()  # ours is the timer
        if self._phase is _Phase.START:
            self._since = self._clock()
        self._go_on()

    def _go_on(self) -> None:
        """After a response: take what waited for it, or end with a client that has ended."""
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

    def eof_received(self) -> bool | None:  # type: ignore[override]  # the superclass keeps nothing open
        """Still send what a client that closed its side has asked for."""
        if self._phase is _Phase.START and self._busy() and self.scheme == "http":
            self._eof = True
            return True
        return None

    # How it ends

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what is no request, and end the connection; no response may be under way."""
        self.traffic.refuse(refusal.status)
        self._answers.today()
        self.transport.write(b"".join((refusal.line, self._answers.date, refusal.rest)))
        self._end()

    def _break(self, refusal: Refusal) -> None:
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
        self._wait_no_longer()
        if self._busy():
            # A response that has begun has not said `close`: it is followed by one that does.
            if not self.cycle.response_started:
                self.cycle.keep_alive = False
        elif self._phase is _Phase.START:
            self._since = self._clock()
        self._settle()

    # States and times

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start to wait for a first request."""
        super().connection_made(transport)
        self.traffic.connections += 1
        self._phase, self._since = _Phase.START, self._clock()
        self._made = self._since
        self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._phase, self._idle, self._rest, self.waiting = _Phase.OVER, False, b"", None
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Answer nothing more until the client has taken what is written."""
        super().pause_writing()
        self._idle, self._since = False, self._clock()
        self._arm()

    def resume_writing(self) -> None:
        """Go on."""
        super().resume_writing()
        self._since = self._clock()
        if self._rest and self._phase is _Phase.START:
            self.loop.call_soon(self._resume)
        else:
            self._settle()

    def _busy(self) -> bool:
        """Tell whether a response is under way."""
        cycle: RequestResponseCycle | None = self.cycle
        return self.waiting is not None or (cycle is not None and not cycle.response_complete)

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
            seconds = limits.write_seconds
        elif self._phase is _Phase.HEAD:
            seconds = limits.head_seconds
        elif self._phase is _Phase.BODY:
            seconds = limits.body_seconds
        elif self._busy():
            seconds = inf  # the application has time limits of its own
        elif self._phase is _Phase.OVER:
            unsent = self.transport.get_write_buffer_size()
            seconds = limits.write_seconds if unsent else limits.linger_seconds
        elif self._draining:
            seconds = limits.drain_seconds
        else:
            begun = self._since > self._made
            seconds = limits.idle_seconds if begun else limits.head_seconds
        return seconds

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
            if not self.flow.read_paused and self._grown < self.limits.body_bytes:
                self._break(TOO_SLOW)
            self._grown, self._since = 0, now
        else:
            self.traffic.closed_idle += 1
            self.transport.close()
            self._phase, self._since = _Phase.OVER, now


def _nobody(_target: bytes, _variant: int, _told: Told) -> bool:
    return False


def make_protocol(
    answers: Answers,
    negotiate: Negotiate,
    limits: Limits | None = None,
    *,
    ask: Ask = _nobody,
) -> type[Edge]:
    """Return the protocol class for `uvicorn.Config(http=…)`: one front door over one store.

    `negotiate` makes the variant of an Accept header (None where there is none), and is all that
    an answer may depend on besides its target; None keeps such requests from the fast path.
    `ask` is asked for what the store has not; what it tells is all that the application would say.
    The server must add no header of its own (`date_header=False`, `server_header=False`): the
    date of both paths comes from the store.
    """
    limits = limits or Limits()
    members = {
        "answers": answers,
        "blocks": Blocks(answers, negotiate, limits.blocks, limits.block_bytes),
        "limits": limits,
        "traffic": Traffic(),
        "ask": staticmethod(ask),
    }
    return type("EdgeProtocol", (Edge,), members)

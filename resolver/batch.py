"""POST /v1/resolve: up to a thousand identifiers in, one NDJSON line for each out, in order.

A line that cannot be answered says so and costs no other. Lines are made of the finished answers
that single requests get, and what had to be read is kept for them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from schemas.canonical import Json, decode_object
from schemas.errors import (
    BadIdentifier,
    BadInput,
    MethodNotAllowed,
    TierlinkError,
    TooLarge,
    VerifyError,
)
from schemas.identifier import Identifier

from . import tags
from .answers import Answer, Answers
from .asgi import NDJSON, Receive, Scope, Send, finish, read_body, start
from .lookup import Lookup, Outcome
from .render import Form, Renderer, Wanted, encode

OK = 200
MOST = 1_000
MAX_BODY = 4 * 1024 * 1024
SLICE = 100  # lines that are read together and sent together

_WANTED = Wanted(Form.JSON)
_BEGIN, _MIDDLE, _END = b'{"identifier":"', b'","status":200,"answer":', b"}\n"
# The usual request: not one space, and nothing in it that JSON or a path would spell otherwise.
_OPEN, _BETWEEN, _CLOSE = b'{"identifiers":["', b'","', b'"]}'
_USUAL = bytes(set(range(0x20, 0x7F)) - set(b"%\\"))
_HEADERS = [
    (b"content-type", NDJSON),
    (b"cache-control", b"no-store"),
    (b"access-control-allow-origin", b"*"),
    (b"x-content-type-options", b"nosniff"),
]
_PREFLIGHT = [
    (b"allow", b"POST, OPTIONS"),
    (b"access-control-allow-origin", b"*"),
    (b"access-control-allow-methods", b"POST, OPTIONS"),
    (b"access-control-allow-headers", b"content-type"),
    (b"access-control-max-age", b"86400"),
]


class Batch:
    """Resolves many identifiers in one request."""

    def __init__(self, lookup: Lookup, answers: Answers, renderer: Renderer) -> None:
        self._lookup = lookup
        self._answers = answers
        self._renderer = renderer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; raise what the error edge translates."""
        if scope["method"] == "OPTIONS":
            await start(send, 204, _PREFLIGHT)
            await finish(send)
            return
        if scope["method"] != "POST":
            raise MethodNotAllowed(
                "a batch is sent", value="POST, OPTIONS", fix='POST {"identifiers": […]}'
            )
        body = await read_body(receive, MAX_BODY)
        usual = split_usual(body)
        asked: Sequence[Json | bytes] = read_request(body) if usual is None else usual
        if len(asked) <= SLICE:
            lines = await self._lines(asked)
            await start(send, 200, [*_HEADERS, (b"content-length", b"%d" % len(lines))])
            await finish(send, lines)
            return
        await start(send, 200, _HEADERS)
        for at in range(0, len(asked), SLICE):
            lines = await self._lines(asked[at : at + SLICE])
            await send({"type": "http.response.body", "body": lines, "more_body": True})
            # Sending does not wait while the client keeps up; the poll of the changes has to run.
            await asyncio.sleep(0)
        await finish(send)

    async def _lines(self, asked: Sequence[Json | bytes]) -> bytes:
        """Join what is finished, and read the rest together.

        Most are there, and asked for in the usual spelling (`split_usual`): their lines are put
        together without a copy of their own, and whether an answer is fresh is asked as the edge
        asks it, in one look at the clock for all of a slice.
        """
        pieces: list[bytes] = []
        rest: list[_Rest] = []
        find, generation, now = self._answers.calm(Form.JSON)
        for item in asked:
            if type(item) is bytes:
                answer = find(b"/" + item)
                if (
                    answer is not None
                    and answer.seen == generation
                    and now < answer.expires
                    and answer.head.status == OK
                ):
                    pieces += (_BEGIN, item, _MIDDLE, answer.tail[answer.body_at :], _END)
                    continue
            rest.append(self._look(len(pieces), item))
            pieces.append(b"")
        self._answers.hits += len(asked) - len(rest)
        if rest:
            await self._fill(pieces, rest)
        return b"".join(pieces)

    def _look(self, place: int, item: Json | bytes) -> _Rest:
        if isinstance(item, bytes):
            item = item.decode()
        read = _identifier(item)
        if not isinstance(read, Identifier):
            return _Rest(place, item, read, None)
        return _Rest(place, item, read, self._answers.get(_target(read), Form.JSON))

    async def _fill(self, lines: list[bytes], rest: Sequence[_Rest]) -> None:
        missing = [
            item.read for item in rest if item.answer is None and isinstance(item.read, Identifier)
        ]
        outcomes = iter(await self._lookup.resolve_many(missing))
        for item in rest:
            lines[item.place] = self._line(item, outcomes)

    def _line(self, rest: _Rest, outcomes: Iterator[Outcome]) -> bytes:
        asked, item, answer = rest.asked, rest.read, rest.answer
        if not isinstance(item, Identifier):
            return _refused(asked, item)
        if answer is None:
            outcome = next(outcomes)
            if isinstance(outcome, TierlinkError):
                return _refused(asked, outcome)
            rendered = self._renderer.answer(outcome, _WANTED, tags.of_reading(outcome))
            answer = rendered.answer
            self._answers.put(_target(item), Form.JSON, answer, outcome.watermark.epoch)
        if answer.status == OK:
            return b'{"identifier":%s,"status":200,"answer":%s}\n' % (encode(asked), answer.body)
        # A refusal is a problem document, whose members become the line's.
        return b'{"identifier":%s,%s\n' % (encode(asked), answer.body[1:])


class _Rest(NamedTuple):
    """What was asked and is not simply there."""

    place: int
    asked: Json
    read: Identifier | BadInput
    answer: Answer | None


def _target(item: Identifier) -> bytes:
    return b"/" + item.path.encode()


def split_usual(body: bytes) -> list[bytes] | None:
    """Split a body of the usual spelling; None where it is another, to be read as any JSON.

    What is split is so spelled that it is the same in JSON, in a path and as an identifier.
    """
    if not (body.startswith(_OPEN) and body.endswith(_CLOSE)) or body.translate(None, _USUAL):
        return None
    asked = body[len(_OPEN) : -len(_CLOSE)].split(_BETWEEN)
    return asked if body.count(b'"') == 2 * len(asked) + 2 and len(asked) <= MOST else None


def read_request(body: bytes) -> list[Json]:
    """Read the body of a request; raise BadInput or TooLarge."""
    fix = 'send {"identifiers": ["88.118.8/ABC-0001", …]}'
    try:
        document = decode_object(body)
    except VerifyError as err:
        raise BadInput(f"the body is {err.detail}", value=err.value, fix=fix) from err
    asked = document.get("identifiers")
    if not isinstance(asked, list) or len(document) != 1:
        raise BadInput("the body is not an object of one array, identifiers", fix=fix)
    if len(asked) > MOST:
        raise TooLarge(
            f"{len(asked)} identifiers in one request", fix=f"send at most {MOST} at a time"
        )
    return asked


def _identifier(item: Json) -> Identifier | BadInput:
    if not isinstance(item, str):
        return BadIdentifier("an identifier is a string", value=encode(item).decode())
    try:
        return Identifier.parse(item)
    except BadIdentifier as err:
        return err


def _refused(asked: Json, error: TierlinkError) -> bytes:
    return (
        encode({"identifier": asked if isinstance(asked, str) else None, **error.problem()}) + b"\n"
    )

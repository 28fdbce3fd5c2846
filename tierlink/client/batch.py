"""Batches: items of any number become NDJSON requests of bounded size, in order, memory flat.

A request of a batch ends after LINES lines or BYTES bytes, so that it can be repeated whole when
the connection breaks: what was registered before is found to be the same and left as it is. Its
results are read when it has been sent; a client that waits for none while it sends, and a server
that sends while it reads, would otherwise wait for each other.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from schemas import canonical
from schemas.canonical import JsonObject
from schemas.envelope import LINK
from schemas.errors import BadInput, TierlinkError, VerifyError
from schemas.keys import Signer
from schemas.link import Assertion, read_draft_assertion
from schemas.record import Record, read_draft
from schemas.signed import parse

from . import problem
from .call import Steps, encode, lines
from .context import Context
from .draft import assertion_draft, record_draft
from .meant import body_of, read_meant

LINES = 2_000  # the registry writes as many in one transaction
BYTES = 8 * 1024 * 1024

RECORDS, LINKS = "identifiers", "links"  # the last part of the route

# A record or an assertion; a draft of either; an envelope; a line of NDJSON that holds one of them.
Item: TypeAlias = "Record | Assertion | Mapping[str, object] | str | bytes"


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one item: `line` counts all items from 1, as they were given."""

    line: int
    identifier: str | None
    status: int
    version: int | None = None
    error: TierlinkError | None = None

    @property
    def ok(self) -> bool:
        """Tell whether it was accepted, or was there already."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    body: bytes


@dataclass(slots=True)
class Chunk:
    """The lines of one request, and those that were refused before they were sent."""

    route: str
    sent: list[_Line] = field(default_factory=list)
    refused: list[Result] = field(default_factory=list)
    size: int = 0

    @property
    def full(self) -> bool:
        """Tell whether the next line belongs to the next request."""
        return len(self.sent) + len(self.refused) >= LINES or self.size >= BYTES


class Chunks:
    """Gathers items into chunks; a change between records and links ends one."""

    def __init__(self, context: Context, route: str | None = None) -> None:
        self._context = context
        self._route = route
        self._chunk = Chunk(route or RECORDS)
        self._count = 0

    def push(self, item: Item) -> Chunk | None:
        """Take an item; return the chunk before it where that is complete."""
        self._count += 1
        if item == b"":  # an empty line of a file counts and says nothing
            return None
        try:
            route, body = _line(item, self._context.signer, self._context.seconds)
            if self._route is not None and route != self._route:
                raise BadInput(f"the line holds one of the {route}, and {self._route} are expected")
        except TierlinkError as err:
            route, body = self._chunk.route, b""
            refused: TierlinkError | None = err
        else:
            refused = None
        done = self.flush() if self._chunk.full or route != self._chunk.route else None
        self._chunk.route = route
        if refused is not None:
            named = _name(item)
            self._chunk.refused.append(Result(self._count, named, refused.status, error=refused))
        else:
            self._chunk.sent.append(_Line(self._count, body))
            self._chunk.size += len(body) + 1
        return done

    def of(self, items: Iterable[Item]) -> Iterator[Chunk]:
        """Gather all items of an iterable."""
        for item in items:
            chunk = self.push(item)
            if chunk is not None:
                yield chunk
        last = self.flush()
        if last is not None:
            yield last

    async def of_async(self, items: AsyncIterable[Item]) -> AsyncIterator[Chunk]:
        """Gather all items of an asynchronous iterable."""
        async for item in items:
            chunk = self.push(item)
            if chunk is not None:
                yield chunk
        last = self.flush()
        if last is not None:
            yield last

    def flush(self) -> Chunk | None:
        """Return what is gathered, None where that is nothing, and begin anew."""
        chunk, self._chunk = self._chunk, Chunk(self._chunk.route)
        return chunk if chunk.sent or chunk.refused else None


def _line(item: Item, signer: Signer | None, now: int) -> tuple[str, bytes]:
    """Return the route and the line of one item, signed where there is a signer."""
    item = opened(item)
    if isinstance(item, str):
        return _route_of(item), encode({"envelope": item})
    if isinstance(item, Mapping) and "envelope" in item:  # and disclosures beside it
        return _route_of(item["envelope"]), encode(item)
    if isinstance(item, Mapping) and "hidden" in item:
        return RECORDS, encode(body_of(read_meant(item, now), signer))
    if isinstance(item, Mapping) and (signer is not None or "side" not in item):
        item = read(item, now)
    if isinstance(item, Assertion):
        body = {"envelope": item.sign(signer)} if signer else assertion_draft(item)
        return LINKS, encode(body)
    if isinstance(item, Record):
        body = {"envelope": item.sign(signer)} if signer else record_draft(item)
        return RECORDS, encode(body)
    return LINKS, encode(item)


def opened(item: Item) -> Record | Assertion | Mapping[str, object] | str:
    """Return what a line holds, and of `{"envelope": …}` the envelope; raise VerifyError."""
    found = canonical.decode_object(item) if isinstance(item, bytes) else item
    if isinstance(found, Mapping) and set(found) == {"envelope"}:
        return cast("str", found["envelope"])
    return found


def read(item: Record | Assertion | Mapping[str, object], now: int) -> Record | Assertion:
    """Read a draft of either kind as its first version; raise BadInput."""
    if not isinstance(item, Mapping):
        return item
    document = cast("JsonObject", dict(item))
    if "side" in item:
        return read_draft_assertion(document, now)
    return read_draft(document, now)


def _route_of(token: object) -> str:
    try:
        parse(token, LINK)
    except VerifyError as err:
        if err.code != "E_TYP":
            raise
        return RECORDS
    return LINKS


def _name(item: Item) -> str | None:
    found = item.get("identifier") if isinstance(item, Mapping) else None
    return found if isinstance(found, str) else None


def send(context: Context, chunk: Chunk) -> Steps[tuple[Result, ...]]:
    """Send one chunk; return a result for each of its lines, in their order."""
    results = list(chunk.refused)
    if chunk.sent:
        body = b"".join(line.body + b"\n" for line in chunk.sent)
        reply = yield lines(f"/v1/{chunk.route}/batch", body, key=context.key())
        replies = reply.content.splitlines()
        if len(replies) != len(chunk.sent):
            raise VerifyError(
                "E_FORMAT", f"{len(replies)} results answer {len(chunk.sent)} lines of a batch"
            )
        results += [
            _result(line.number, canonical.decode_object(text))
            for line, text in zip(chunk.sent, replies, strict=True)
        ]
    return tuple(sorted(results, key=lambda result: result.line))


def _result(number: int, document: JsonObject) -> Result:
    status, version = document.get("status"), document.get("version")
    about = document.get("identifier", document.get("link_key"))
    if type(status) is not int:
        raise VerifyError("E_FORMAT", "a result of a batch has no status", value=status)
    failed = "code" in document or status >= 300  # noqa: PLR2004  (HTTP: not a success)
    return Result(
        number,
        about if isinstance(about, str) else None,
        status,
        version if type(version) is int else None,
        problem.error(document, status) if failed else None,
    )

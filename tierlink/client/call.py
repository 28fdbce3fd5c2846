"""One exchange as data: a call, its reply, when to try again. Nothing here opens a connection.

An operation is a generator: it yields the calls it needs, receives their replies, and returns
its result. `Client` and `AsyncClient` differ in how they carry calls and in nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar
from urllib.parse import quote

from schemas import canonical
from schemas.canonical import JsonObject
from schemas.errors import TierlinkError, Unavailable, VerifyError
from schemas.identifier import Identifier, Prefix

JSON = "application/json"
NDJSON = "application/x-ndjson"

MAX_REPLY = 64 * 1024 * 1024

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """A request. `private` sends the API key along; public answers are asked for without it."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""
    private: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """A response; the names of its headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def document(self) -> JsonObject:
        """Return the body as a JSON object, read strictly."""
        return canonical.decode_object(self.content)


# The reply of a failed call is raised inside the generator, as an exception of schemas.errors.
Steps: TypeAlias = Generator[Call, Reply, T]


def read(target: str, accept: str = JSON, *, private: bool = False) -> Call:
    """Build a GET."""
    return Call("GET", target, {"accept": accept}, private=private)


def ask(target: str, body: object) -> Call:
    """Build a POST that only reads."""
    return Call("POST", target, {"accept": NDJSON, "content-type": JSON}, encode(body))


def write(
    method: str, target: str, body: object = None, *, key: str, if_match: str | None = None
) -> Call:
    """Build a write; `key` is what lets it be repeated without being done twice."""
    headers = {"accept": JSON, "idempotency-key": key}
    if if_match is not None:
        headers["if-match"] = if_match
    if body is not None:
        headers["content-type"] = JSON
    return Call(method, target, headers, b"" if body is None else encode(body), private=True)


def lines(target: str, body: bytes, *, key: str) -> Call:
    """Build a batch write of NDJSON lines."""
    headers = {"accept": NDJSON, "content-type": NDJSON, "idempotency-key": key}
    return Call("POST", target, headers, body, private=True)


def encode(body: object) -> bytes:
    """Return compact JSON on one line."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()


_DOTS = {".": "%2E", "..": "%2E%2E"}


def path(identifier: Identifier) -> str:
    """Return the path of an identifier as it survives RFC 3986 §5.2.4: no dot segments."""
    return "/".join(_DOTS.get(segment, segment) for segment in identifier.path.split("/"))


def query(**parameters: object) -> str:
    """Return a query string of the parameters that are given, with its question mark."""
    given = [
        f"{name}={quote(str(value), safe='')}"
        for name, value in parameters.items()
        if value is not None
    ]
    return f"?{'&'.join(given)}" if given else ""


def as_identifier(identifier: Identifier | str) -> Identifier:
    """Accept an identifier or its text; raise BadIdentifier."""
    return identifier if isinstance(identifier, Identifier) else Identifier.parse(identifier)


def as_prefix(prefix: Prefix | str) -> Prefix:
    """Accept a prefix or its text; raise BadIdentifier."""
    return prefix if isinstance(prefix, Prefix) else Prefix.parse(prefix)


def segment(prefix: Prefix) -> str:
    """Return a prefix as a segment of a path: a segment "." would be removed on the way."""
    return "root" if prefix.is_root else str(prefix)


def same_identifier(document: JsonObject, asked: Identifier) -> None:
    """Refuse a reply about something else than what was asked."""
    found = document.get("identifier")
    if found != asked.text:
        raise VerifyError(
            "E_ID", f"the reply is about another identifier than {asked}", value=found
        )


def same_prefix(document: JsonObject, asked: Prefix) -> None:
    """Refuse a reply about another prefix than was asked."""
    found = document.get("prefix")
    if found != str(asked):
        raise VerifyError("E_ID", f"the reply is about another prefix than {asked}", value=found)


@dataclass(frozen=True, slots=True)
class Retry:
    """How often and how patiently a call is repeated; every call may be."""

    attempts: int = 4
    first_wait: float = 0.2
    longest_wait: float = 20.0

    def wait(self, attempt: int, failure: TierlinkError) -> float | None:
        """Return the seconds until the next attempt, None where there is none to make.

        Reads may be repeated by their nature, writes by their Idempotency-Key. `Retry-After` is
        honoured; a server that names a longer wait than ours is not waited for.
        """
        if not isinstance(failure, Unavailable) or attempt >= self.attempts:
            return None
        backoff = self.first_wait * float(2 ** (attempt - 1))
        asked = max(float(failure.retry_after), backoff)
        return asked if asked <= self.longest_wait else None

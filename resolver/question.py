"""What a request for a trace asks: where from, which way, which links, how far. Pure.

    GET /v1/trace/{prefix}/{suffix}
        direction    upstream (default): what it is made of; downstream: where it went
        depth        links from the root, 1 to 100                                    8
        limit        nodes, 1 to 100,000                                          1,000
        types        link types to follow, separated by commas                      all
        lifecycle    lifecycles to follow, separated by commas                      all
        deadline_ms  milliseconds after which the walk ends, 1 to 60,000          2,000
        proof        none leaves out the signed statements behind the links
        purpose      one word: what it is asked for, where a grant opens links for that alone

Each at most once, nothing else. Accept: application/json, or application/x-ndjson for a stream
with a line per level.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from schemas.errors import BadQuery, NotAcceptable
from schemas.identifier import Identifier
from schemas.link import DOWNSTREAM, LIFECYCLES, TYPES, UPSTREAM
from schemas.viewer import PURPOSE

from .asgi import JSON, NDJSON
from .native import _quality, _ranges, one_of, read_query
from .walk import EDGES_PER_NODE, MAX_DEPTH, MAX_EDGES, MAX_NODES, MAX_SECONDS, Budget, Only

ROUTE: Final = b"/v1/trace/"
PARAMETERS: Final = (
    "direction",
    "depth",
    "limit",
    "types",
    "lifecycle",
    "deadline_ms",
    "proof",
    "purpose",
)

_DEFAULT: Final = Budget()
_MILLISECONDS = 1_000


@dataclass(frozen=True, slots=True)
class Question:
    """One trace as it is asked for."""

    root: Identifier
    direction: str
    budget: Budget
    only: Only
    streamed: bool
    proof: bool = True
    purpose: str = ""

    @classmethod
    def read(cls, path: bytes, query: bytes, accept: bytes | None) -> Self:
        """Read the raw path, the raw query and Accept; raise BadInput or NotAcceptable."""
        given = read_query(query, PARAMETERS)
        nodes = _number(given, "limit", _DEFAULT.nodes, MAX_NODES)
        milliseconds = _number(
            given,
            "deadline_ms",
            int(_DEFAULT.seconds * _MILLISECONDS),
            int(MAX_SECONDS * _MILLISECONDS),
        )
        direction = one_of("direction", given.get("direction"), (UPSTREAM, DOWNSTREAM))
        return cls(
            Identifier.from_path(path.removeprefix(ROUTE)),
            direction or UPSTREAM,
            Budget(
                depth=_number(given, "depth", _DEFAULT.depth, MAX_DEPTH),
                nodes=nodes,
                edges=min(EDGES_PER_NODE * max(nodes, _DEFAULT.nodes), MAX_EDGES),
                seconds=milliseconds / _MILLISECONDS,
            ),
            Only(_words(given, "types", TYPES), _words(given, "lifecycle", LIFECYCLES)),
            wants_stream(accept),
            proof=one_of("proof", given.get("proof"), ("none",)) is None,
            purpose=_purpose(given.get("purpose")),
        )


def _purpose(text: str | None) -> str:
    if text is not None and not PURPOSE.fullmatch(text):
        raise BadQuery("purpose is one word of lower-case letters and digits", value=text)
    return text or ""


def _number(given: dict[str, str], name: str, default: int, high: int) -> int:
    text = given.get(name)
    if text is None:
        return default
    if text.isascii() and text.isdigit() and len(text) <= len(str(high)) and 1 <= int(text) <= high:
        return int(text)
    raise BadQuery(f"{name} is a whole number from 1 to {high}", value=text)


def _words(given: dict[str, str], name: str, known: frozenset[str]) -> frozenset[str]:
    text = given.get(name)
    if text is None:
        return frozenset()
    words = frozenset(text.split(","))
    unknown = sorted(words - known)
    if unknown:
        raise BadQuery(
            f"{name} has a word that is none of {', '.join(sorted(known))}",
            value=unknown[0],
            fix="separate several by commas",
        )
    return words


def wants_stream(accept: bytes | None) -> bool:
    """Choose between JSON and NDJSON by Accept (RFC 9110 §12.5.1); raise NotAcceptable."""
    if accept is None or not accept.strip():
        return False
    ranges = dict(_ranges(accept))
    whole, streamed = (_quality(ranges, name.decode()) for name in (JSON, NDJSON))
    if whole == streamed == 0:
        raise NotAcceptable(
            "a trace is JSON or NDJSON, and Accept names neither",
            value=accept.decode("latin-1"),
            fix=f"accept {JSON.decode()} or {NDJSON.decode()}",
        )
    return streamed > whole

"""What a request for a trace asks: where from, which way, which links, how far. Pure.

    GET /v1/trace/{prefix}/{suffix}
        direction    upstream (default): what it is made of; downstream: where it went
        depth        links from the root, 1 to 100                                    8
        limit        nodes, 1 to 100,000                                          1,000
        types        link types to follow, separated by commas                      all
        lifecycle    lifecycles to follow, separated by commas                      all
        deadline_ms  milliseconds after which the walk ends, 1 to 60,000          2,000
        proof        none leaves out the signed statements behind the links
        across       no does not go on at other nodes
        rollup       1 adds up the quantities along the walk (`resolver.quantities`)
        purpose      one word: what it is asked for, where a grant opens links for that alone
        at           RFC 3339 or Unix seconds: only links that held then (`schemas.when`)
        as_of        the same: of what the ends stated only what was recorded by then

Each at most once, nothing else. Accept: application/json, application/x-ndjson for a stream
with a line per level, or application/ld+json for an EPCISQueryDocument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

from schemas.errors import BadQuery, NotAcceptable
from schemas.identifier import Identifier
from schemas.link import DOWNSTREAM, LIFECYCLES, TYPES, UPSTREAM
from schemas.viewer import PURPOSE
from schemas.when import NOW, When, read_moment

from .asgi import JSON, NDJSON
from .epcis_document import LD_JSON, base_of
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
    "across",
    "purpose",
    "rollup",
    "at",
    "as_of",
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
    across: bool = True
    rollup: bool = False
    base: str = ""  # of the EPCs of an EPCIS document, where one is asked for

    @property
    def plain(self) -> bool:
        """Tell whether what is kept beside the statements of links answers it."""
        told = self.proof or self.rollup or self.base
        return not told and self.only.when == NOW

    @classmethod
    def read(cls, path: bytes, query: bytes, accept: bytes | None, host: bytes = b"") -> Self:
        """Read raw path, raw query, Accept and Host; raise BadInput or NotAcceptable."""
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
            Only(
                _words(given, "types", TYPES),
                _words(given, "lifecycle", LIFECYCLES),
                _when(given),
            ),
            wants_stream(accept),
            proof=one_of("proof", given.get("proof"), ("none",)) is None,
            purpose=_purpose(given.get("purpose")),
            across=one_of("across", given.get("across"), ("yes", "no")) != "no",
            rollup=one_of("rollup", given.get("rollup"), ("1",)) is not None,
            base=base_of(host) if wants_events(accept) else "",
        )


def _when(given: dict[str, str]) -> When:
    at, as_of = (
        None if name not in given else read_moment(name, given[name]) for name in ("at", "as_of")
    )
    return When(None if at is None else int(at), as_of)


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
    whole, streamed, events = _wanted(accept)
    if whole == streamed == events == 0:
        raise NotAcceptable(
            "a trace is JSON, NDJSON or JSON-LD, and Accept names none of them",
            value=(accept or b"").decode("latin-1"),
            fix=f"accept {JSON.decode()}, {NDJSON.decode()} or {LD_JSON.decode()}",
        )
    return streamed > max(whole, events)


def wants_events(accept: bytes | None) -> bool:
    """Tell whether Accept asks for an EPCIS document rather than anything else."""
    whole, streamed, events = _wanted(accept)
    return events > whole and events >= streamed


def _wanted(accept: bytes | None) -> tuple[float, ...]:
    if accept is None or not accept.strip():
        return 1.0, 0.0, 0.0
    ranges = dict(_ranges(accept))
    return tuple(_quality(ranges, name.decode()) for name in (JSON, NDJSON, LD_JSON))

"""Answers as programs see them. Built from the parts that verified, never from the plain text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from schemas.answer import Verified
from schemas.canonical import JsonObject
from schemas.errors import TierlinkError
from schemas.link import Quantity

from .verdict import Verdict

Listed: TypeAlias = "list[JsonObject]"


@dataclass(frozen=True, slots=True)
class Target:
    """A typed pointer to platform data; `source` is the record that it comes from."""

    rel: str
    href: str
    media_type: str | None
    title: str | None
    hreflang: str | None
    source: str


@dataclass(frozen=True, slots=True)
class Neighbour:
    """The far end of a link; `state` is proposed, mutual, conflicting or withdrawn."""

    identifier: str
    link_type: str
    state: str
    quantity: Quantity | None
    lifecycle: str
    asserted_by: tuple[str, ...]
    occurrence: str = ""


@dataclass(frozen=True, slots=True)
class Links:
    """The links of an answer; `truncated` where there are more, to be had from `Client.links`."""

    upstream: tuple[Neighbour, ...] = ()
    downstream: tuple[Neighbour, ...] = ()
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """What an identifier resolves to; times are RFC 3339, `raw` is the JSON to keep as evidence."""

    identifier: str
    version: int
    kind: str
    status: str
    parent: str | None
    targets: tuple[Target, ...]
    attributes: Mapping[str, object]
    links: Links
    issued_at: str
    valid_until: str | None
    covered_by: str | None
    envelope: str
    verified: Verdict
    raw: bytes = field(repr=False)
    withheld: int = 0  # attributes and targets that are for others to see

    def target(self, rel: str) -> Target | None:
        """Return the first target of a relation."""
        return next((item for item in self.targets if item.rel == rel), None)


@dataclass(frozen=True, slots=True)
class Resolution:
    """One line of a batch: the answer, or why there is none."""

    identifier: str
    answer: Answer | None = None
    error: TierlinkError | None = None


def answer(verified: Verified, envelope: str, verdict: Verdict, raw: bytes) -> Answer:
    """Build an answer from what verified."""
    view = verified.view
    text = cast("Mapping[str, str]", view)
    maybe = cast("Mapping[str, str | None]", view)
    links = cast("JsonObject", view["links"])
    return Answer(
        identifier=text["identifier"],
        version=verified.parts.records[0].version,
        kind=text["kind"],
        status=text["status"],
        parent=maybe["parent"],
        targets=tuple(_target(item) for item in cast("Listed", view["targets"])),
        attributes=cast("JsonObject", view["attributes"]),
        links=Links(
            tuple(neighbour(item) for item in cast("Listed", links["upstream"])),
            tuple(neighbour(item) for item in cast("Listed", links["downstream"])),
            "truncated" in links,
        ),
        issued_at=text["issued_at"],
        valid_until=maybe["valid_until"],
        covered_by=maybe.get("covered_by"),
        envelope=envelope,
        verified=verdict,
        raw=raw,
        withheld=cast("int", view.get("withheld", 0)),
    )


def _target(item: JsonObject) -> Target:
    text = cast("Mapping[str, str]", item)
    maybe = cast("Mapping[str, str | None]", item)
    return Target(
        text["rel"], text["href"], maybe["type"], maybe["title"], maybe["hreflang"], text["source"]
    )


def neighbour(item: JsonObject) -> Neighbour:
    """Read one entry of the links that `schemas.answer.compose` made."""
    text = cast("Mapping[str, str]", item)
    return Neighbour(
        text["identifier"],
        text["type"],
        text["state"],
        quantity(item["quantity"]),
        text["lifecycle"],
        tuple(cast("list[str]", item["asserted_by"])),
        text.get("occurrence", ""),
    )


def quantity(value: object) -> Quantity | None:
    """Read a quantity as it is shown."""
    if not isinstance(value, dict):
        return None
    return Quantity(str(value.get("value")), str(value.get("unit")))

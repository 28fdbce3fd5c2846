"""EPCIS documents: what is captured, and what answers a query.

    D1  bounded JSON, no member twice, numbers as they were written
    D2  a document of EPCIS 2.0 with its context, and no member that EPCIS does not define
    D3  at most MAX_EVENTS events, each read on its own: one that is malformed is kept as the
        error that refuses it, so that a capture may go on without it

Raise BadEvent or TooLarge for D1, D2 and the number of events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from schemas.errors import BadEvent, TooLarge

from .event import Event, read_event
from .fields import Fields
from .jsonld import Context, Json, decode, read_context

MAX_EVENTS = 2000

DOCUMENT, QUERY_DOCUMENT = "EPCISDocument", "EPCISQueryDocument"
VERSIONS = ("2.0", "2.0.0", "2.0.1")


@dataclass(frozen=True, slots=True)
class Document:
    """A document: its context, and of each event what it says or what refuses it."""

    kind: str
    context: Context
    events: tuple[Event | BadEvent, ...]

    def sound(self) -> Iterator[Event]:
        """Give the events one by one; raise the first that is malformed."""
        for event in self.events:
            if isinstance(event, BadEvent):
                raise event
            yield event


def read_document(raw: bytes) -> Document:
    """Read an EPCISDocument or an EPCISQueryDocument."""
    fields = Fields(decode(raw))
    context = read_context(fields.take("@context"))
    kind = fields.choice("type", (DOCUMENT, QUERY_DOCUMENT))
    version = fields.text("schemaVersion")
    if version not in VERSIONS and (version is not None or kind == DOCUMENT):
        raise fields.fail("schemaVersion", "is not 2.0", version, "send EPCIS 2.0")
    if kind == DOCUMENT:
        fields.required("creationDate")
    fields.time("creationDate")
    fields.uri("id")
    for name in ("sender", "receiver", "instanceIdentifier"):
        fields.text(name)
    fields.maybe_object("epcisHeader")
    body = fields.inner("epcisBody", fields.required("epcisBody"))
    fields.done(extensible=True)
    listed = _event_list(body, kind)
    if len(listed) > MAX_EVENTS:
        raise TooLarge(
            f"the document has {len(listed)} events, the limit is {MAX_EVENTS}",
            value=len(listed),
            fix="send it in parts",
        )
    return Document(
        kind, context, tuple(_event(item, at, context) for at, item in enumerate(listed))
    )


def _event_list(body: Fields, kind: str) -> list[Json]:
    if kind == QUERY_DOCUMENT:
        results = body.inner("queryResults", body.required("queryResults"))
        results.required("queryName")
        results.text("queryName")
        results.text("subscriptionID")
        inner = results.inner("resultsBody", results.required("resultsBody"))
        results.done(extensible=True)
        body.done(extensible=True)
        body = inner
    listed = body.required("eventList")
    body.done(extensible=True)
    if not isinstance(listed, list):
        raise body.fail("eventList", "is not an array", fix="list the events")
    return listed


def _event(item: Json, index: int, context: Context) -> Event | BadEvent:
    try:
        return read_event(item, index, context)
    except BadEvent as err:
        return err

"""Operations on EPCIS events: capture, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass

from schemas.canonical import Json, JsonObject
from schemas.errors import TierlinkError, VerifyError

from .call import JSON, Call, Reply, Steps, query
from .problem import error

PATH = "/v1/epcis/capture"
LD_JSON = "application/ld+json"


@dataclass(frozen=True, slots=True)
class Event:
    """What became of one event: captured, known, corrected, refused or dropped."""

    index: int
    outcome: str
    links: int
    hash: str | None = None
    error: TierlinkError | None = None


@dataclass(frozen=True, slots=True)
class Captured:
    """A capture as the registry tells of it; without `success` nothing of it was written."""

    capture_id: str
    success: bool
    events: tuple[Event, ...]
    document: JsonObject

    @property
    def refused(self) -> tuple[Event, ...]:
        """The events that were refused."""
        return tuple(event for event in self.events if event.error is not None)


def capture(document: bytes, *, proceed: bool, lenient: bool) -> Steps[Captured]:
    """Capture an EPCIS 2.0 document; doing it again changes nothing, so that it may be repeated."""
    headers = {"accept": JSON, "content-type": LD_JSON}
    headers["gs1-capture-error-behaviour"] = "proceed" if proceed else "rollback"
    target = PATH + query(check_digits="lenient" if lenient else None)
    reply = yield Call("POST", target, headers, document, private=True)
    return _captured(reply)


def _captured(reply: Reply) -> Captured:
    found = reply.document()
    capture_id, outcomes = found.get("captureID"), found.get("outcomes")
    if not isinstance(capture_id, str) or not isinstance(outcomes, list):
        raise VerifyError("E_FORMAT", "the reply does not tell of a capture")
    events = tuple(_event(item) for item in outcomes)
    return Captured(capture_id, found.get("success") is True, events, found)


def _event(item: Json) -> Event:
    if not isinstance(item, dict):
        raise VerifyError("E_FORMAT", "the outcome of an event is not an object")
    index, outcome, links = (item.get(name) for name in ("event", "outcome", "links"))
    if type(index) is not int or type(links) is not int or not isinstance(outcome, str):
        raise VerifyError("E_FORMAT", "the outcome of an event is not told", value=index)
    hash_, problem = item.get("hash"), item.get("problem")
    status = problem.get("status") if isinstance(problem, dict) else None
    failed = (
        error(problem, status if type(status) is int else 400)
        if isinstance(problem, dict)
        else None
    )
    return Event(index, outcome, links, hash_ if isinstance(hash_, str) else None, failed)

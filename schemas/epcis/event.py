"""The five event types of EPCIS 2.0, read strictly from JSON-LD.

What the JSON Schema of EPCIS 2.0.0 asks for is asked for here, and what it leaves to prose: times
are times, a bare word is one of CBV, a member of `ilmd` has a namespace, what is added or taken
out has a parent. Raise BadEvent, which names event, member, value and cure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from typing import Final

from schemas.errors import BadEvent

from . import vocabulary
from .fields import Fields, namespaced
from .jsonld import Context, Json, JsonObject

ADD, OBSERVE, DELETE = "ADD", "OBSERVE", "DELETE"
ACTIONS: Final = (OBSERVE, ADD, DELETE)


@dataclass(frozen=True, slots=True)
class Quantity:
    """An amount of a class; without one, some of it. An empty unit counts pieces."""

    epc_class: str
    amount: Decimal | None = None
    unit: str = ""


@dataclass(frozen=True, slots=True)
class ErrorDeclaration:
    """That an event which was captured is wrong."""

    time: int
    reason: str | None = None
    corrective: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Head:
    """What all events have; `body` is the event as it was sent, `time` milliseconds since 1970."""

    index: int
    time: int
    body: Mapping[str, Json]
    context: Context
    event_id: str | None = None
    error: ErrorDeclaration | None = None
    biz_step: str | None = None
    disposition: str | None = None
    read_point: str | None = None
    biz_location: str | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """Any event."""

    head: Head

    @property
    def kind(self) -> str:
        """The type as it is written."""
        return type(self).__name__

    @property
    def index(self) -> int:
        """Where it stands in its document, from 0."""
        return self.head.index

    @property
    def time(self) -> int:
        """When it happened, milliseconds since 1970."""
        return self.head.time


@dataclass(frozen=True, slots=True)
class ObjectEvent(Event):
    """Something happened to things."""

    action: str = OBSERVE
    epcs: tuple[str, ...] = ()
    quantities: tuple[Quantity, ...] = ()
    ilmd: Mapping[str, Json] | None = None


@dataclass(frozen=True, slots=True)
class Held(Event):
    """Children were put into a parent, seen there, or taken out."""

    action: str = OBSERVE
    parent: str | None = None
    children: tuple[str, ...] = ()
    quantities: tuple[Quantity, ...] = ()

    @property
    def names_no_child(self) -> bool:
        """Tell whether all children of the parent are meant."""
        return not self.children and not self.quantities


@dataclass(frozen=True, slots=True)
class AggregationEvent(Held):
    """Children and their parent share a place for a while."""


@dataclass(frozen=True, slots=True)
class AssociationEvent(Held):
    """Children are parts of their parent, or fixed to it."""


@dataclass(frozen=True, slots=True)
class TransactionEvent(Event):
    """Things are part of a business transaction."""

    action: str = OBSERVE
    parent: str | None = None
    epcs: tuple[str, ...] = ()
    quantities: tuple[Quantity, ...] = ()


@dataclass(frozen=True, slots=True)
class TransformationEvent(Event):
    """Inputs became outputs; events of one transformation share its id."""

    inputs: tuple[str, ...] = ()
    input_quantities: tuple[Quantity, ...] = ()
    outputs: tuple[str, ...] = ()
    output_quantities: tuple[Quantity, ...] = ()
    transformation_id: str | None = None
    ilmd: Mapping[str, Json] | None = None


def read_event(value: Json, index: int, context: Context) -> Event:
    """Read one event of a document; raise BadEvent."""
    if not isinstance(value, dict):
        raise Fields({}, index).fail("the event", "is not an object", value)
    fields = Fields(value, index)
    kind = fields.required("type")
    read = _READERS.get(kind) if isinstance(kind, str) else None
    if read is None:
        raise fields.fail("type", f"is not one of {', '.join(_READERS)}", kind)
    own = fields.take("@context")
    if own is not None:
        context = _within(fields, context, own)
    event = read(fields, _head(fields, index, value, context))
    fields.done(extensible=True)
    return event


def _within(fields: Fields, context: Context, own: Json) -> Context:
    try:
        return context.within(own, "@context")
    except BadEvent as err:
        raise fields.fail("@context", f"is no context: {err.detail}", err.value) from None


def _head(fields: Fields, index: int, body: JsonObject, context: Context) -> Head:
    """Read the members that every event has."""
    fields.required("eventTime")
    time = fields.time("eventTime")
    assert time is not None
    fields.offset("eventTimeZoneOffset")
    fields.time("recordTime")
    _certificates(fields)
    return Head(index, time, body, context, fields.uri("eventID"), _error(fields))


def _certificates(fields: Fields) -> None:
    if isinstance(fields.source.get("certificationInfo"), list):
        fields.uris("certificationInfo")
    else:
        fields.uri("certificationInfo")


def _error(fields: Fields) -> ErrorDeclaration | None:
    value = fields.take("errorDeclaration")
    if value is None:
        return None
    inner = fields.inner("errorDeclaration", value)
    inner.required("declarationTime")
    time = inner.time("declarationTime")
    assert time is not None
    reason = inner.word("reason", vocabulary.REASON)
    found = ErrorDeclaration(time, reason, inner.uris("correctiveEventIDs") or ())
    inner.done(extensible=True)
    return found


def _object(fields: Fields, head: Head) -> ObjectEvent:
    action = fields.choice("action", ACTIONS)
    epcs, quantities = fields.epcs("epcList"), _quantities(fields, "quantityList")
    ilmd = namespaced(fields, "ilmd")
    if ilmd is not None and action != ADD:
        raise fields.fail("ilmd", "belongs to events with action ADD", action, "leave it out")
    head = _places(fields, head, persistent=True)
    _parties(fields)
    sensed = _sensors(fields)
    if epcs is None and not quantities and not (sensed and head.read_point):
        raise fields.fail(
            "epcList",
            "is missing, and so are quantityList and a sensor with its readPoint",
            fix="name what the event is about",
        )
    return ObjectEvent(
        head,
        action=action,
        epcs=epcs or (),
        quantities=quantities or (),
        ilmd=ilmd,
    )


def _held(make: type[AggregationEvent | AssociationEvent], fields: Fields, head: Head) -> Event:
    action = fields.choice("action", ACTIONS)
    parent, children = fields.epc("parentID"), fields.epcs("childEPCs")
    quantities = _quantities(fields, "childQuantityList")
    if parent is None and (action != OBSERVE or make is AssociationEvent):
        raise fields.fail("parentID", "is missing", fix="name the parent")
    if not children and not quantities and action != DELETE:
        raise fields.fail("childEPCs", "is missing, and so is childQuantityList", fix="name one")
    head = _places(fields, head)
    _parties(fields)
    _sensors(fields)
    return make(
        head,
        action=action,
        parent=parent,
        children=children or (),
        quantities=quantities or (),
    )


def _transaction(fields: Fields, head: Head) -> TransactionEvent:
    action = fields.choice("action", ACTIONS)
    if not fields.source.get("bizTransactionList"):
        raise fields.fail("bizTransactionList", "is missing or empty", fix="name the transaction")
    parent, epcs = fields.epc("parentID"), fields.epcs("epcList")
    quantities = _quantities(fields, "quantityList")
    if epcs is None and not quantities and action != DELETE:
        raise fields.fail("epcList", "is missing, and so is quantityList", fix="name one")
    head = _places(fields, head)
    _parties(fields)
    _sensors(fields)
    return TransactionEvent(
        head,
        action=action,
        parent=parent,
        epcs=epcs or (),
        quantities=quantities or (),
    )


def _transformation(fields: Fields, head: Head) -> TransformationEvent:
    inputs, outputs = fields.epcs("inputEPCList"), fields.epcs("outputEPCList")
    taken = _quantities(fields, "inputQuantityList")
    made = _quantities(fields, "outputQuantityList")
    named = fields.epc("transformationID")
    found = [bool(inputs or taken), bool(outputs or made)]
    if not (any(found) if named else all(found)):
        missing = "outputEPCList" if found[0] else "inputEPCList"
        raise fields.fail(
            missing,
            "is missing or empty, and there is no list of quantities in its place",
            fix="name inputs and outputs, or one of them and a transformationID",
        )
    head = _places(fields, head, persistent=True)
    _parties(fields)
    _sensors(fields)
    return TransformationEvent(
        head,
        inputs=inputs or (),
        input_quantities=taken or (),
        outputs=outputs or (),
        output_quantities=made or (),
        transformation_id=named,
        ilmd=namespaced(fields, "ilmd"),
    )


_READERS: Final[Mapping[str, Callable[[Fields, Head], Event]]] = {
    "ObjectEvent": _object,
    "AggregationEvent": partial(_held, AggregationEvent),
    "AssociationEvent": partial(_held, AssociationEvent),
    "TransactionEvent": _transaction,
    "TransformationEvent": _transformation,
}


def _places(fields: Fields, head: Head, *, persistent: bool = False) -> Head:
    """Add what an event says of why and where."""
    value = fields.take("persistentDisposition") if persistent else None
    if value is not None:
        inner = fields.inner("persistentDisposition", value)
        found = [inner.words(name, vocabulary.DISPOSITION) for name in ("set", "unset")]
        inner.done(extensible=False)
        if not any(found):
            raise fields.fail("persistentDisposition", "neither sets nor unsets anything")
    return replace(
        head,
        biz_step=fields.word("bizStep", vocabulary.BIZ_STEP),
        disposition=fields.word("disposition", vocabulary.DISPOSITION),
        read_point=_located(fields, "readPoint"),
        biz_location=_located(fields, "bizLocation"),
    )


def _located(fields: Fields, name: str) -> str | None:
    value = fields.take(name)
    if value is None:
        return None
    inner = fields.inner(name, value)
    inner.required("id")
    found = inner.uri("id")
    inner.done(extensible=True)
    return found


def _quantities(fields: Fields, name: str) -> tuple[Quantity, ...] | None:
    def read(at: str, item: Json) -> Quantity:
        inner = fields.inner(at, item)
        inner.required("epcClass")
        epc_class = inner.uri("epcClass")
        assert epc_class is not None
        found = Quantity(epc_class, inner.number("quantity"), inner.unit("uom"))
        inner.done(extensible=False)
        return found

    return fields.array(name, read)


def _parties(fields: Fields) -> None:
    """Check the lists of business transactions, sources and destinations."""
    lists = (
        ("bizTransactionList", "bizTransaction", vocabulary.TRANSACTION, False),
        ("sourceList", "source", vocabulary.PARTY, True),
        ("destinationList", "destination", vocabulary.PARTY, True),
    )
    for name, member, words, typed in lists:

        def read(
            at: str,
            item: Json,
            member: str = member,
            words: vocabulary.Vocabulary = words,
            typed: bool = typed,  # noqa: FBT001  (bound to the list that is read)
        ) -> None:
            inner = fields.inner(at, item)
            inner.required(member)
            inner.uri(member)
            if typed:
                inner.required("type")
            inner.word("type", words)
            inner.done(extensible=False)

        fields.array(name, read)


_SENSOR_URIS: Final = (
    "deviceID", "deviceMetadata", "rawData", "dataProcessingMethod", "bizRules",
)  # fmt: skip
_REPORT_URIS: Final = (
    *_SENSOR_URIS, "microorganism", "chemicalSubstance", "coordinateReferenceSystem", "uriValue",
)  # fmt: skip
_REPORT_NUMBERS: Final = (
    "value", "minValue", "maxValue", "meanValue", "sDev", "percRank", "percValue",
)  # fmt: skip


def _sensors(fields: Fields) -> bool:
    """Check what sensors say; tell whether any says something."""

    def read(at: str, item: Json) -> None:
        inner = fields.inner(at, item)
        metadata = inner.take("sensorMetadata")
        if metadata is not None:
            _metadata(inner.inner("sensorMetadata", metadata))
        inner.required("sensorReport")
        reports = inner.array("sensorReport", lambda at, item: _report(inner.inner(at, item)))
        if not reports:
            raise inner.fail("sensorReport", "is empty", fix="add a report")
        inner.done(extensible=True)

    return bool(fields.array("sensorElementList", read))


def _metadata(fields: Fields) -> None:
    for name in ("time", "startTime", "endTime"):
        fields.time(name)
    for name in _SENSOR_URIS:
        fields.uri(name)
    fields.done(extensible=True)


def _report(fields: Fields) -> bool:
    fields.required("type")
    fields.word("type", vocabulary.MEASUREMENT)
    fields.word("exception", vocabulary.ALERT)
    fields.word("component", vocabulary.COMPONENT)
    fields.time("time")
    for name in _REPORT_URIS:
        fields.uri(name)
    for name in _REPORT_NUMBERS:
        fields.number(name)
    fields.text("uom")
    fields.text("stringValue")
    fields.boolean("booleanValue")
    fields.hexadecimal("hexBinaryValue")
    fields.done(extensible=True)
    return True

"""The event hash of CBV 2.0 (§8.9): what an event says, whoever writes it down.

    1  of the members in their fixed order those that are there: key=value, no separators; the
       name of a parent or a list once and alone
    2  values: times in UTC with three decimals; numbers without needless zeros; words of CBV and
       short names as URIs; GS1 keys as canonical Digital Links at their finest level
    3  items of a list in the order of their own strings, by code point; the type of a business
       transaction, source or destination before the thing itself
    4  extensions behind the members they stand among, {namespace}name=value, sorted; those of
       the event last, sorted together with ilmd, bizTransactionList, sourceList and
       destinationList
    5  SHA-256 of the whole, UTF-8, as ni:///sha-256;<hex>?ver=CBV2.0 (RFC 6920)

`eventID`, `recordTime`, `errorDeclaration` and comments do not enter: who corrects an event names
the same hash. Where the table of the standard and the published hashes of its reference
implementation differ, the hashes decide: `certificationInfo` stands behind the offset, and the
three lists of step 4 behind sensors instead of before them. The hash is no signature: anybody can
compute it again.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal
from hashlib import sha256
from typing import Final, TypeAlias

from . import gs1, vocabulary
from .event import Event
from .fields import milliseconds
from .jsonld import Context, Json
from .vocabulary import Vocabulary

_Spell: TypeAlias = "Callable[[Context, Json], str]"

_NUMBER = re.compile(r"[+-]?[0-9]{1,64}(?:\.[0-9]{0,64})?(?:[eE][+-]?[0-9]{1,2})?")
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_COMMENTS = frozenset({"rdfs:comment"})
_NOT_HASHED = frozenset(
    {"@context", "type", "eventID", "recordTime", "errorDeclaration", *_COMMENTS}
)


def event_hash(event: Event) -> str:
    """Return the hash of an event as a URI."""
    return f"ni:///sha-256;{digest(event)}?ver=CBV2.0"


def digest(event: Event) -> str:
    """Return the 64 hexadecimal digits of the hash."""
    return sha256(pre_hash(event).encode()).hexdigest()


def pre_hash(event: Event) -> str:
    """Return the string that is hashed."""
    body, context = event.head.body, event.head.context
    known = [write(context, name, body[name]) for name, write in _EVENT.items() if name in body]
    rest = [write(context, name, body[name]) for name, write in _PARTIES.items() if name in body]
    others = body.keys() - _EVENT.keys() - _PARTIES.keys() - _NOT_HASHED
    rest += _extension_strings(context, {name: body[name] for name in others})
    return f"eventType={event.kind}" + "".join(known) + "".join(sorted(rest))


# 2


def _value(context: Context, value: Json) -> str:
    """Write a value of any kind in the one way that a hash takes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | Decimal):
        return _number(Decimal(value))
    text = context.word(str(value).strip())
    for urn, uri in vocabulary.URNS.items():
        if text.startswith(urn):
            return uri + text.removeprefix(urn)
    if _NUMBER.fullmatch(text):
        return _number(Decimal(text))
    key = gs1.find(text) if ":" in text else None
    return text if key is None else key.hashed


def _number(number: Decimal) -> str:
    text = format(number, "f")
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return "0" if text in {"-0", ""} else text


def _time(_context: Context, value: Json) -> str:
    since = milliseconds(str(value))
    assert since is not None, "the reader saw that it is a time"
    moment = _EPOCH + dt.timedelta(milliseconds=since)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{since % 1000:03}Z".rjust(24, "0")


def _word(words: Vocabulary) -> _Spell:
    return lambda context, value: _value(context, words.uri(str(value).strip()))


# 3


def _one(spell: _Spell) -> Callable[[Context, str, Json], str]:
    """Write `name=value`; of several values each so, sorted."""

    def write(context: Context, name: str, value: Json) -> str:
        values = value if isinstance(value, list) else [value]
        return "".join(sorted(f"{name}={spell(context, item)}" for item in values))

    return write


def _items(name: str) -> Callable[[Context, str, Json], str]:
    """Write a list whose items are values, each behind the same name."""

    def write(context: Context, outer: str, value: Json) -> str:
        inner = _one(_value)(context, name, value)
        return outer + inner if inner else ""

    return write


_Members: TypeAlias = "Mapping[str, Callable[[Context, str, Json], str]]"


def _object(members: _Members, name: str | None = None) -> Callable[[Context, str, Json], str]:
    """Write an object, or each of a list of them behind `name`: its members, then extensions."""

    def write(context: Context, outer: str, value: Json) -> str:
        if name is None:
            return outer + _joined(context, members, value)
        items = value if isinstance(value, list) else [value]
        written = sorted(name + _joined(context, members, item) for item in items)
        return outer + "".join(written) if written else ""

    return write


def _joined(context: Context, members: _Members, value: Json) -> str:
    if not isinstance(value, dict):
        return ""
    known = "".join(
        write(context, name, value[name]) for name, write in members.items() if name in value
    )
    extensions = {name: item for name, item in value.items() if ":" in name}
    return known + _extensions(context, extensions)


# 4


def _extensions(context: Context, members: Mapping[str, Json]) -> str:
    return "".join(sorted(_extension_strings(context, members)))


def _extension_strings(context: Context, members: Mapping[str, Json]) -> Iterable[str]:
    for name, value in members.items():
        if name in _COMMENTS:
            continue
        full = context.name(name)
        for item in value if isinstance(value, list) else [value]:
            yield full + _extension(context, item)


def _extension(context: Context, value: Json) -> str:
    if isinstance(value, dict):
        return _extensions(context, value)
    if isinstance(value, list):
        return "".join(sorted(_extension(context, item) for item in value))
    text = "" if value is None else _value(context, value)
    return f"={text}" if text else ""


# 1

_PLAIN: Final = _one(_value)
_TIME: Final = _one(_time)
_QUANTITIES: Final = _object(
    {"epcClass": _PLAIN, "quantity": _PLAIN, "uom": _PLAIN}, "quantityElement"
)
_PLACE: Final = _object({"id": _PLAIN})
_SENSOR_METADATA: Final = _object(
    {
        "time": _TIME,
        "startTime": _TIME,
        "endTime": _TIME,
        "deviceID": _PLAIN,
        "deviceMetadata": _PLAIN,
        "rawData": _PLAIN,
        "dataProcessingMethod": _PLAIN,
        "bizRules": _PLAIN,
    }
)
_SENSOR_REPORT: Final[_Members] = {
    "type": _one(_word(vocabulary.MEASUREMENT)),
    "exception": _one(_word(vocabulary.ALERT)),
    "deviceID": _PLAIN,
    "deviceMetadata": _PLAIN,
    "rawData": _PLAIN,
    "dataProcessingMethod": _PLAIN,
    "time": _TIME,
    "microorganism": _PLAIN,
    "chemicalSubstance": _PLAIN,
    "value": _PLAIN,
    "component": _one(_word(vocabulary.COMPONENT)),
    "stringValue": _PLAIN,
    "booleanValue": _PLAIN,
    "hexBinaryValue": _PLAIN,
    "uriValue": _PLAIN,
    "minValue": _PLAIN,
    "maxValue": _PLAIN,
    "meanValue": _PLAIN,
    "sDev": _PLAIN,
    "percRank": _PLAIN,
    "percValue": _PLAIN,
    "uom": _PLAIN,
    "coordinateReferenceSystem": _PLAIN,
}


def _reports(context: Context, name: str, value: Json) -> str:
    return _object(_SENSOR_REPORT, name)(context, "", value)


def _parties(name: str, words: Vocabulary) -> Callable[[Context, str, Json], str]:
    return _object({"type": _one(_word(words)), name: _PLAIN}, "")


_EVENT: Final[_Members] = {
    "eventTime": _TIME,
    "eventTimeZoneOffset": _PLAIN,
    "certificationInfo": _PLAIN,
    "parentID": _PLAIN,
    "epcList": _items("epc"),
    "inputEPCList": _items("epc"),
    "childEPCs": _items("epc"),
    "quantityList": _QUANTITIES,
    "childQuantityList": _QUANTITIES,
    "inputQuantityList": _QUANTITIES,
    "outputEPCList": _items("epc"),
    "outputQuantityList": _QUANTITIES,
    "action": _PLAIN,
    "transformationID": _PLAIN,
    "bizStep": _one(_word(vocabulary.BIZ_STEP)),
    "disposition": _one(_word(vocabulary.DISPOSITION)),
    "persistentDisposition": _object(
        {
            "set": _one(_word(vocabulary.DISPOSITION)),
            "unset": _one(_word(vocabulary.DISPOSITION)),
        }
    ),
    "readPoint": _PLACE,
    "bizLocation": _PLACE,
    "sensorElementList": _object(
        {"sensorMetadata": _SENSOR_METADATA, "sensorReport": _reports}, "sensorElement"
    ),
}

_PARTIES: Final[_Members] = {
    "bizTransactionList": _parties("bizTransaction", vocabulary.TRANSACTION),
    "sourceList": _parties("source", vocabulary.PARTY),
    "destinationList": _parties("destination", vocabulary.PARTY),
}

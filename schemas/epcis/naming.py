"""From an EPC to an identifier: whose thing an event is about (ADR 0029).

    1  the path of a URI begins with a GS1 key, or has one behind a stem: a GS1 key, as has an EPC
       URN; under the prefix of who captures it is  {prefix}/{canonical GS1 path}
    2  the path of a URI is prefix/suffix, such as https://any.host/88.118.8/CELL-1: that identifier
    3  anything else has no identifier here, and a pattern identifies nothing: BadEvent

GS1 keys have no holder that this network knows of, so that whoever speaks of one speaks under his
own prefix; two companies that mean the same key link their identifiers of it by SAME_AS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from schemas.errors import BadEvent, BadIdentifier
from schemas.identifier import Identifier, Prefix
from schemas.record import ASSET, BATCH, CLASS, DOCUMENT, ITEM

from . import gs1
from .gs1 import Key

_PREFIX = re.compile(r"[0-9]+(?:\.[0-9a-z-]+)*")

# What kind of thing a key names; with a serial number an item, with a lot a batch.
_KINDS: Final = {
    "00": ITEM, "01": CLASS, "253": DOCUMENT, "255": DOCUMENT, "401": DOCUMENT, "402": DOCUMENT,
    "414": ASSET, "417": ASSET, "8003": ASSET, "8004": ASSET, "8006": CLASS, "8010": CLASS,
    "8017": ASSET, "8018": ASSET,
}  # fmt: skip
_NARROWED: Final = {"21": ITEM, "235": ITEM, "8011": ITEM, "10": BATCH}


@dataclass(frozen=True, slots=True)
class Named:
    """An identifier, and the kind of record that it would have."""

    identifier: Identifier
    kind: str


@dataclass(frozen=True, slots=True)
class Naming:
    """How who captures names things; `lenient` takes GS1 keys with wrong check digits."""

    prefix: Prefix
    lenient: bool = False

    def holds(self, identifier: Identifier) -> bool:
        """Tell whether who captures holds an identifier."""
        return identifier.prefix == self.prefix

    def name(self, uri: str, *, event: int, member: str, kind: str = ITEM) -> Named:
        """Name what a URI identifies; `kind` is that of a native identifier. Raise BadEvent."""
        try:
            return self._named(uri, kind)
        except BadEvent as err:
            raise BadEvent(
                f"event {event}: {member}: {err.detail}",
                event=event,
                member=member,
                value=uri,
                fix=err.fix,
            ) from None

    def _named(self, uri: str, kind: str) -> Named:
        if gs1.is_pattern(uri):
            raise _pattern(uri)
        found = native(uri)
        return self._key(uri) if found is None else Named(found, kind)

    def _key(self, uri: str) -> Named:
        key = gs1.find(uri)
        if key is None:
            raise BadEvent(
                "this is neither a GS1 key nor an identifier of this network",
                fix="write https://<host>/<prefix>/<suffix>, an EPC URN, or a GS1 Digital Link",
            )
        if not self.lenient:
            gs1.verified(key, uri)
        return Named(Identifier(self.prefix, key.path), _kind(key))


def native(uri: str) -> Identifier | None:
    """Return the identifier that the path of a URI is, None where it is none; raise BadEvent."""
    path = gs1.path_of(uri)
    first = "" if path is None else path.partition("/")[0]
    if path is None or gs1.names_key(first) or not _PREFIX.fullmatch(first):
        return None
    try:
        return Identifier.from_path(path.encode())
    except BadIdentifier as err:
        raise BadEvent(err.detail, fix=err.fix) from None


def _kind(key: Key) -> str:
    named = dict(key.qualifiers)
    return next((kind for ai, kind in _NARROWED.items() if ai in named), _KINDS[key.ai])


def _pattern(uri: str) -> BadEvent:
    key = gs1.find(uri)
    return BadEvent(
        "a pattern names many things and identifies none",
        fix="name instances or lots"
        if key is None
        else f"name instances or lots, or the class itself: https://id.gs1.org/{key.path}",
    )

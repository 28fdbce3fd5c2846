"""The members of an event, taken one by one: right type, in bounds, none missing, none unknown.

A member without a namespace that EPCIS does not define is refused. One with a namespace is an
extension: it is kept, it enters the event hash, and nothing else is made of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TypeVar

from schemas.errors import BadEvent

from . import gs1
from .jsonld import Json, JsonObject
from .vocabulary import Vocabulary

T = TypeVar("T")

MAX_ITEMS = 10_000  # of one list
MAX_TEXT = 4096

_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.\-_]*:[^\s\x00-\x20\x7f]+")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,12}))?"
    r"(Z|[+-][0-9]{2}:[0-9]{2})"
)
_UNIT = re.compile(r"[A-Z0-9]{2,3}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_OFFSET = re.compile(r"[+-](?:(?:0[0-9]|1[0-3]):[0-5][0-9]|14:00)")
_HEX = re.compile(r"[0-9A-Fa-f]+")
_URN_WORDS = re.compile(r"urn:epcglobal:cbv:|https?://ns\.gs1\.org/cbv/")
_PLAIN_UNIT = "write it as a UNECE Rec 20 code such as KGM"


@dataclass(slots=True)
class Fields:
    """The members of one object of an event; `done` refuses what is left."""

    source: Mapping[str, Json]
    event: int | None = None
    where: str = ""
    _taken: set[str] = field(default_factory=set)

    def fail(self, name: str, why: str, value: object = None, fix: str | None = None) -> BadEvent:
        """Build the error of one member."""
        member = f"{self.where}{name}"
        place = "" if self.event is None else f"event {self.event}: "
        shown = str(value) if isinstance(value, Decimal) else value
        return BadEvent(
            f"{place}{member} {why}", event=self.event, member=member, value=shown, fix=fix
        )

    def take(self, name: str) -> Json:
        """Take a member, None where it is absent; an explicit null is refused."""
        self._taken.add(name)
        if name in self.source and self.source[name] is None:
            raise self.fail(name, "is null", fix="leave it out")
        return self.source.get(name)

    def required(self, name: str) -> Json:
        """Take a member that must be there."""
        found = self.take(name)
        if found is None:
            raise self.fail(name, "is missing", fix=f"add {name}")
        return found

    def text(self, name: str) -> str | None:
        """Take an optional string."""
        value = self.take(name)
        return None if value is None else self._text(name, value)

    def _text(self, name: str, value: Json) -> str:
        if not isinstance(value, str) or not value.strip():
            raise self.fail(name, "is not a string that says something", value)
        if len(value) > MAX_TEXT:
            raise self.fail(name, f"has over {MAX_TEXT} characters", value)
        return value

    def uri(self, name: str) -> str | None:
        """Take an optional URI."""
        value = self.take(name)
        return None if value is None else self._uri(name, value)

    def _uri(self, name: str, value: Json) -> str:
        text = self._text(name, value)
        if len(text) > gs1.MAX_URI or not _URI.fullmatch(text):
            raise self.fail(
                name,
                "is not a URI",
                value,
                "write an EPC URN, a GS1 Digital Link or another address with its scheme",
            )
        return text

    def epc(self, name: str) -> str | None:
        """Take an optional URI that identifies one thing."""
        value = self.take(name)
        return None if value is None else self._epc(name, value)

    def _epc(self, name: str, value: Json) -> str:
        uri = self._uri(name, value)
        if gs1.is_pattern(uri):
            raise self.fail(
                name,
                "is a pattern, which names many things and identifies none",
                value,
                "name each instance, or put its class into the list of quantities",
            )
        return uri

    def epcs(self, name: str) -> tuple[str, ...] | None:
        """Take an optional list of URIs, each once, that identify one thing each."""
        found = self.array(name, self._epc)
        if found is not None and len(set(found)) != len(found):
            seen: set[str] = set()
            twice = next(one for one in found if one in seen or seen.add(one))  # type: ignore[func-returns-value]
            raise self.fail(name, "names something twice", twice, "name it once")
        return found

    def uris(self, name: str) -> tuple[str, ...] | None:
        """Take an optional list of URIs."""
        return self.array(name, self._uri)

    def word(self, name: str, vocabulary: Vocabulary) -> str | None:
        """Take an optional word of a vocabulary, or a URI in its place."""
        value = self.take(name)
        return None if value is None else self._word(name, value, vocabulary)

    def _word(self, name: str, value: Json, vocabulary: Vocabulary) -> str:
        word = self._text(name, value)
        if word in vocabulary.words:
            return word
        if _URN_WORDS.match(word):
            raise self.fail(
                name, "writes a word of CBV as XML does", value, "write the bare word in JSON-LD"
            )
        if not _URI.fullmatch(word):
            near = ", ".join(sorted(vocabulary.words)[:4])
            raise self.fail(
                name,
                f"is not a {vocabulary.title}",
                value,
                f"use one of its words ({near}, …) or a URI of your own",
            )
        return word

    def words(self, name: str, vocabulary: Vocabulary) -> tuple[str, ...] | None:
        """Take an optional list of words, one at least."""
        found = self.array(name, lambda at, item: self._word(at, item, vocabulary))
        if found is not None and (not found or len(set(found)) != len(found)):
            raise self.fail(name, "is empty, or says something twice")
        return found

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        """Take one of a few words."""
        value = self.required(name)
        if value not in allowed:
            shown = " nor ".join(allowed)
            raise self.fail(name, f"is neither {shown}", value, "use one of these words")
        return str(value)

    def array(self, name: str, read: Callable[[str, Json], T]) -> tuple[T, ...] | None:
        """Take an optional list, each item of which `read(name, item)` reads."""
        value = self.take(name)
        if value is None:
            return None
        if not isinstance(value, list):
            raise self.fail(name, "is not an array", value)
        if len(value) > MAX_ITEMS:
            raise self.fail(name, f"has over {MAX_ITEMS} items", len(value), "send several events")
        return tuple(read(f"{name}[{at}]", item) for at, item in enumerate(value))

    def time(self, name: str) -> int | None:
        """Take an optional time, in milliseconds since 1970."""
        value = self.take(name)
        if value is None:
            return None
        found = milliseconds(value) if isinstance(value, str) else None
        if found is None:
            raise self.fail(
                name,
                "is not a time with its offset (RFC 3339)",
                value,
                "write it as 2026-07-22T08:15:00+02:00",
            )
        return found

    def offset(self, name: str) -> str:
        """Take a required time zone offset."""
        value = self.required(name)
        if not isinstance(value, str) or not _OFFSET.fullmatch(value):
            raise self.fail(name, "is not an offset such as +01:00", value, "write +00:00 for UTC")
        return value

    def number(self, name: str) -> Decimal | None:
        """Take an optional number."""
        value = self.take(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | Decimal):
            raise self.fail(name, "is not a number", value, "write it without quotes")
        return Decimal(value)

    def unit(self, name: str) -> str:
        """Take an optional unit code of UNECE Recommendation 20, by its shape; empty without."""
        value = self.take(name)
        if value is None:
            return ""
        if not isinstance(value, str) or not _UNIT.fullmatch(value):
            raise self.fail(name, "is not a unit of UNECE Rec 20", value, _PLAIN_UNIT)
        return value

    def boolean(self, name: str) -> None:
        """Take an optional truth value."""
        value = self.take(name)
        if value is not None and not isinstance(value, bool):
            raise self.fail(name, "is neither true nor false", value)

    def hexadecimal(self, name: str) -> None:
        """Take optional hexadecimal digits."""
        value = self.take(name)
        if value is not None and not (isinstance(value, str) and _HEX.fullmatch(value)):
            raise self.fail(name, "is not hexadecimal", value)

    def maybe_object(self, name: str) -> JsonObject | None:
        """Take an optional object."""
        value = self.take(name)
        if value is not None and not isinstance(value, dict):
            raise self.fail(name, "is not an object", value)
        return value

    def inner(self, name: str, value: Json) -> Fields:
        """Open a nested object."""
        if not isinstance(value, dict):
            raise self.fail(name, "is not an object", value)
        return Fields(value, self.event, f"{self.where}{name}.")

    def done(self, *, extensible: bool) -> None:
        """Refuse members nobody took, but for extensions where there may be any."""
        for name in self.source:
            if name not in self._taken and not (extensible and _URI.fullmatch(name)):
                raise self.fail(
                    name,
                    "is not a member that EPCIS defines here",
                    name,
                    "give it a namespace, such as example:" + name
                    if extensible
                    else "leave it out",
                )


def namespaced(fields: Fields, name: str) -> JsonObject | None:
    """Take an optional object whose members all have a namespace."""
    found = fields.maybe_object(name)
    if found is not None:
        Fields(found, fields.event, f"{fields.where}{name}.").done(extensible=True)
    return found


def milliseconds(text: str) -> int | None:
    """Read a time as milliseconds since 1970, rounded half up on the fourth decimal; else None."""
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    whole, fraction, offset = found.groups()
    digits = (fraction or "").ljust(4, "0")
    try:
        moment = datetime.fromisoformat(whole + ("+00:00" if offset == "Z" else offset))
        since = moment - _EPOCH
    except (ValueError, OverflowError):
        return None
    rounded = int(digits[:3]) + (digits[3] >= "5")
    return since // timedelta(milliseconds=1) + rounded

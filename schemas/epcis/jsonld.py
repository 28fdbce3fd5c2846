"""JSON of events: bounded, numbers exact, names expanded by contexts that are never fetched.

A number is kept as `Decimal` or `int`, so that an event is stored and hashed as it was written. A
remote context other than EPCIS's own says nothing here: what it would define stays as it stands.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NoReturn, TypeAlias

from schemas.errors import BadEvent, TooLarge

MAX_BYTES = 4 * 1024 * 1024  # of a document
MAX_DEPTH = 32
MAX_DIGITS = 64  # of a number as it is written
MAX_EXPONENT = 100
MAX_NAMESPACES = 100
MAX_CONTEXT = 8 * 1024  # characters: it is kept with each event

CONTEXTS = (
    "https://ref.gs1.org/standards/epcis/epcis-context.jsonld",
    "https://ref.gs1.org/standards/epcis/2.0.0/epcis-context.jsonld",
)

Json: TypeAlias = "bool | int | Decimal | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = "dict[str, Json]"

# What EPCIS's own context defines; a document cannot define these anew.
_STANDARD: Mapping[str, str] = {
    "epcis": "https://ref.gs1.org/epcis/",
    "cbv": "https://ref.gs1.org/cbv/",
    "cbvmda": "urn:epcglobal:cbv:mda:",
    "gs1": "https://gs1.org/voc/",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "owl": "http://www.w3.org/2002/07/owl#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "dcterms": "http://purl.org/dc/terms/",
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def decode(raw: bytes) -> JsonObject:
    """Read a JSON object; raise TooLarge, or BadEvent for what is not JSON or nests too deeply."""
    if len(raw) > MAX_BYTES:
        raise TooLarge(
            f"the document has {len(raw)} bytes, the limit is {MAX_BYTES}",
            value=len(raw),
            fix="send it in parts",
        )
    try:
        found = _decoder.decode(raw.decode("utf-8"))
    except UnicodeDecodeError as err:
        raise BadEvent("the document is not UTF-8", value=err.start) from None
    except RecursionError:
        raise _too_deep() from None
    except ValueError as err:
        raise BadEvent(f"the document is not JSON: {err}", fix="send JSON-LD") from None
    _check(found, 1)
    if not isinstance(found, dict):
        raise BadEvent("the document is not a JSON object")
    return found


def _check(value: Json, depth: int) -> None:
    if isinstance(value, str):
        if not value.isascii():
            _check_text(value)
        return
    if not isinstance(value, dict | list):
        return
    if depth > MAX_DEPTH:
        raise _too_deep()
    if isinstance(value, dict):
        for name in value:
            _check(name, depth)
    for item in value.values() if isinstance(value, dict) else value:
        _check(item, depth + 1)


def _check_text(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise BadEvent("a string holds a lone surrogate", value=text) from None


def _too_deep() -> BadEvent:
    return BadEvent(f"the document is nested deeper than {MAX_DEPTH}", fix="flatten its extensions")


def _pairs(pairs: list[tuple[str, Json]]) -> JsonObject:
    found = dict(pairs)
    if len(found) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise BadEvent(f"the member {twice} is there twice in one object", value=twice)
    return found


def _decimal(literal: str) -> Decimal:
    found = Decimal(literal) if len(literal) <= MAX_DIGITS else None
    if found is None or not -MAX_EXPONENT <= found.adjusted() <= MAX_EXPONENT:
        raise _no_number(literal)
    return found


def _integer(literal: str) -> int:
    if len(literal) > MAX_DIGITS:
        raise _no_number(literal)
    return int(literal)


def _no_number(literal: str) -> NoReturn:
    raise BadEvent(
        "a number is longer or larger than any quantity", value=literal, fix="round or scale it"
    )


def _constant(literal: str) -> NoReturn:
    raise BadEvent("this is not a number of JSON", value=literal)


_decoder = json.JSONDecoder(
    object_pairs_hook=_pairs,
    parse_float=_decimal,
    parse_int=_integer,
    parse_constant=_constant,
)


def encode(value: object) -> str:
    """Write compact JSON, numbers as they were read."""
    pieces: list[str] = []
    _write(value, pieces)
    return "".join(pieces)


def _write(value: object, pieces: list[str]) -> None:
    if isinstance(value, Decimal):
        pieces.append(str(value))
    elif isinstance(value, Mapping):
        for count, (name, item) in enumerate(value.items()):
            pieces.append(f"{',' if count else '{'}{json.dumps(name, ensure_ascii=False)}:")
            _write(item, pieces)
        pieces.append("}" if value else "{}")
    elif isinstance(value, list | tuple):
        for count, item in enumerate(value):
            pieces.append("," if count else "[")
            _write(item, pieces)
        pieces.append("]" if value else "[]")
    else:
        pieces.append(json.dumps(value, ensure_ascii=False))


@dataclass(frozen=True, slots=True)
class Context:
    """The namespaces that names and words of an event are short for; `given` as it was written."""

    namespaces: Mapping[str, str]
    given: tuple[Json, ...] = ()

    def within(self, given: Json, where: str) -> Context:
        """Return this context with a further one, of one event; raise BadEvent."""
        entries = tuple(given) if isinstance(given, list) else (given,)
        return Context({**self.namespaces, **_namespaces(entries, where)}, (*self.given, *entries))

    def name(self, name: str) -> str:
        """Expand the name of an extension: {namespace}local."""
        namespace, local = self._split(name)
        return name if namespace is None else f"{{{namespace}}}{local}"

    def word(self, word: str) -> str:
        """Expand a word that is short for a URI; any other stays."""
        namespace, local = self._split(word)
        return word if namespace is None else f"{namespace}{local}"

    def _split(self, text: str) -> tuple[str | None, str]:
        short, colon, local = text.partition(":")
        if not colon or local.startswith("//"):
            return None, text
        return self.namespaces.get(short), local


def read_context(given: Json) -> Context:
    """Read the context of a document; raise BadEvent where it is not one of EPCIS."""
    if given is None:
        raise BadEvent(
            "the document has no @context",
            member="@context",
            fix=f'begin it with "@context": "{CONTEXTS[1]}"',
        )
    entries = tuple(given) if isinstance(given, list) else (given,)
    if not any(entry in CONTEXTS for entry in entries if isinstance(entry, str)):
        raise BadEvent(
            "the @context is not that of EPCIS 2.0",
            member="@context",
            value=encode(given),
            fix=f"name {CONTEXTS[1]} in it",
        )
    return Context({**_namespaces(entries, "@context"), **_STANDARD}, entries)


def _namespaces(entries: tuple[Json, ...], where: str) -> dict[str, str]:
    if len(encode(entries)) > MAX_CONTEXT:
        raise BadEvent(f"{where} has over {MAX_CONTEXT} characters", member=where)
    found: dict[str, str] = {}
    for entry in entries:
        if isinstance(entry, dict):
            found |= {short: _namespace(short, name, where) for short, name in entry.items()}
        elif not isinstance(entry, str):
            raise BadEvent(f"{where} holds neither addresses nor objects alone", member=where)
    if len(found) > MAX_NAMESPACES:
        raise BadEvent(f"{where} has over {MAX_NAMESPACES} namespaces", member=where)
    return found


def _namespace(short: str, given: Json, where: str) -> str:
    namespace = given.get("@id") if isinstance(given, dict) else given  # the long form of a term
    if not isinstance(namespace, str) or _CONTROL.search(namespace):
        raise BadEvent(
            f"{where}: the namespace of {short} is not an address", member=where, value=short
        )
    return namespace

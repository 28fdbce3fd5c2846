"""Read the container of Catena-X traceability test data: twins and the aspects they carry.

    {"policies": …, "https://catenax.io/schema/TestDataContainer/1.0.0": [twin, …], …}
    twin   = {"catenaXId": "urn:uuid:…", "bpnl": "BPNL…", "<aspect model URN>": [payload], …}
    URN    = "urn:bamm:" / "urn:samm:" model ":" version "#" name
    payload, or wrapped: {"submodelId", "digitalTwinId", "owner", "sourceId", "data": payload}

Aspects are known by the name after `#`: versions are mixed inside one chain, and fields that are
not known are let be. Whatever contradicts this shape is refused with its place in the document,
before anything is sent; what merely is no twin (a generator's note) becomes a note.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import NoReturn

from schemas.errors import BadInput

from .report import Note

CONTAINER = "https://catenax.io/schema/TestDataContainer/1.0.0"

_ASPECT = re.compile(
    r"urn:(?:bamm|samm):([^#\s]+):([0-9]{1,9}(?:\.[0-9]{1,9})*)#([A-Za-z][A-Za-z0-9]*)"
)
_UUID = re.compile(r"(?:urn:uuid:)?([0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12})", re.IGNORECASE)
_BPNL = re.compile(r"BPNL[0-9A-Za-z]{12}")
_SIMPLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Aspect:
    """One payload of a twin under one aspect model; `submodel` is the id it is served under."""

    urn: str
    name: str
    version: tuple[int, ...]
    payload: Mapping[str, object]
    place: str
    submodel: str = ""


@dataclass(frozen=True, slots=True)
class Twin:
    """One digital twin: `uuid` bare and in lower case, `bpnl` of its holder."""

    uuid: str
    bpnl: str
    aspects: tuple[Aspect, ...]
    place: str

    def newest(self, names: Sequence[str]) -> Aspect | None:
        """Return the aspect with the earliest of the names, and of that the highest version."""
        for name in names:
            found = [aspect for aspect in self.aspects if aspect.name == name]
            if found:
                return max(found, key=lambda aspect: aspect.version)
        return None


def parse(text: str | bytes) -> Mapping[str, object]:
    """Parse a document, numbers exact (`int` and `Decimal`); raise BadInput with the position."""
    try:
        document = json.loads(text, parse_float=Decimal)
    except json.JSONDecodeError as err:
        raise BadInput(
            f"not JSON: {err.msg} at line {err.lineno}, column {err.colno}", position=err.pos
        ) from err
    except (ValueError, RecursionError) as err:
        raise BadInput(f"not JSON: {err}") from err
    if not isinstance(document, dict):
        refuse("$", "is not an object", document)
    return document


def read_twins(document: Mapping[str, object]) -> tuple[tuple[Twin, ...], tuple[Note, ...]]:
    """Return the twins in the order of the document, each once, and notes on what is none.

    Two entries of one twin are taken together; raises BadInput where they name two holders, and
    wherever the document has not the shape of a container.
    """
    if CONTAINER not in document:
        raise BadInput(
            f"the document has no member {CONTAINER}",
            value=", ".join(document)[:200],
            fix="give a Catena-X test-data container, or another --format",
        )
    where = step("$", CONTAINER)
    twins: dict[str, Twin] = {}
    notes: list[Note] = []
    for index, item in enumerate(array(document[CONTAINER], where)):
        twin = _read_twin(mapping(item, f"{where}[{index}]"), f"{where}[{index}]")
        if not twin.bpnl:
            notes.append(Note("no_holder", twin.place, "no company (BPNL) holds this entry"))
            continue
        known = twins.get(twin.uuid)
        if known is None:
            twins[twin.uuid] = twin
            continue
        if known.bpnl != twin.bpnl:
            refuse(twin.place, f"is the twin at {known.place} under another holder", twin.bpnl)
        twins[twin.uuid] = replace(known, aspects=known.aspects + twin.aspects)
        notes.append(Note("twin_repeated", twin.place, f"the twin is at {known.place} already"))
    return tuple(twins.values()), tuple(notes)


def _read_twin(entry: Mapping[str, object], where: str) -> Twin:
    uuid = read_uuid(entry.get("catenaXId"), step(where, "catenaXId"))
    aspects: list[Aspect] = []
    for member, value in entry.items():
        found = _ASPECT.fullmatch(member)
        if found is None:
            continue
        version = tuple(int(number) for number in found[2].split("."))
        for index, item in enumerate(array(value, step(where, member))):
            at = f"{step(where, member)}[{index}]"
            aspects.append(_unwrap(Aspect(member, found[3], version, mapping(item, at), at)))
    twin = Twin(uuid, "", tuple(aspects), where)
    return replace(twin, bpnl=read_bpnl(entry.get("bpnl")) or _stated_manufacturer(twin))


def _unwrap(aspect: Aspect) -> Aspect:
    data, submodel = aspect.payload.get("data"), aspect.payload.get("submodelId")
    if not isinstance(data, Mapping) or not isinstance(submodel, str):
        return aspect
    return replace(aspect, payload=data, place=step(aspect.place, "data"), submodel=submodel)


def _stated_manufacturer(twin: Twin) -> str:
    # Older containers have no `bpnl`; the holder then stands among the twin's local identifiers.
    for aspect in twin.aspects:
        stated = read_bpnl(local_identifiers(aspect).get("manufacturerId"))
        if stated:
            return stated
    return ""


def local_identifiers(aspect: Aspect) -> dict[str, str]:
    """Return the local identifiers of a part aspect, the first of each key."""
    found: dict[str, str] = {}
    items = aspect.payload.get("localIdentifiers")
    for item in items if isinstance(items, list) else ():
        if isinstance(item, Mapping):
            key, value = item.get("key"), item.get("value")
            if isinstance(key, str) and isinstance(value, str):
                found.setdefault(
                    key.removesuffix("ID") + "Id" if key.endswith("ID") else key, value
                )
    return found


def read_uuid(value: object, where: str) -> str:
    """Read `urn:uuid:…` or the bare form; return it bare, in lower case (RFC 9562 §4)."""
    found = _UUID.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        refuse(where, "is missing" if value is None else "is not a UUID", value)
    return found[1].lower()


def read_bpnl(value: object) -> str:
    """Return a well-formed business partner number in capitals, empty where it is not one."""
    return value.upper() if isinstance(value, str) and _BPNL.fullmatch(value) else ""


def step(where: str, member: str) -> str:
    """Append a member name to a JSON path (RFC 9535)."""
    if _SIMPLE.fullmatch(member):
        return f"{where}.{member}"
    quoted = member.replace("\\", "\\\\").replace("'", "\\'")
    return f"{where}['{quoted}']"


def mapping(value: object, where: str) -> Mapping[str, object]:
    """Demand an object."""
    if not isinstance(value, Mapping):
        refuse(where, "is not an object", value)
    return value


def array(value: object, where: str) -> list[object]:
    """Demand an array."""
    if not isinstance(value, list):
        refuse(where, "is not an array", value)
    return value


def refuse(where: str, why: str, value: object = None) -> NoReturn:
    """Raise BadInput with the place in the document."""
    raise BadInput(f"{where} {why}", value=value)

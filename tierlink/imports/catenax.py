"""Plan the import of Catena-X traceability test data: companies, twins, and links of both ends.

What becomes what:

* a company (BPNL) -> the prefix `PARENT.<bpnl in lower case>`; its number is its name, because
  the data holds no other;
* a twin -> the identifier `<that prefix>/<uuid>`, with `catenaXId` among its attributes; the kind
  follows from its part aspect: SerialPart and JustInSequencePart item, Batch batch,
  PartAsPlanned and PartAsSpecified class. Without one, a planned twin is a class, another an item;
* an aspect -> a target `samm:<name>` to the submodel id where the data has it, to the model URN
  otherwise; documents an aspect links to -> targets `related`;
* a row of a bill of material -> the assembly's holder asserts CONTAINED_IN with the quantity;
* a row of a usage aspect -> the part's holder asserts the same link. Its quantity is left out
  unless asked for: in the published sets it is a placeholder and conflicts with every other end.

The holder of a row's far end is the `bpnl` of the far twin. A row's own `businessPartner` names
another company in most published rows, so it is used only where the far twin is not in the file,
and noted as an assumption; with neither, the row is left out and noted. Rows that say the parent
is only a potential one state no link.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from schemas.claims import Members
from schemas.errors import BadInput, BadRecord
from schemas.identifier import Identifier, Prefix
from schemas.link import DOWNSTREAM, SIDES, UPSTREAM, Assertion, Link, Quantity
from schemas.record import BATCH, CLASS, ITEM, Record
from schemas.target import Target, read_target

from .plan import Agreement, Holder, Plan
from .quantity import UnusableQuantity, read_quantity
from .report import Note
from .rows import far_uuid, listed, relation
from .twins import (
    Aspect,
    Twin,
    local_identifiers,
    parse,
    read_bpnl,
    read_twins,
    step,
)

_KINDS = {
    "SerialPart": ITEM,
    "JustInSequencePart": ITEM,
    "Batch": BATCH,
    "PartAsPlanned": CLASS,
    "PartAsSpecified": CLASS,
}
_LIFECYCLES = {
    name.lower(): name for name in ("asSpecified", "asPlanned", "asBuilt", "asMaintained")
}
_MAX_TEXT = 1024
_MAX_DOCUMENTS = 16  # per twin
_MAX_DEPTH = 32  # of a payload that is searched for documents


@dataclass(frozen=True, slots=True)
class _Row:
    """One row of a bill of material or of a usage aspect: the near twin speaks of the far one."""

    near: Twin
    side: str
    lifecycle: str
    item: Mapping[str, object]
    place: str


def plan(
    text: str | bytes, parent: Prefix, issued_at: int, *, usage_quantity: bool = False
) -> tuple[Plan, tuple[Note, ...]]:
    """Plan the import of one document under `parent`; raise BadInput where it is malformed.

    Pure and deterministic: the same document gives the same plan, `issued_at` (seconds) apart.
    """
    if parent.is_root:
        raise BadInput(
            "the companies need a prefix above them that is not the root",
            value=str(parent),
            fix="allocate one, such as 88.118, and name it with --parent",
        )
    twins, notes = read_twins(parse(text))
    planner = _Planner(parent, issued_at, twins, usage_quantity=usage_quantity)
    records = tuple(planner.record(twin) for twin in twins)
    assertions = planner.assertions()
    holders = {twin.bpnl: Holder(planner.prefix(twin.bpnl), twin.bpnl) for twin in twins}
    done = Plan(tuple(holders.values()), records, assertions, planner.agreement())
    return done, notes + tuple(planner.notes)


class _Planner:
    """Owns what one document says of whom, and the notes that arise on the way."""

    def __init__(
        self, parent: Prefix, issued_at: int, twins: tuple[Twin, ...], *, usage_quantity: bool
    ) -> None:
        self.notes: list[Note] = []
        self._parent = parent
        self._issued_at = issued_at
        self._twins = {twin.uuid: twin for twin in twins}
        self._assumed: dict[str, str] = {}  # uuid of a twin not in the file -> the first BPNL named
        self._usage_quantity = usage_quantity
        self._amounts: dict[Link, dict[str, Quantity]] = {}  # by side, of each end's first row

    def note(self, code: str, place: str, reason: str) -> None:
        self.notes.append(Note(code, place, reason))

    def prefix(self, bpnl: str) -> Prefix:
        return Prefix.parse(f"{self._parent}.{bpnl.lower()}")

    def identifier(self, bpnl: str, uuid: str) -> Identifier:
        return Identifier(self.prefix(bpnl), uuid)

    # records

    def record(self, twin: Twin) -> Record:
        part = twin.newest(tuple(_KINDS))
        planned = any(aspect.name.endswith("AsPlanned") for aspect in twin.aspects)
        kind = _KINDS[part.name] if part else CLASS if planned else ITEM
        attributes = {"catenaXId": f"urn:uuid:{twin.uuid}", "bpnl": twin.bpnl}
        for name, value, place in _part_attributes(part) if part else ():
            kept = self._text(value, place)
            if kept:
                attributes.setdefault(name, kept)
        return Record(
            self.identifier(twin.bpnl, twin.uuid),
            kind,
            self._issued_at,
            targets=tuple(self._targets(twin)),
            attributes=attributes,
        )

    def _text(self, value: object, place: str) -> str:
        """Return foreign text as it may be signed (NFC, one line), empty where it may not."""
        if not isinstance(value, str) or not value.strip():
            return ""
        normal = unicodedata.normalize("NFC", " ".join(value.split()))
        if len(normal) <= _MAX_TEXT and normal.encode("utf-8", "ignore").decode() == normal:
            return normal
        self.note("text_refused", place, f"over {_MAX_TEXT} characters, or no Unicode text")
        return ""

    def _targets(self, twin: Twin) -> Iterator[Target]:
        seen: set[tuple[str, str]] = set()
        documents = 0
        for aspect in twin.aspects:
            for target in self._aspect_targets(aspect):
                documents += target.rel == "related"
                known = (target.rel, target.href) in seen
                if not known and documents <= _MAX_DOCUMENTS:
                    seen.add((target.rel, target.href))
                    yield target

    def _aspect_targets(self, aspect: Aspect) -> Iterator[Target]:
        yield from self._target(
            {
                "rel": f"samm:{aspect.name}",
                "href": aspect.submodel or aspect.urn,
                "type": "application/json",
                "title": f"{aspect.name} {'.'.join(map(str, aspect.version))}",
            },
            aspect.place,
        )
        for href, title, place in _documents(aspect.payload, aspect.place):
            members = {"rel": "related", "href": href}
            text = self._text(title, place)[:256].strip()
            yield from self._target(members | ({"title": text} if text else {}), place)

    def _target(self, members: Mapping[str, object], place: str) -> Iterator[Target]:
        try:
            yield read_target(Members({}, BadRecord), members, "")
        except BadRecord as err:
            self.note("target_refused", place, err.detail)

    # links

    def assertions(self) -> tuple[Assertion, ...]:
        stated: dict[tuple[Link, str], Assertion] = {}
        for row in self._rows():
            assertion = self._assertion(row)
            if assertion is None:
                continue
            known = stated.setdefault((assertion.link, assertion.side), assertion)
            if known is assertion:
                self._compare(row, assertion)
            elif known.same_content(assertion):
                self.note("row_repeated", row.place, "says again what an earlier row said")
            else:
                self.note(
                    "row_contradicted", row.place, "an earlier row of this link says otherwise"
                )
        return tuple(stated.values())

    def _rows(self) -> Iterator[_Row]:
        for twin in self._twins.values():
            for aspect in twin.aspects:
                yield from self._aspect_rows(twin, aspect)

    def _aspect_rows(self, twin: Twin, aspect: Aspect) -> Iterator[_Row]:
        found = relation(aspect)
        if found is None:
            return
        for item, place in listed(aspect.payload, aspect.place, found.lists):
            stated = found.lifecycle or item.get("lifecycleContext", "asBuilt")
            lifecycle = _LIFECYCLES.get(str(stated).lower())
            if lifecycle is None:
                self.note("lifecycle_unknown", place, f"lifecycle {stated!r} is none we know")
            elif item.get("isOnlyPotentialParent") is True:
                self.note("potential_parent", place, "the parent is only a potential one")
            else:
                yield _Row(twin, found.side, lifecycle, item, place)

    def _assertion(self, row: _Row) -> Assertion | None:
        far = self._far(row)
        near = self.identifier(row.near.bpnl, row.near.uuid)
        if far is None:
            return None
        if far == near:
            self.note("self_link", row.place, "the twin is linked to itself")
            return None
        up, down = (near, far) if row.side == UPSTREAM else (far, near)
        valid_from, valid_until = self._validity(row)
        return Assertion(
            Link("CONTAINED_IN", up, down, row.lifecycle),
            row.side,
            self._issued_at,
            quantity=self._quantity(row),
            valid_from=valid_from,
            valid_until=valid_until,
        )

    def _far(self, row: _Row) -> Identifier | None:
        uuid = far_uuid(row.item, row.place)
        twin = self._twins.get(uuid)
        if twin is not None:
            return self.identifier(twin.bpnl, uuid)
        named = read_bpnl(row.item.get("businessPartner"))
        if not named and uuid not in self._assumed:
            self.note("far_holder_unknown", row.place, f"twin {uuid} is not in the file")
            return None
        holder = self._assumed.setdefault(uuid, named)
        self.note(
            "far_holder_assumed",
            row.place,
            f"twin {uuid} is not in the file; taken to be held by {holder}",
        )
        return self.identifier(holder, uuid)

    def _quantity(self, row: _Row) -> Quantity | None:
        if row.side == UPSTREAM and not self._usage_quantity:
            return None
        try:
            return read_quantity(row.item.get("quantity"))
        except UnusableQuantity as err:
            self.note("quantity_left_out", step(row.place, "quantity"), str(err))
            return None

    def _compare(self, row: _Row, assertion: Assertion) -> None:
        """Keep what this end states, also where it is not to be signed."""
        amount = assertion.quantity
        if row.side == UPSTREAM and not self._usage_quantity:
            with contextlib.suppress(UnusableQuantity):
                amount = read_quantity(row.item.get("quantity"))
        if amount is not None:
            self._amounts.setdefault(assertion.link, {})[row.side] = amount

    def agreement(self) -> Agreement:
        """Compare the quantities of the links of which both ends state one."""
        both = [item for item in self._amounts.values() if len(item) == len(SIDES)]
        equal = sum(item[UPSTREAM].agrees(item[DOWNSTREAM]) for item in both)
        return Agreement(len(both), equal)

    def _validity(self, row: _Row) -> tuple[int | None, int | None]:
        period = row.item.get("validityPeriod")
        if not isinstance(period, Mapping):
            return None, None
        place = step(row.place, "validityPeriod")
        try:
            valid_from, valid_until = (_seconds(period.get(n)) for n in ("validFrom", "validTo"))
        except ValueError as err:
            self.note("validity_left_out", place, str(err))
            return None, None
        if valid_from is not None and valid_until is not None and valid_from >= valid_until:
            self.note("validity_left_out", place, "ends before it begins")
            return None, None
        return valid_from, valid_until


def _part_attributes(part: Aspect) -> Iterator[tuple[str, object, str]]:
    about = part.payload.get("partTypeInformation")
    if isinstance(about, Mapping):
        place = step(part.place, "partTypeInformation")
        yield "name", about.get("nameAtManufacturer"), step(place, "nameAtManufacturer")
        for name in ("manufacturerPartId", "customerPartId", "nameAtCustomer", "classification"):
            yield name, about.get(name), step(place, name)
    for name, value in local_identifiers(part).items():
        if name.isascii() and name != "manufacturerId":
            yield name, value, step(part.place, "localIdentifiers")
    made = part.payload.get("manufacturingInformation")
    if isinstance(made, Mapping):
        place = step(part.place, "manufacturingInformation")
        yield "manufacturedOn", made.get("date"), step(place, "date")
        yield "manufacturedIn", made.get("country"), step(place, "country")


def _documents(value: object, where: str, depth: int = 0) -> Iterator[tuple[str, object, str]]:
    """Yield (href, title, place) of the documents that a payload links to."""
    if depth > _MAX_DEPTH:
        return
    if isinstance(value, list):
        for index, item in enumerate(value):
            yield from _documents(item, f"{where}[{index}]", depth + 1)
    elif isinstance(value, Mapping):
        for name, member in value.items():
            stem = name.removesuffix("Link")
            if stem != name and isinstance(member, str) and member:
                title = value.get(f"{stem}Title", value.get(f"{stem}Name"))
                yield member, title, step(where, name)
            else:
                yield from _documents(member, step(where, name), depth + 1)


def _seconds(stamp: object) -> int | None:
    """Return an ISO 8601 time as whole seconds; without an offset it is UTC."""
    if stamp is None:
        return None
    try:
        moment = dt.datetime.fromisoformat(str(stamp))
    except ValueError:
        raise ValueError(f"{stamp!r} is not an ISO 8601 time") from None
    aware = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    seconds = int(aware.timestamp())
    if seconds < 0:
        raise ValueError(f"{stamp!r} lies before 1970")
    return seconds

"""Check the data integrity of a container: who vouches for a part, and does the part still fit.

An assembly carries a DataIntegrity aspect with one entry for each part in its bill of material:

    {"catenaXId", "childParts": [{"catenaXId", "references": [{"semanticModelUrn", "hash",
     "signature"}]}]}

    hash       hex SHA3-256 of the part's aspect (the payload), written as `verbatim` writes it
    signature  hex RSASSA-PKCS1-v1_5 with SHA-256 over the 32 bytes of that hash

An assembly among the parts has its own DataIntegrity aspect referenced, so that a vehicle vouches
for everything under it. A vehicle is a twin with parts (or such an aspect) that is part of no
other; from it the bill of material is walked down, and at each twin:

    1. it states each of its aspects once
    2. each row of its bill of material names a twin, and none that contains it
    3. where it has parts: it has a DataIntegrity aspect, its own, with an entry for each of them
       and for nothing else
    4. each reference: the part has the aspect, the hash is its hash, the signature is the key's
    5. the part has no aspect without a reference

Repeating an entry or an aspect word for word is no fault. A circle that no vehicle reaches is
walked from the first of its twins in the file.

Nothing vouches for a vehicle's own aspects: a part that was dropped from its bill of material and
from its entries goes unseen, unless the part is still in the file; then nothing vouches for it.
Nor does anything vouch for the `bpnl` of a twin, who is said to hold it.
"""

from __future__ import annotations

from collections.abc import Mapping

from schemas.errors import TooLarge

from . import verbatim
from .plan import Plan
from .report import Note
from .rsa_key import RsaKey
from .twins import read_twins
from .verdicts import CYCLE, VALID, Integrity, Tally, Vehicle
from .vouching import Judge, Part

MAX_STEPS = 2_000_000  # of all walks together: twins, their rows, and findings


def check(text: str | bytes, key: RsaKey | None = None) -> Integrity:
    """Check one document; raise BadInput where it is no container, TooLarge where walks explode.

    Pure. Without a key no vehicle is VALID, and signatures are not counted.
    """
    twins, _ = read_twins(verbatim.decode(text))
    parts = {twin.uuid: Part.of(twin) for twin in twins}
    _find_circles(parts)
    return _Walks(parts, key).result()


def withhold(plan: Plan, found: Integrity) -> tuple[Plan, tuple[Note, ...]]:
    """Return what of a plan a VALID vehicle reaches, and a note for everything that is left out."""
    notes = [
        Note(
            "vehicle_not_valid",
            vehicle.twin,
            f"{vehicle.verdict}: {vehicle.summary() or 'signatures are unchecked'}",
        )
        for vehicle in found.vehicles
        if vehicle.verdict != VALID
    ]
    notes += [
        Note("not_vouched_for", twin, "no vehicle reaches the twin") for twin in found.unvouched
    ]
    proven = found.proven
    return plan.only(lambda identifier: identifier.suffix in proven), tuple(notes)


def _find_circles(parts: Mapping[str, Part]) -> None:
    """Note each row that leads back to a twin above it (step 2); depth first, once over all."""
    done: set[str] = set()
    for start in parts:
        if start in done:
            continue
        above = {start}
        path = [(start, iter(parts[start].children))]
        while path:
            uuid, rest = path[-1]
            child = next(rest, None)
            if child is None:
                path.pop()
                above.remove(uuid)
                done.add(uuid)
            elif child in above:
                part = parts[uuid]
                reason = f"its bill of material leads back to urn:uuid:{child}, which contains it"
                part.find(CYCLE, reason, place=part.children[child])
            elif child in parts and child not in done:
                above.add(child)
                path.append((child, iter(parts[child].children)))


class _Walks:
    """The walks over one document; each twin is judged once, however many vehicles reach it."""

    def __init__(self, parts: Mapping[str, Part], key: RsaKey | None) -> None:
        self._parts = parts
        self._key = key
        self._judge = Judge(parts, key)
        self._judged: set[str] = set()
        self._steps = 0

    def result(self) -> Integrity:
        inner = {child for part in self._parts.values() for child in part.children}
        with_parts = [u for u, part in self._parts.items() if part.children or part.integrity]
        vehicles = [self._vehicle(uuid) for uuid in with_parts if uuid not in inner]
        reached = {part for vehicle in vehicles for part in vehicle.parts}
        for uuid in with_parts:
            if uuid not in reached:
                vehicles.append(self._vehicle(uuid))
                reached.update(vehicles[-1].parts)
        return Integrity(
            vehicles=tuple(vehicles),
            tally=sum((self._parts[uuid].tally for uuid in self._judged), Tally()),
            unvouched=tuple(f"urn:uuid:{uuid}" for uuid in self._parts if uuid not in reached),
            key=self._key.fingerprint if self._key else None,
        )

    def _vehicle(self, start: str) -> Vehicle:
        order = {start: None}
        level = [start]
        while level:
            below: dict[str, None] = {}
            for uuid in level:
                self._visit(uuid)
                below |= dict.fromkeys(self._parts[uuid].children)
            level = [uuid for uuid in below if uuid in self._parts and uuid not in order]
            order |= dict.fromkeys(level)
        found = [self._parts[uuid] for uuid in order]
        return Vehicle(
            twin=f"urn:uuid:{start}",
            bpnl=found[0].twin.bpnl,
            parts=tuple(order),
            tally=sum((part.tally for part in found), Tally()),
            findings=tuple(item for part in found for item in part.findings),
            with_key=self._key is not None,
        )

    def _visit(self, uuid: str) -> None:
        if uuid not in self._judged:
            self._judged.add(uuid)
            self._judge.judge(self._parts[uuid])
        part = self._parts[uuid]
        self._steps += 1 + len(part.children) + len(part.findings)
        if self._steps > MAX_STEPS:
            raise TooLarge(
                f"the vehicles of the document share so many parts that walks take over {MAX_STEPS}"
                " steps",
                fix="check its vehicles in several documents",
            )

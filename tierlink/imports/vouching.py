"""What one twin says of its parts, judged: entries, references, hashes, signatures.

The rules are numbered in `integrity`; here are all that look at one assembly and its parts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from schemas.errors import MAX_SHOWN, BadInput
from schemas.link import DOWNSTREAM

from . import verbatim
from .rows import far_uuid, listed, relation
from .rsa_key import RsaKey
from .twins import Aspect, Twin, array, mapping, read_uuid, refuse, step
from .verdicts import DUPLICATE, HASH, MALFORMED, MISSING, SIG, Finding, Tally

ASPECT = "DataIntegrity"
_DIGEST = re.compile(r"[0-9a-fA-F]{64}")
_SIGNATURE = re.compile(r"(?:[0-9a-fA-F]{2})+")


@dataclass(slots=True)
class Part:
    """A twin, what it is made of, and what was found wrong with it."""

    twin: Twin
    aspects: dict[str, Aspect] = field(default_factory=dict)  # by URN, the first of each
    children: dict[str, str] = field(default_factory=dict)  # uuid -> place of the first row
    findings: list[Finding] = field(default_factory=list)
    tally: Tally = field(default_factory=Tally)

    @classmethod
    def of(cls, twin: Twin) -> Part:
        """Read a twin (steps 1 and 2, circles excepted)."""
        part = cls(twin)
        for aspect in twin.aspects:
            # 1. compared the way it is hashed
            first = part.aspects.setdefault(aspect.urn, aspect)
            if first is not aspect and not _same(first.payload, aspect.payload):
                part.find(DUPLICATE, "another such aspect is before it", aspect)
            # 2. of repeated aspects too, because their rows are imported too
            part._read_children(aspect)
        return part

    def _read_children(self, aspect: Aspect) -> None:
        found = relation(aspect)
        if found is None or found.side != DOWNSTREAM:
            return
        with _Faults(self, aspect):
            for item, place in listed(aspect.payload, aspect.place, found.lists):
                with _Faults(self, aspect):
                    self.children.setdefault(far_uuid(item, place), place)

    @property
    def integrity(self) -> Aspect | None:
        """The aspect that vouches for the children."""
        return self.twin.newest((ASPECT,))

    def find(
        self,
        code: str,
        reason: str,
        aspect: Aspect | None = None,
        *,
        uuid: str = "",
        urn: str = "",
        place: str = "",
    ) -> None:
        """Note a fault of this twin or another, in an aspect or elsewhere."""
        self.findings.append(
            Finding(
                code,
                f"urn:uuid:{uuid or self.twin.uuid}",
                _shown(urn or (aspect.urn if aspect else "")),
                _shown(place or (aspect.place if aspect else self.twin.place)),
                _shown(reason),
            )
        )


class _Faults:
    """Turns BadInput into a finding, so that the check goes on behind what cannot be read."""

    def __init__(self, part: Part, aspect: Aspect, uuid: str = "") -> None:
        self._part = part
        self._aspect = aspect
        self._uuid = uuid

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, err: BaseException | None, trace: object) -> bool:
        if not isinstance(err, BadInput):
            return False
        self._part.find(MALFORMED, err.detail, self._aspect, uuid=self._uuid)
        return True


@dataclass(frozen=True, slots=True)
class _Reference:
    urn: str
    digest: bytes
    signature: bytes


class Judge:
    """Steps 3 to 5, for one assembly at a time; an aspect is hashed once."""

    def __init__(self, parts: Mapping[str, Part], key: RsaKey | None) -> None:
        self._parts = parts
        self._key = key
        self._digests: dict[tuple[str, str], bytes | str] = {}  # or why there is none

    def judge(self, part: Part) -> None:
        """Note what is wrong with what a twin says of its parts, and count what is right."""
        # 3
        aspect = part.integrity
        if aspect is None:
            if part.children:
                reason = f"has parts ({len(part.children)}) and no {ASPECT} aspect"
                part.find(MISSING, reason, urn=ASPECT)
            return
        own = step(aspect.place, "catenaXId")
        with _Faults(part, aspect):
            if read_uuid(aspect.payload.get("catenaXId"), own) != part.twin.uuid:
                refuse(own, "names another twin")
        with _Faults(part, aspect):
            entries = self._entries(part, aspect)
            for uuid, place in part.children.items():
                if uuid not in entries:
                    part.find(MISSING, "nothing vouches for the part", uuid=uuid, place=place)
            for uuid, (references, place) in entries.items():
                if uuid not in part.children:
                    reason = "the part is vouched for, and not in the bill of material"
                    part.find(MISSING, reason, uuid=uuid, place=place)
                self._judge_part(part, aspect, uuid, references, place)

    def _entries(self, part: Part, aspect: Aspect) -> dict[str, tuple[list[object], str]]:
        """Return the references for each part, and their place; raise BadInput without a list."""
        where = step(aspect.place, "childParts")
        found: dict[str, tuple[list[object], str]] = {}
        for index, item in enumerate(array(aspect.payload.get("childParts"), where)):
            place = f"{where}[{index}]"
            with _Faults(part, aspect):
                entry = mapping(item, place)
                uuid = read_uuid(entry.get("catenaXId"), step(place, "catenaXId"))
                at = step(place, "references")
                references = array(entry.get("references"), at)
                known, _ = found.setdefault(uuid, (references, at))
                if known is not references and not _same(known, references):
                    reason = "another entry for the part is before it"
                    part.find(DUPLICATE, reason, aspect, uuid=uuid, place=place)
        return found

    def _judge_part(
        self, part: Part, aspect: Aspect, uuid: str, references: list[object], where: str
    ) -> None:
        child = self._parts.get(uuid)
        if child is None:
            part.find(MISSING, "the twin is not in the file", uuid=uuid, place=where)
        if not references:
            part.find(MISSING, "the entry has no reference", aspect, uuid=uuid, place=where)
        seen: dict[str, _Reference] = {}
        for index, item in enumerate(references):
            place = f"{where}[{index}]"
            part.tally += Tally(1)
            with _Faults(part, aspect, uuid):
                reference = _read_reference(mapping(item, place), place)
                if seen.setdefault(reference.urn, reference) != reference:
                    reason = "another reference to the aspect is before it"
                    part.find(DUPLICATE, reason, uuid=uuid, urn=reference.urn, place=place)
                self._judge_reference(part, uuid, reference, place)
        # 5
        for urn, unseen in child.aspects.items() if child else ():
            if urn not in seen and references:
                part.find(MISSING, "nothing vouches for the aspect", unseen, uuid=uuid)

    def _judge_reference(self, part: Part, uuid: str, reference: _Reference, place: str) -> None:
        # 4
        child = self._parts.get(uuid)
        aspect = child.aspects.get(reference.urn) if child else None
        hashed = aspect is not None and self._digest(uuid, aspect) == reference.digest
        if aspect is not None and not hashed:
            reason = "the aspect does not have the hash that was signed"
            part.find(HASH, reason, uuid=uuid, urn=reference.urn, place=place)
        elif child is not None and aspect is None:
            reason = "there is a reference to the aspect, and no such aspect"
            part.find(MISSING, reason, uuid=uuid, urn=reference.urn, place=place)
        signed = self._key is not None and self._key.verifies(reference.signature, reference.digest)
        if self._key is not None and not signed:
            part.find(SIG, self._mismatch(reference), uuid=uuid, urn=reference.urn, place=place)
        part.tally += Tally(0, int(hashed), int(signed))

    def _mismatch(self, reference: _Reference) -> str:
        assert self._key is not None
        octets, wanted = len(reference.signature), self._key.signature_bytes
        if octets != wanted:
            return f"the signature has {octets} bytes, those of the key have {wanted}"
        return "the signature is not by the key"

    def _digest(self, uuid: str, aspect: Aspect) -> bytes:
        """Return the hash of an aspect; raise BadInput where it cannot be written."""
        found = self._digests.get((uuid, aspect.urn))
        if found is None:
            try:
                found = hashlib.sha3_256(verbatim.encode(aspect.payload)).digest()
            except BadInput as err:
                found = err.detail
            self._digests[uuid, aspect.urn] = found
        if isinstance(found, str):
            refuse(aspect.place, found)
        return found


def _read_reference(item: Mapping[str, object], where: str) -> _Reference:
    urn = item.get("semanticModelUrn")
    if not isinstance(urn, str):
        refuse(step(where, "semanticModelUrn"), "is missing" if urn is None else "is not text")
    digest = _hex(item, "hash", where, _DIGEST, "64 hexadecimal digits")
    signature = _hex(item, "signature", where, _SIGNATURE, "an even number of hexadecimal digits")
    return _Reference(urn, digest, signature)


def _hex(
    item: Mapping[str, object], name: str, where: str, form: re.Pattern[str], said: str
) -> bytes:
    text = item.get(name)
    if not isinstance(text, str) or not form.fullmatch(text):
        refuse(step(where, name), "is missing" if text is None else f"is not {said}")
    return bytes.fromhex(text)


def _same(one: object, other: object) -> bool:
    try:
        return verbatim.encode(one) == verbatim.encode(other)
    except BadInput:
        return False


def _shown(text: str) -> str:
    """Return foreign text short, and such that it has UTF-8."""
    shown = text if len(text) <= 2 * MAX_SHOWN else text[: 2 * MAX_SHOWN] + "…"
    return shown.encode("utf-8", "backslashreplace").decode()

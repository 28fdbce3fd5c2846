"""What a check of integrity found: a verdict for each vehicle, and a finding for each fault.

    VALID       everything under the vehicle has the signed hash, signed by the key
    INVALID     at least one finding
    UNCHECKED   no finding, and no key by which signatures could have been checked

It is the view of whoever checked, with the key that he trusts: it stands in a report, and in no
signed record.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

VALID, INVALID, UNCHECKED = "VALID", "INVALID", "UNCHECKED"

HASH = "HASH"  # an aspect no longer has the hash that was signed
SIG = "SIG"  # the signature over a hash is not by the key
MISSING = "MISSING"  # something is named and not there, or is there and nothing vouches for it
MALFORMED = "MALFORMED"  # it cannot be read
DUPLICATE = "DUPLICATE"  # it is stated twice, and differently
CYCLE = "CYCLE"  # a part contains what contains it


@dataclass(frozen=True, slots=True)
class Finding:
    """One fault: of which twin (`urn:uuid:…`) and aspect, where in the file, and what it is."""

    code: str
    twin: str
    aspect: str
    place: str
    reason: str

    def document(self) -> dict[str, str]:
        """Return the finding as JSON."""
        return {
            "code": self.code,
            "twin": self.twin,
            "aspect": self.aspect,
            "place": self.place,
            "reason": self.reason,
        }


@dataclass(frozen=True, slots=True)
class Tally:
    """References, and how many of them have the right hash and the right signature."""

    references: int = 0
    hashes: int = 0
    signatures: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.references + other.references,
            self.hashes + other.hashes,
            self.signatures + other.signatures,
        )

    def document(self, *, with_key: bool) -> dict[str, int | None]:
        """Return the figures as JSON; without a key there is none for signatures."""
        return {
            "references": self.references,
            "hashes": self.hashes,
            "signatures": self.signatures if with_key else None,
        }


@dataclass(frozen=True, slots=True)
class Vehicle:
    """One vehicle: `parts` are the twins (bare UUIDs) that it reaches, itself first."""

    twin: str
    bpnl: str
    parts: tuple[str, ...]
    tally: Tally
    findings: tuple[Finding, ...]
    with_key: bool

    @property
    def verdict(self) -> str:
        """VALID, INVALID or UNCHECKED."""
        if self.findings:
            return INVALID
        return VALID if self.with_key else UNCHECKED

    def summary(self) -> str:
        """Return how often each kind of finding was made, such as `4 SIG`."""
        found = Counter(item.code for item in self.findings)
        return ", ".join(f"{count} {code}" for code, count in sorted(found.items()))

    def document(self) -> dict[str, object]:
        """Return the vehicle as JSON."""
        return {
            "twin": self.twin,
            "bpnl": self.bpnl,
            "verdict": self.verdict,
            "parts": len(self.parts),
            **self.tally.document(with_key=self.with_key),
            "findings": [item.document() for item in self.findings],
        }


@dataclass(frozen=True, slots=True)
class Integrity:
    """A document: `tally` counts each reference once; no vehicle reaches an `unvouched` twin."""

    vehicles: tuple[Vehicle, ...]
    tally: Tally
    unvouched: tuple[str, ...]
    key: str | None = None  # fingerprint

    @property
    def verdict(self) -> str:
        """INVALID where any vehicle is, VALID where all are; with neither it cannot be told."""
        found = {vehicle.verdict for vehicle in self.vehicles}
        return INVALID if INVALID in found else VALID if found == {VALID} else UNCHECKED

    @property
    def proven(self) -> frozenset[str]:
        """The twins (bare UUIDs) that a VALID vehicle reaches."""
        return frozenset(
            part for item in self.vehicles if item.verdict == VALID for part in item.parts
        )

    def document(self) -> dict[str, object]:
        """Return the result as JSON."""
        return {
            "verdict": self.verdict,
            "key": self.key,
            **self.tally.document(with_key=self.key is not None),
            "vehicles": [item.document() for item in self.vehicles],
            "unvouched": list(self.unvouched),
        }

"""Leaves: what the transparency log says of everything that was accepted, and nothing more.

A leaf is text, each line ended by a newline. It names no identifier and holds no body: a salted
commitment stands for the subject, so that whoever was given the salt can look for a leaf and
nobody else can list what a prefix holds.

    tierlink-leaf/v1
    <what>              record · link · delegation · status · revocation · batch · grant · notice
    <prefix>
    <b64u SHA-256(salt ‖ subject)>
    <version>
    <b64u SHA-256(envelope)>

    tierlink-epoch/v1
    <epoch>             1, 2, 3, …
    <size>              leaves of this log that the maps cover
    <b64u root of the map of identifiers>
    <b64u root of the map of prefixes>

The subject is the identifier of a record, `link key/side/…` of an assertion, the prefix of a
delegation, the kid of a revocation, `grant/id/…` of a grant, `notice/id` of a notice, the word
`recovery` where one is announced or given up. The salt belongs to the prefix, and is told with the
proof of any of its records: what ends in … has in its place what nobody else can guess. A status
leaf stands for no envelope: `status_digest` says what it carries instead, and `recovery_digest`
what a revocation leaf about a recovery does.
"""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Self

from .errors import BadInput, VerifyError
from .identifier import Prefix
from .keys import B64, b64decode, b64encode, sha256

LEAF_HEAD, EPOCH_HEAD = "tierlink-leaf/v1", "tierlink-epoch/v1"
SALT_BYTES = DIGEST_BYTES = 32
MAX_LEAF = 2048  # bytes

RECOVERY = "recovery"  # no kid has eight characters

_SUSPENDED = "tierlink-suspended"
_ANNOUNCED, _WITHDRAWN = "tierlink-recovery", "tierlink-recovery-withdrawn"
_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")


class What(enum.StrEnum):
    """What kind of statement a leaf stands for."""

    RECORD = "record"
    LINK = "link"
    DELEGATION = "delegation"
    STATUS = "status"
    REVOCATION = "revocation"
    BATCH = "batch"
    GRANT = "grant"
    NOTICE = "notice"


def commitment(salt: bytes, subject: str) -> B64:
    """Return what stands in a leaf for its subject."""
    return b64encode(sha256(salt + subject.encode()))


def status_digest(delegation: B64, *, suspended: bool) -> B64:
    """Return what stands in a status leaf, given the digest of the delegation it is about.

    That of a suspension is another, so that the map of prefixes does not vouch for a delegation
    that is suspended; a resumption brings the delegation's own digest back.
    """
    return b64encode(sha256(f"{_SUSPENDED}\n{delegation}".encode())) if suspended else delegation


def recovery_digest(delegation: B64, *, withdrawn: bool) -> B64:
    """Return what stands in the leaf by which a recovery is announced, or given up again.

    `delegation` is the digest of the delegation that waits. Both leaves are of the kind
    revocation, which enters no map: what waits is not in force.
    """
    word = _WITHDRAWN if withdrawn else _ANNOUNCED
    return b64encode(sha256(f"{word}\n{delegation}".encode()))


@dataclass(frozen=True, slots=True)
class Leaf:
    """One accepted statement."""

    what: What
    prefix: Prefix
    subject: B64
    version: int
    digest: B64

    @property
    def entry(self) -> bytes:
        """The bytes that are hashed into the log."""
        return (
            f"{LEAF_HEAD}\n{self.what.value}\n{self.prefix}\n{self.subject}\n{self.version}\n"
            f"{self.digest}\n"
        ).encode()

    @classmethod
    def parse(cls, entry: bytes) -> Self:
        """Read a leaf; raise VerifyError E_FORMAT."""
        what, prefix, subject, version, digest = _lines(entry, LEAF_HEAD, 5)
        try:
            found = cls(
                What(what), Prefix.parse(prefix), _hash(subject), _number(version), _hash(digest)
            )
        except (ValueError, BadInput) as err:
            raise VerifyError("E_FORMAT", f"not a leaf: {err}") from None
        return found


@dataclass(frozen=True, slots=True)
class Epoch:
    """The roots of both verifiable maps over the first `size` leaves of the log."""

    number: int
    size: int
    identifiers: bytes
    prefixes: bytes

    @property
    def entry(self) -> bytes:
        """The bytes that are hashed into the log."""
        roots = (b64encode(self.identifiers), b64encode(self.prefixes))
        lines = (EPOCH_HEAD, self.number, self.size, *roots)
        return "".join(f"{line}\n" for line in lines).encode()

    @classmethod
    def parse(cls, entry: bytes) -> Self:
        """Read an epoch leaf; raise VerifyError E_FORMAT."""
        number, size, identifiers, prefixes = _lines(entry, EPOCH_HEAD, 4)
        roots = (b64decode(_hash(identifiers)), b64decode(_hash(prefixes)))
        return cls(_number(number), _number(size), *roots)


def _lines(entry: bytes, head: str, count: int) -> list[str]:
    if len(entry) > MAX_LEAF:
        raise VerifyError("E_LIMIT", f"a leaf has at most {MAX_LEAF} bytes")
    try:
        lines = entry.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise VerifyError("E_FORMAT", "a leaf is ASCII text") from None
    if len(lines) != count + 2 or lines[0] != head or lines[-1]:
        raise VerifyError("E_FORMAT", f"not a leaf of the form {head}")
    return lines[1:-1]


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise VerifyError("E_FORMAT", "not a plain number", value=text)
    return int(text)


def _hash(text: str) -> B64:
    try:
        found = b64decode(text)
    except VerifyError as err:
        raise VerifyError("E_FORMAT", err.detail, value=text) from None
    if len(found) != DIGEST_BYTES:
        raise VerifyError("E_FORMAT", "not a SHA-256 digest", value=text)
    return B64(text)

"""The seam between those who read signed statements and the two forms these come in.

    envelope   header.payload.signature [~header..signature …]      `schemas.envelope`
    batched    payload~index~path~statement                         `schemas.batched`

Both parse to an `Envelope`. Whoever reads records or assertions comes through here; roots,
delegations and statements themselves are always envelopes.

That a batch statement is signed is remembered, so that a million records of one cost one check of
its signature and the hashing of their paths.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from . import batched, envelope
from .envelope import Envelope, Keys
from .errors import VerifyError
from .identifier import Prefix
from .keys import PublicKey

MAX_TOKEN = max(envelope.MAX_TOKEN, batched.MAX_TOKEN)

__all__ = [
    "MAX_TOKEN",
    "check",
    "check_speaks",
    "is_compact",
    "parse",
    "signers",
    "type_of",
    "verify",
]


def parse(token: object, typ: str) -> Envelope:
    """Read a signed statement of a type, its signature unchecked; raise VerifyError only."""
    if isinstance(token, str) and _is_batched(token):
        return batched.parse(token, typ)
    return envelope.parse(token, typ)


def _is_batched(token: str) -> bool:
    # An envelope begins with a header and a dot, also where more signatures follow.
    end = token.find("~")
    return end >= 0 and "." not in token[:end]


def is_compact(token: str) -> bool:
    """Tell whether a token is a JWS in compact form, and nothing else (RFC 7515 §7.1)."""
    return "~" not in token


def check(found: Envelope, keys: Keys) -> PublicKey:
    """Check every signature of what was parsed; return the first's key; raise VerifyError."""
    return envelope.check(found, keys) if found.statement is None else signers(found, keys)[0]


def signers(found: Envelope, keys: Keys) -> tuple[PublicKey, ...]:
    """Check every signature of what was parsed; return the keys, all distinct, the first first.

    Raise VerifyError where a single one is not by a key of `keys`, or does not hold.
    """
    if found.statement is None:
        return envelope.signers(found, keys)
    known = {kid: keys[kid] for kid in found.kids if kid in keys}
    return _signers(found.statement.token, _Known(known))


@dataclass(frozen=True, slots=True)
class _Known:
    """Keys by kid. A kid is the key's thumbprint, so that the kids alone tell them apart."""

    keys: Keys

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Known) and self.keys.keys() == other.keys.keys()

    def __hash__(self) -> int:
        return hash(frozenset(self.keys))


@lru_cache(maxsize=256)
def _signers(statement: str, known: _Known) -> tuple[PublicKey, ...]:
    # Only what holds is remembered: what raises is checked again.
    return envelope.signers(batched.parse_statement(statement).envelope, known.keys)


def check_speaks(found: Envelope, prefix: Prefix, at: int) -> None:
    """Refuse what is batched under another prefix's statement, or one not valid at `at`.

    Raise VerifyError E_SCOPE or E_TIME. An envelope names no prefix of its own and passes.
    """
    statement = batched.statement_of(found)
    if statement is not None:
        statement.check_speaks(prefix, at)


def type_of(token: object) -> str | None:
    """Return the type that a token states, of either form; None where it states none."""
    if not isinstance(token, str):
        return None
    if not _is_batched(token):
        return envelope.type_of(token)
    try:
        return batched.parse_statement(token.split("~", 3)[-1]).of
    except VerifyError:
        return None


def verify(token: object, typ: str, keys: Keys) -> Envelope:
    """Parse and check; raise VerifyError and nothing else."""
    found = parse(token, typ)
    check(found, keys)
    return found

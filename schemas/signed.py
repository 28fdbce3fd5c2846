"""The seam between those who read signed statements and the two forms these come in.

    envelope   header.payload.signature [~header..signature …]      `schemas.envelope`
    batched    payload~index~path~statement                         `schemas.batched`

Both parse to an `Envelope`. Whoever reads records or assertions comes through here; roots,
delegations and statements themselves are always envelopes.
"""

from __future__ import annotations

from . import envelope
from .envelope import Envelope, Keys
from .keys import PublicKey

__all__ = ["check", "parse", "verify"]


def parse(token: object, typ: str) -> Envelope:
    """Read a signed statement of a type, its signature unchecked; raise VerifyError only."""
    return envelope.parse(token, typ)


def check(found: Envelope, keys: Keys) -> PublicKey:
    """Check the signature of a parsed statement; return the key it is by; raise VerifyError."""
    return envelope.check(found, keys)


def verify(token: object, typ: str, keys: Keys) -> Envelope:
    """Parse and check; raise VerifyError and nothing else."""
    found = parse(token, typ)
    check(found, keys)
    return found

"""Objections: a holder's word, by its `rotate` keys, that a recovery of its prefix is not wanted.

Members (`typ` tierlink-objection+jws):

    v 1 · prefix · delegation (digest of the delegation that waits) · iat

It is signed as a rotation would be: by as many rotate keys of the delegation that stands as that
asks for, and by no other. It needs no place in a chain, for it only keeps something out of it.
"""

from __future__ import annotations

from .delegation import ROTATE_USE, Delegation
from .envelope import cosign, digest, parse, sign, signers
from .errors import VerifyError
from .identifier import Prefix
from .keys import Signer

OBJECTION = "tierlink-objection+jws"
OBJECTION_SECONDS = 600  # how long after its iat it is taken


def sign_objection(
    prefix: Prefix, delegation: str, issued_at: int, signer: Signer, *more: Signer
) -> str:
    """Object to the recovery of a prefix by a delegation, given as its envelope."""
    claims = {"v": 1, "prefix": str(prefix), "delegation": digest(delegation), "iat": issued_at}
    token = sign(OBJECTION, claims, signer)
    for item in more:
        token = cosign(token, item)
    return token


def check_objection(token: object, standing: Delegation, delegation: str, now: int) -> None:
    """Check an objection to the delegation that waits by the one that stands; raise VerifyError."""
    envelope = parse(token, OBJECTION)
    expected = {"v": 1, "prefix": str(standing.subject), "delegation": digest(delegation)}
    claims = envelope.claims
    if {name: claims.get(name) for name in expected} != expected or len(claims) != 4:  # noqa: PLR2004
        raise VerifyError("E_ID", "the objection is to another recovery than the one that waits")
    issued_at = claims.get("iat")
    if type(issued_at) is not int or abs(now - issued_at) > OBJECTION_SECONDS:
        raise VerifyError("E_TIME", "the objection is not of this moment", value=issued_at)
    able = {
        kid: key
        for kid, key in standing.keys_for(ROTATE_USE, now).items()
        if standing.revocation(kid) is None
    }
    found = signers(envelope, able)
    if len(found) < standing.threshold(ROTATE_USE):
        raise VerifyError(
            "E_CHAIN",
            f"{standing.subject} needs {standing.threshold(ROTATE_USE)} keys to rotate, "
            f"{len(found)} sign",
        )

"""Verdicts: what was checked offline, who signed it, and by which chain they may speak."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from schemas import canonical
from schemas.answer import Verified, verify_answer, verify_record
from schemas.canonical import JsonObject
from schemas.chain import Chain, Trust, index
from schemas.delegation import within
from schemas.envelope import LINK, RECORD, Envelope, parse
from schemas.errors import BadIdentifier, BadInput, VerifyError
from schemas.keys import b64decode
from schemas.link import Assertion, read_assertion

from .context import open_trust

Given: TypeAlias = "bytes | str | Mapping[str, object]"

RECORD_THING, LINK_THING, ANSWER_THING = "record", "link", "answer"


@dataclass(frozen=True, slots=True)
class Delegated:
    """One step of a chain: a prefix and whom its parent says holds it."""

    prefix: str
    organisation: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verified. There is none for what does not verify: that raises VerifyError.

    `expired` holds the codes of what was true when it was signed and is no longer at the time
    asked about; `current` says that there are none. `kid` is the key that signed `about`.
    """

    thing: str
    about: str
    kid: str
    chain: tuple[Delegated, ...]
    expired: tuple[str, ...] = ()

    @property
    def current(self) -> bool:
        """Tell whether it holds at the time asked about, not only when it was signed."""
        return not self.expired

    def document(self) -> dict[str, object]:
        """Return the verdict as JSON."""
        return {
            "valid": self.current,
            "code": self.expired[0] if self.expired else "ok",
            "thing": self.thing,
            "identifier": self.about,
            "kid": self.kid,
            "chain": [
                {"prefix": item.prefix, "organisation": item.organisation} for item in self.chain
            ],
            "expired": list(self.expired),
        }


def verify(given: Given, trust: Trust | Path | str, *, at: float | None = None) -> Verdict:
    """Verify a resolve answer (JSON), or the bare envelope of a record or link, offline.

    `trust` is a bundle or the path of a trust.json; `at` the time to judge validity by, in Unix
    seconds, now by default. Raises VerifyError with a verdict code on whatever is not exactly
    what was signed, also on input that is no JSON at all.
    """
    return judge(given, open_trust(trust), int(time.time() if at is None else at))


def judge(given: Given, trust: Trust, at: int) -> Verdict:
    """Verify as `verify` does, with everything given."""
    if isinstance(given, Mapping):
        # Through JSON once: what is verified is what could have been sent.
        given = json.dumps(given, ensure_ascii=False)
    raw = given.encode("utf-8", "surrogatepass") if isinstance(given, str) else given
    token = raw.strip()
    if not token.startswith(b"{") and token.count(b".") == 2:  # noqa: PLR2004  header.payload.signature
        return verify_envelope(token.decode("latin-1"), trust, at)
    document = canonical.decode_object(raw)
    return verdict(verify_answer(document, trust, at), document, trust)


def verify_envelope(token: str, trust: Trust, at: int) -> Verdict:
    """Verify one bare envelope by the delegations that `trust` knows; raise VerifyError."""
    if _type(token) != LINK:
        found = verify_record(token, trust, at)
        record = found.parts.records[0]
        chain = trust.chain(record.identifier.prefix)
        kid = parse(token, RECORD).kid
        return Verdict(RECORD_THING, record.identifier.text, kid, steps(chain), found.expired)
    envelope, assertion, chain = verify_assertion(token, trust)
    valid = within(at, assertion.valid_from, assertion.valid_until)
    return Verdict(
        LINK_THING,
        f"{assertion.link.upstream} → {assertion.link.downstream}",
        envelope.kid,
        steps(chain),
        () if valid else ("E_TIME",),
    )


def verify_assertion(token: object, trust: Trust) -> tuple[Envelope, Assertion, Chain]:
    """Verify one link assertion, standing or withdrawn; raise VerifyError."""
    envelope, assertion = read_link(token)
    prefix = assertion.asserter.prefix
    chain = trust.chain(prefix)
    chain.check_speaker(envelope, prefix, assertion.issued_at)
    return envelope, assertion, chain


def read_link(token: object) -> tuple[Envelope, Assertion]:
    """Read a link's envelope, its signature unchecked; raise VerifyError."""
    envelope = parse(token, LINK)
    try:
        return envelope, read_assertion(envelope.claims)
    except VerifyError:
        raise
    except BadInput as err:
        code = "E_ID" if err.code == BadIdentifier.code else "E_FORMAT"
        raise VerifyError(code, err.detail, value=err.value) from err


def verdict(verified: Verified, document: JsonObject, trust: Trust) -> Verdict:
    """Describe an answer that has verified."""
    first = verified.parts.records[0]
    proof = document.get("proof")
    offered = proof.get("chain") if isinstance(proof, dict) else None
    chain = trust.chain(
        first.identifier.prefix, index(offered if isinstance(offered, list) else ())
    )
    kid = parse(document.get("envelope"), RECORD).kid
    return Verdict(
        ANSWER_THING, verified.parts.identifier.text, kid, steps(chain), verified.expired
    )


def steps(chain: Chain) -> tuple[Delegated, ...]:
    """Return who holds what along a validated chain, the root first."""
    return tuple(
        Delegated(str(item.subject), str(item.organisation.get("name", "")))
        for item in chain.delegations
    )


def _type(token: str) -> object:
    """Return what an envelope says it is; where it says nothing, its verifier will say why."""
    try:
        return canonical.decode_object(b64decode(token.partition(".")[0])).get("typ")
    except VerifyError:
        return None

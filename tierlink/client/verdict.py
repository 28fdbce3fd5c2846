"""Verdicts: what was checked offline, who signed it, and by which chain they may speak."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeAlias

from schemas import canonical, proof
from schemas.answer import Verified, verify_answer, verify_record
from schemas.canonical import JsonObject
from schemas.chain import Chain, Trust, index
from schemas.delegation import within
from schemas.envelope import LINK, RECORD, Envelope
from schemas.errors import BadIdentifier, BadInput, VerifyError
from schemas.link import Assertion, read_assertion
from schemas.proof import MAX_DOCUMENT
from schemas.signed import parse, type_of
from schemas.verdict import INDETERMINATE, INVALID, VALID, Finding, Verdict as Proved

from .context import open_trust

Given: TypeAlias = "bytes | str | Mapping[str, object]"

RECORD_THING, LINK_THING, ANSWER_THING, BUNDLE_THING = "record", "link", "answer", "bundle"


@dataclass(frozen=True, slots=True)
class Delegated:
    """One step of a chain: a prefix and whom its parent says holds it."""

    prefix: str
    organisation: str


@dataclass(frozen=True, slots=True)
class Logged:
    """What a log proved. Times are Unix seconds, None where no quorum of witnesses tells them.

    `logged_by` is when the record was in the log at the latest; `newest_at` as of when nothing is
    newer. `version` and `status` are the record's, of a class where that covers the identifier;
    None where it is proved that there is no record.
    """

    origin: str
    size: int
    epoch: int
    witnesses: tuple[str, ...]
    logged_by: int | None
    newest_at: int | None
    version: int | None = None
    status: str | None = None
    covered_by: str | None = None

    @property
    def exists(self) -> bool:
        """Tell whether a record answers for the identifier."""
        return self.version is not None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What verified. There is none for what does not verify: that raises VerifyError.

    `kid` is the key that signed `about`. `codes` holds what is amiss at the time asked about,
    though nothing is false; `valid_at_issue` and `currency` are `valid`, `invalid` or
    `indeterminate` each. `logged` is None where no log had a say.
    """

    thing: str
    about: str
    kid: str
    chain: tuple[Delegated, ...]
    codes: tuple[Finding, ...] = ()
    valid_at_issue: str = VALID
    currency: str = VALID
    logged: Logged | None = None

    @property
    def state(self) -> str:
        """The worse of the two verdicts."""
        verdicts = (self.valid_at_issue, self.currency)
        return next((word for word in (INVALID, INDETERMINATE) if word in verdicts), VALID)

    @property
    def current(self) -> bool:
        """Tell whether it holds at the time asked about, not only when it was signed."""
        return self.currency == VALID

    @property
    def expired(self) -> tuple[str, ...]:
        """The codes of what was true when it was signed and is no longer."""
        return tuple(item.code for item in self.codes) if self.currency == INVALID else ()

    def document(self) -> dict[str, object]:
        """Return the verdict as JSON."""
        found: dict[str, object] = {
            "valid": self.state == VALID,
            "state": self.state,
            "code": self.codes[0].code if self.codes else "ok",
            "codes": [item._asdict() for item in self.codes],
            "valid_at_issue": self.valid_at_issue,
            "current": self.currency,
            "thing": self.thing,
            "identifier": self.about,
            "kid": self.kid,
            "chain": [
                {"prefix": item.prefix, "organisation": item.organisation} for item in self.chain
            ],
            "expired": list(self.expired),
        }
        if self.logged is None:
            return found
        return {**found, "log": {"exists": self.logged.exists, **asdict(self.logged)}}


def refused(err: VerifyError) -> dict[str, object]:
    """Return the verdict on what does not verify as JSON, with what helps to find out why."""
    return {
        "valid": False,
        "state": INVALID,
        "codes": [Finding(err.code, err.detail)._asdict()],
        "valid_at_issue": INVALID,
        "current": INVALID,
        **err.problem(),
    }


def verify(given: Given, trust: Trust | Path | str, *, at: float | None = None) -> Verdict:
    """Verify an answer or a proof bundle (JSON), or the bare envelope of a record or link, offline.

    `trust` is a bundle or the path of a trust.json; `at` the time to judge validity by, in Unix
    seconds, now by default. Raises VerifyError with a verdict code on whatever is not exactly
    what was signed, also on input that is no JSON at all. What has expired, or cannot be told, is
    returned and says so.
    """
    return judge(given, open_trust(trust), int(time.time() if at is None else at))


def judge(given: Given, trust: Trust, at: int) -> Verdict:
    """Verify as `verify` does, with everything given."""
    if isinstance(given, Mapping):
        # Through JSON once: what is verified is what could have been sent.
        given = json.dumps(given, ensure_ascii=False)
    raw = given.encode("utf-8", "surrogatepass") if isinstance(given, str) else given
    token = raw.strip()
    if b'"' not in token and token.count(b".") >= 2:  # noqa: PLR2004  header.payload.signature
        return verify_envelope(token.decode("latin-1"), trust, at)
    if len(raw) > MAX_DOCUMENT:
        raise VerifyError("E_LIMIT", f"{len(raw)} bytes, the limit is {MAX_DOCUMENT}")
    document = canonical.decode_object(raw)
    if has_log(document):
        return proved(proof.verify(document, trust, at), document)
    return verdict(verify_answer(document, trust, at), document, trust)


def has_log(document: JsonObject) -> bool:
    """Tell a bundle or full answer, of which a log has a say, from a plain answer."""
    parts = document.get("proof")
    return "v" in document or (isinstance(parts, dict) and "log" in parts)


def proved(found: Proved, document: JsonObject) -> Verdict:
    """Describe a bundle or full answer that has verified."""
    assert found.identifier is not None
    assert found.chain is not None
    exists = found.parts is not None
    return Verdict(
        BUNDLE_THING if "v" in document else ANSWER_THING,
        found.identifier.text,
        parse(document.get("envelope"), RECORD).kid if exists else "",
        steps(found.chain),
        found.codes,
        found.valid_at_issue,
        found.current,
        Logged(
            found.origin or "",
            found.size or 0,
            found.epoch or 0,
            found.witnesses,
            found.proved_at,
            found.newest_at,
            *_shown(found),
        ),
    )


def _shown(found: Proved) -> tuple[int | None, str | None, str | None]:
    if found.parts is None:
        return None, None, None
    first = found.parts.records[0]
    return first.version, first.status, first.identifier.text if found.parts.covered else None


def verify_envelope(token: str, trust: Trust, at: int) -> Verdict:
    """Verify one bare envelope by the delegations that `trust` knows; raise VerifyError."""
    if type_of(token) != LINK:
        found = verify_record(token, trust, at)
        record = found.parts.records[0]
        chain = trust.chain(record.identifier.prefix)
        kid = parse(token, RECORD).kid
        return _plain(RECORD_THING, record.identifier.text, kid, chain, found.expired)
    envelope, assertion, chain = verify_assertion(token, trust)
    valid = within(at, assertion.valid_from, assertion.valid_until)
    return _plain(
        LINK_THING,
        f"{assertion.link.upstream} → {assertion.link.downstream}",
        envelope.kid,
        chain,
        () if valid else ("E_TIME",),
    )


def _plain(thing: str, about: str, kid: str, chain: Chain, expired: tuple[str, ...]) -> Verdict:
    """Describe what was verified by signatures alone."""
    codes = tuple(
        Finding(code, "valid when it was issued, and not at this time") for code in expired
    )
    return Verdict(thing, about, kid, steps(chain), codes, VALID, INVALID if codes else VALID)


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
    parts = document.get("proof")
    offered = parts.get("chain") if isinstance(parts, dict) else None
    chain = trust.chain(
        first.identifier.prefix, index(offered if isinstance(offered, list) else ())
    )
    kid = parse(document.get("envelope"), RECORD).kid
    about = verified.parts.identifier.text
    return _plain(ANSWER_THING, about, kid, chain, verified.expired)


def steps(chain: Chain) -> tuple[Delegated, ...]:
    """Return who holds what along a validated chain, the root first."""
    return tuple(
        Delegated(str(item.subject), str(item.organisation.get("name", "")))
        for item in chain.standing
    )

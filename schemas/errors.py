"""The one exception tree: a stable code, an HTTP status, a title, and the cure.

    TierlinkError                   500 internal
    ├── BadInput                    400 input_invalid
    │   ├── BadIdentifier           400 identifier_invalid   names the character and its position
    │   ├── BadRecord               400 record_invalid
    │   ├── BadLink                 400 link_invalid
    │   ├── BadGrant                400 grant_invalid
    │   ├── BadNotice               400 notice_invalid
    │   ├── BadEvent                400 epcis_invalid        names the event and its member
    │   ├── BadQuery                400 query_invalid
    │   └── VerifyError             400 E_…                  a verdict of envelope, chain, answer
    ├── Unauthenticated             401 unauthenticated
    ├── Forbidden                   403 forbidden
    │   ├── Suspended               403 suspended
    │   └── PrefixSuspended         403 prefix_suspended
    ├── NotFound                    404 not_found
    │   ├── IdentifierNotFound      404 identifier_not_found
    │   ├── PrefixNotFound          404 prefix_not_found
    │   ├── TargetNotFound          404 target_not_found
    │   └── NoLog                   404 no_log
    ├── MethodNotAllowed            405 method_not_allowed
    ├── NotAcceptable               406 not_acceptable
    ├── Conflict                    409 conflict
    │   ├── AlreadyRegistered       409 already_registered
    │   ├── HasChildren             409 has_children
    │   ├── ParentUnfit             409 parent_unfit
    │   ├── KeyNotHosted            409 key_not_hosted
    │   └── PrefixElsewhere         409 prefix_elsewhere     another node serves the prefix
    ├── Retired                     410 retired
    ├── VersionStale                412 version_stale
    ├── TooLarge                    413 too_large
    ├── Unsupported                 415 media_type_unsupported
    ├── PreconditionRequired        428 precondition_required
    └── Unavailable                 503 unavailable          carries retry_after
        ├── TooManyUnknown          429 too_many_unknown
        ├── ProofPending            503 proof_pending
        └── PeerFailed              502 peer_failed          names the node, and why
            └── PeerUnreachable     503 peer_unreachable

Raised early with the offending value; translated once, at an edge: `problem()` for HTTP
(RFC 9457), an exit code on the command line. Anything else that escapes is a bare 500.
"""

from __future__ import annotations

from typing import ClassVar

MAX_SHOWN = 200  # characters of an offending value repeated to whoever sent it


class TierlinkError(Exception):
    """A fault with a code that programs can rely on and a cure that people can follow."""

    code: str = "internal"
    status: ClassVar[int] = 500
    title: ClassVar[str] = "Internal error"

    def __init__(
        self,
        detail: str,
        *,
        value: object = None,
        position: int | None = None,
        fix: str | None = None,
        code: str | None = None,
    ) -> None:
        """Describe the fault.

        `value` is what was refused, `position` the 0-based offset of the first bad character
        in it, `fix` what to do instead.
        """
        super().__init__(detail)
        self.detail = detail
        self.value = value
        self.position = position
        self.fix = fix
        if code is not None:
            self.code = code

    def problem(self) -> dict[str, object]:
        """Return the members of an RFC 9457 problem document."""
        body: dict[str, object] = {
            "title": self.title,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.value is not None:
            body["value"] = _shown(self.value)
        if self.position is not None:
            body["position"] = self.position
        if self.fix is not None:
            body["fix"] = self.fix
        return body


def _shown(value: object) -> object:
    if isinstance(value, bool | int):
        return value
    text = str(value)
    shown = text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + "…"
    return shown.encode("utf-8", "backslashreplace").decode()  # a lone surrogate has no UTF-8


class BadInput(TierlinkError):
    """What was sent is not well formed."""

    code = "input_invalid"
    status = 400
    title = "Invalid input"


class BadIdentifier(BadInput):
    """Not an identifier or prefix of the grammar; `position` names the character."""

    code = "identifier_invalid"
    title = "Invalid identifier"


class BadRecord(BadInput):
    """Not a record of the schema."""

    code = "record_invalid"
    title = "Invalid record"


class BadLink(BadInput):
    """Not a link assertion of the schema."""

    code = "link_invalid"
    title = "Invalid link"


class BadGrant(BadInput):
    """Not a grant of the schema."""

    code = "grant_invalid"
    title = "Invalid grant"


class BadNotice(BadInput):
    """Not a notice of the schema."""

    code = "notice_invalid"
    title = "Invalid notice"


class BadEvent(BadInput):
    """Not an EPCIS 2.0 document or event, or one that says what cannot be."""

    code = "epcis_invalid"
    title = "Invalid EPCIS event"

    def __init__(
        self,
        detail: str,
        *,
        event: int | None = None,
        member: str = "",
        value: object = None,
        position: int | None = None,
        fix: str | None = None,
    ) -> None:
        """Say which event of the document is at fault, from 0, and which of its members."""
        super().__init__(detail, value=value, position=position, fix=fix)
        self.event = event
        self.member = member

    def problem(self) -> dict[str, object]:
        """Return the problem document, with the place of the fault."""
        place = {"event": self.event, "member": self.member or None}
        return super().problem() | {name: at for name, at in place.items() if at is not None}


class BadQuery(BadInput):
    """A query parameter is unknown, repeated or malformed."""

    code = "query_invalid"
    title = "Invalid query"


class VerifyError(BadInput):
    """A signed thing does not verify; `code` is one of the E_… verdicts."""

    code = "E_FORMAT"
    title = "Verification failed"

    def __init__(
        self, code: str, detail: str, *, value: object = None, fix: str | None = None
    ) -> None:
        """Describe the failed step by its verdict code."""
        super().__init__(detail, value=value, fix=fix, code=code)

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


class Unauthenticated(TierlinkError):
    """No API key, or one that is unknown, expired or revoked."""

    code = "unauthenticated"
    status = 401
    title = "Authentication needed"


class Forbidden(TierlinkError):
    """The caller is known and may not do this."""

    code = "forbidden"
    status = 403
    title = "Not allowed"


class Suspended(Forbidden):
    """The record is suspended: it can be read, but nobody is sent on to its targets."""

    code = "suspended"
    title = "Identifier suspended"


class PrefixSuspended(Forbidden):
    """The prefix, or one above it, is suspended."""

    code = "prefix_suspended"
    title = "Prefix suspended"


class NotFound(TierlinkError):
    """There is no such thing here."""

    code = "not_found"
    status = 404
    title = "Not found"


class IdentifierNotFound(NotFound):
    """Nobody registered the identifier and no class rule covers it."""

    code = "identifier_not_found"
    title = "Identifier not found"


class PrefixNotFound(NotFound):
    """Nobody was allocated the prefix."""

    code = "prefix_not_found"
    title = "Prefix not found"


class TargetNotFound(NotFound):
    """The record has no target of the link type asked for."""

    code = "target_not_found"
    title = "No such target"


class NoLog(NotFound):
    """No transparency log is kept here, so there are no proofs of one."""

    code = "no_log"
    title = "No transparency log"


class MethodNotAllowed(TierlinkError):
    """The resource exists, the method does not."""

    code = "method_not_allowed"
    status = 405
    title = "Method not allowed"


class NotAcceptable(TierlinkError):
    """No representation satisfies Accept."""

    code = "not_acceptable"
    status = 406
    title = "Not acceptable"


class Conflict(TierlinkError):
    """The request contradicts what is stored."""

    code = "conflict"
    status = 409
    title = "Conflict"


class AlreadyRegistered(Conflict):
    """The identifier is taken by a record with other content."""

    code = "already_registered"
    title = "Already registered"


class HasChildren(Conflict):
    """Other records name this one as their parent, so it cannot be retired."""

    code = "has_children"
    title = "Has children"


class ParentUnfit(Conflict):
    """The parent is not there, is retired, or would close a circle or reach too far up."""

    code = "parent_unfit"
    title = "Unfit parent"


class KeyNotHosted(Conflict):
    """The registry holds no key for this prefix, so it cannot sign for its holder."""

    code = "key_not_hosted"
    title = "Key not hosted"


class PrefixElsewhere(Conflict):
    """Another node serves the prefix: what is under it is written there."""

    code = "prefix_elsewhere"
    title = "Served elsewhere"


class Retired(TierlinkError):
    """The identifier was retired; it is never issued again."""

    code = "retired"
    status = 410
    title = "Identifier retired"

    def __init__(
        self,
        detail: str,
        *,
        value: object = None,
        position: int | None = None,
        fix: str | None = None,
        envelope: str | None = None,
    ) -> None:
        """Say what was retired, and by which signed tombstone."""
        super().__init__(detail, value=value, position=position, fix=fix)
        self.envelope = envelope

    def problem(self) -> dict[str, object]:
        """Return the problem document, with the tombstone as its proof."""
        body = super().problem()
        return body if self.envelope is None else {**body, "envelope": self.envelope}


class VersionStale(TierlinkError):
    """Somebody else wrote a newer version."""

    code = "version_stale"
    status = 412
    title = "Version is stale"


class TooLarge(TierlinkError):
    """Over a stated limit."""

    code = "too_large"
    status = 413
    title = "Too large"


class Unsupported(TierlinkError):
    """The media type of the body is not one we read."""

    code = "media_type_unsupported"
    status = 415
    title = "Unsupported media type"


class PreconditionRequired(TierlinkError):
    """An update must say which version it replaces (RFC 6585 §3)."""

    code = "precondition_required"
    status = 428
    title = "Precondition required"


class Unavailable(TierlinkError):
    """Something needed is away; the same request may succeed later."""

    code = "unavailable"
    status = 503
    title = "Temporarily unavailable"

    def __init__(self, detail: str, *, retry_after: int = 1, fix: str | None = None) -> None:
        """Say what is away and after how many seconds to come back."""
        super().__init__(detail, fix=fix)
        self.retry_after = retry_after


class TooManyUnknown(Unavailable):
    """A flood of identifiers that do not exist: no more of them are looked for, for a while."""

    code = "too_many_unknown"
    status = 429
    title = "Too many unknown identifiers"


class ProofPending(Unavailable):
    """It was accepted, and no published checkpoint of the log covers it yet."""

    code = "proof_pending"
    title = "Not in the log yet"


class PeerFailed(Unavailable):
    """Another node, which serves the prefix, said nothing that can be believed."""

    code = "peer_failed"
    status = 502
    title = "Other node failed"

    def __init__(self, origin: str, detail: str, *, reason: str = "", retry_after: int = 1) -> None:
        """Name the node; `reason` is a verdict code or a word for why, empty where none fits."""
        super().__init__(detail, retry_after=retry_after)
        self.value = origin
        self.reason = reason

    def again(self) -> PeerFailed:
        """Return another error that says the same, for another who waits."""
        return type(self)(
            str(self.value), self.detail, reason=self.reason, retry_after=self.retry_after
        )

    def problem(self) -> dict[str, object]:
        """Return the problem document, with the reason."""
        body = super().problem()
        return {**body, "reason": self.reason} if self.reason else body


class PeerUnreachable(PeerFailed):
    """Another node, which serves the prefix, cannot be reached or is too slow or too busy."""

    code = "peer_unreachable"
    status = 503
    title = "Other node unreachable"

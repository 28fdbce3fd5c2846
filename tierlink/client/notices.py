"""Operations that recall things. With a signer only envelopes leave this program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias, cast

from schemas.canonical import JsonObject
from schemas.envelope import digest
from schemas.errors import NotFound, VerifyError
from schemas.identifier import Prefix
from schemas.keys import B64
from schemas.notice import LIFTED, Notice, parse_notice, read_draft_notice

from .call import Reply, Steps, as_prefix, query, read, segment, write
from .context import Context

Draft: TypeAlias = "Mapping[str, object]"
PAGE = 100


@dataclass(frozen=True, slots=True)
class Recalled:
    """A recall notice as the registry keeps it."""

    notice: Notice
    digest: str
    envelope: str = field(repr=False)
    created: bool = False


def recall(context: Context, given: Notice | Draft) -> Steps[Recalled]:
    """Recall, or put another version in the place of the one with this id."""
    meant = (
        given
        if isinstance(given, Notice)
        else read_draft_notice(cast("JsonObject", dict(given)), context.seconds)
    )
    if context.signer is None:
        claims = meant.claims()
        body: dict[str, object] = {
            name: value
            for name, value in claims.items()
            if name not in ("v", "ver", "prev", "iat", "state")
        }
    else:
        standing = yield from _find(meant.issuer, meant.id)
        if standing is not None:
            meant = replace(
                meant,
                version=standing.notice.version + 1,
                prev=B64(standing.digest),
                issued_at=context.seconds,
            )
        body = {"envelope": meant.sign(context.signer)}
    reply = yield write("POST", "/v1/notices", body, key=context.key())
    made = _read(reply.document(), created=reply.status == 201)  # noqa: PLR2004  (Created)
    if (made.notice.issuer, made.notice.id) != (meant.issuer, meant.id):
        raise VerifyError("E_ID", "the reply is of another notice", value=made.notice.id)
    return made


def lift(context: Context, issuer: Prefix | str, name: str) -> Steps[Recalled]:
    """Take a recall back; raise NotFound."""
    prefix = as_prefix(issuer)
    if context.signer is None:
        target = f"/v1/notices/{segment(prefix)}/{name}/lift"
        reply = yield write("POST", target, key=context.key())
        return _read(reply.document())
    standing = yield from _find(prefix, name)
    if standing is None:
        raise NotFound(f"{prefix} has no notice {name}", value=name)
    said = standing.notice
    if said.state == LIFTED:
        return standing
    lifted = said.lifted(B64(standing.digest), context.seconds, said.reason)
    body = {"envelope": lifted.sign(context.signer)}
    reply = yield write("POST", "/v1/notices", body, key=context.key())
    return _read(reply.document())


def listing(issuer: Prefix | str) -> Steps[tuple[Recalled, ...]]:
    """Return the notices of a holder, lifted ones too."""
    prefix = as_prefix(issuer)
    found: list[Recalled] = []
    cursor: str | None = ""
    while cursor is not None:
        page = yield from _page(prefix, cursor)
        found += page[0]
        cursor = page[1]
    return tuple(found)


def _find(issuer: Prefix, name: str) -> Steps[Recalled | None]:
    found = yield from listing(issuer)
    return next((item for item in found if item.notice.id == name), None)


def _page(issuer: Prefix, cursor: str) -> Steps[tuple[list[Recalled], str | None]]:
    target = f"/v1/notices{query(prefix=str(issuer), cursor=cursor or None, limit=PAGE)}"
    reply: Reply = yield read(target)
    document = reply.document()
    items, following = document.get("notices"), document.get("next")
    if not isinstance(items, list):
        raise VerifyError("E_FORMAT", "the reply has no array named notices")
    found = [_read(cast("JsonObject", item)) for item in items]
    return found, following if isinstance(following, str) else None


def _read(document: JsonObject, *, created: bool = False) -> Recalled:
    """Read one notice: what its envelope says counts; answers verify those that they carry."""
    token = document.get("envelope")
    envelope, said = parse_notice(token)
    return Recalled(said, digest(envelope.token), envelope.token, created)

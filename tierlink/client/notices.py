"""Operations that recall things. With a signer only envelopes leave this program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from schemas.canonical import JsonObject
from schemas.envelope import digest
from schemas.errors import NotFound, VerifyError
from schemas.identifier import Prefix
from schemas.keys import B64
from schemas.notice import LIFTED, Notice, parse_notice, read_draft_notice

from .call import Reply, Steps, as_prefix, query, read, segment, write
from .context import Context
from .versions import all_pages, draft_of, next_of, page_of

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
        body = draft_of(meant)
    else:
        standing = yield from _find(meant.issuer, meant.id)
        if standing is not None:
            meant = next_of(meant, standing.notice, standing.digest, context.seconds)
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
    return (yield from all_pages(lambda cursor: _page(prefix, cursor)))


def _find(issuer: Prefix, name: str) -> Steps[Recalled | None]:
    found = yield from listing(issuer)
    return next((item for item in found if item.notice.id == name), None)


def _page(issuer: Prefix, cursor: str) -> Steps[tuple[list[Recalled], str | None]]:
    target = f"/v1/notices{query(prefix=str(issuer), cursor=cursor or None, limit=PAGE)}"
    reply: Reply = yield read(target)
    return page_of(reply.document(), "notices", _read)


def _read(document: JsonObject, *, created: bool = False) -> Recalled:
    """Read one notice: what its envelope says counts; answers verify those that they carry."""
    token = document.get("envelope")
    envelope, said = parse_notice(token)
    return Recalled(said, digest(envelope.token), envelope.token, created)

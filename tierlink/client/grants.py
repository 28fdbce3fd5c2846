"""Operations that open links to others. With a signer only envelopes leave this program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias, cast

from schemas.canonical import JsonObject
from schemas.envelope import digest
from schemas.errors import NotFound, VerifyError
from schemas.grant import REVOKED, Grant, parse_grant, read_draft_grant
from schemas.identifier import Prefix
from schemas.keys import B64

from .call import Reply, Steps, as_prefix, query, read, segment, write
from .context import Context
from .versions import all_pages, draft_of, next_of, page_of

Draft: TypeAlias = "Mapping[str, object]"
PAGE = 500


@dataclass(frozen=True, slots=True)
class Granted:
    """A grant as the registry keeps it.

    `handover` is why the node of the grantee does not have it yet, empty before the first attempt;
    None where it has, or need not.
    """

    grant: Grant
    digest: str
    envelope: str = field(repr=False)
    created: bool = False
    handover: str | None = None


def grant(context: Context, given: Grant | Draft) -> Steps[Granted]:
    """Grant, or put another version in the place of the one with this id."""
    meant = (
        given
        if isinstance(given, Grant)
        else read_draft_grant(cast("JsonObject", dict(given)), context.seconds)
    )
    if context.signer is None:
        body = draft_of(meant)
    else:
        standing = yield from _find(meant.grantor, meant.id)
        if standing is not None:
            meant = next_of(meant, standing.grant, standing.digest, context.seconds)
        body = {"envelope": meant.sign(context.signer)}
    reply = yield write("POST", "/v1/grants", body, key=context.key())
    made = _read(reply.document(), created=reply.status == 201)  # noqa: PLR2004  (Created)
    if (made.grant.grantor, made.grant.id) != (meant.grantor, meant.id):
        raise VerifyError("E_ID", "the reply is of another grant", value=made.grant.id)
    return made


def revoke(context: Context, grantor: Prefix | str, name: str) -> Steps[Granted]:
    """Take a grant back; raise NotFound."""
    prefix = as_prefix(grantor)
    if context.signer is None:
        target = f"/v1/grants/{segment(prefix)}/{name}/revoke"
        reply = yield write("POST", target, key=context.key())
        return _read(reply.document())
    standing = yield from _find(prefix, name)
    if standing is None:
        raise NotFound(f"{prefix} has no grant {name}", value=name)
    if standing.grant.state == REVOKED:
        return standing
    taken_back = standing.grant.revocation(B64(standing.digest), context.seconds)
    body = {"envelope": taken_back.sign(context.signer)}
    reply = yield write("POST", "/v1/grants", body, key=context.key())
    return _read(reply.document())


def received() -> Steps[tuple[Granted, ...]]:
    """Return what holders at other nodes granted to the holder whose API key is sent."""
    return (yield from all_pages(lambda cursor: _page("/v1/grants/received", cursor)))


def listing(grantor: Prefix | str) -> Steps[tuple[Granted, ...]]:
    """Return the grants of a holder: all to himself, to others those that are theirs."""
    prefix = as_prefix(grantor)
    return (yield from all_pages(lambda cursor: _page("/v1/grants", cursor, grantor=str(prefix))))


def _find(grantor: Prefix, name: str) -> Steps[Granted | None]:
    found = yield from listing(grantor)
    return next((item for item in found if item.grant.id == name), None)


def _page(
    path: str, cursor: str, grantor: str | None = None
) -> Steps[tuple[list[Granted], str | None]]:
    target = f"{path}{query(grantor=grantor, cursor=cursor or None, limit=PAGE)}"
    reply: Reply = yield read(target, private=True)
    return page_of(reply.document(), "grants", _read)


def _read(document: JsonObject, *, created: bool = False) -> Granted:
    """Read one grant: what its envelope says counts. Nothing is verified: it is one's own word."""
    token = document.get("envelope")
    envelope, said = parse_grant(token)
    waiting = document.get("handover")
    failure = waiting.get("failure") if isinstance(waiting, dict) else None
    why = failure if isinstance(failure, str) else None
    return Granted(said, digest(envelope.token), envelope.token, created, why)

"""/v1/prefixes and /v1/challenges."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from registry import prefixes, rotations
from registry.api.deps import CallerDep, DepsDep, PathPrefix, Read, StrictQuery, Write, read_prefix
from registry.api.openapi import problems
from registry.custody import Offer
from registry.delegations import OfferedKey
from registry.prefixes import Holding, Wanted
from schemas import api
from schemas.answer import rfc3339
from schemas.delegation import DelegatedKey
from schemas.errors import BadQuery, TierlinkError
from schemas.identifier import Prefix
from schemas.keys import KeyId, PublicKey, b64decode, b64encode

MAX_PAGE = 500

router = APIRouter(tags=["prefixes"])


class PageQuery(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    parent: str | None = Field(None, description="only those right below this prefix")
    cursor: str | None = Field(None, description="`next` of the page before")
    limit: int = Field(100, ge=1, le=MAX_PAGE)


@router.post(
    "/v1/prefixes",
    status_code=201,
    summary="Allocate a prefix below your own",
    responses=problems(400, 401, 403, 409, 413, 415, 503),
)
async def allocate(
    body: api.NewPrefix, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.PrefixCreated:
    """Allocate; the answer holds the first API key of the new prefix, shown this once."""
    organisation = prefixes.Organisation(**body.organisation.model_dump())
    wanted = Wanted(Prefix.parse(body.prefix), organisation, offer(body), body.node)
    held, key = await prefixes.allocate(
        tx, deps.keyring, caller, wanted, deps.clock(), here=deps.here.url
    )
    return api.PrefixCreated(**_members(held), api_key=key.text)


@router.get(
    "/v1/prefixes",
    summary="List prefixes",
    responses=problems(400, 503),
    dependencies=[StrictQuery],
)
async def listing(tx: Read, query: Annotated[PageQuery, Query()]) -> api.PrefixPage:
    """List in byte order, all or those right below `parent`."""
    parent = None if query.parent is None else read_prefix(query.parent)
    after = None if query.cursor is None else _read_cursor(query.cursor)
    held, last = await prefixes.listing(tx, parent=parent, after=after, limit=query.limit)
    views = [view(item) for item in held]
    return api.PrefixPage(prefixes=views, next=None if last is None else _cursor(last))


@router.get(
    "/v1/prefixes/{prefix}",
    summary="Show who holds a prefix",
    responses=problems(400, 404, 503),
)
async def show(prefix: PathPrefix, tx: Read) -> api.PrefixView:
    """Show the holder, the keys and the delegation that proves them."""
    return view(await prefixes.show(tx, prefix))


@router.put(
    "/v1/prefixes/{prefix}/delegation",
    summary="Delegate a prefix anew, with other keys",
    responses=problems(400, 401, 403, 404, 409, 412, 413, 415, 503),
)
async def delegate(
    prefix: PathPrefix, body: api.NewDelegation, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.PrefixView:
    """Replace the keys; those before stay valid for five minutes, and for what they signed."""
    now = deps.clock()
    held = await rotations.delegate(tx, deps.keyring, caller, prefix, offer(body), now=now)
    return view(held)


@router.post(
    "/v1/prefixes/{prefix}/suspend",
    summary="Suspend a prefix and everything below it",
    responses=problems(400, 401, 403, 404, 503),
)
async def suspend(prefix: PathPrefix, tx: Write, caller: CallerDep) -> api.PrefixView:
    """Suspend; the caller's prefix lies above."""
    return view(await prefixes.suspend(tx, caller, prefix))


@router.post(
    "/v1/prefixes/{prefix}/resume",
    summary="Resume a suspended prefix",
    responses=problems(400, 401, 403, 404, 503),
)
async def resume(prefix: PathPrefix, tx: Write, caller: CallerDep) -> api.PrefixView:
    """Resume; the caller's prefix lies above."""
    return view(await prefixes.resume(tx, caller, prefix))


@router.post(
    "/v1/challenges",
    status_code=201,
    summary="Ask for a nonce that a new key is to sign",
    responses=problems(400, 401, 403, 413, 415, 503),
)
async def challenge(
    body: api.NewChallenge, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.ChallengeView:
    """Challenge a key of the caller's prefix or of one below."""
    prefix = Prefix.parse(body.prefix)
    made = await prefixes.challenge(tx, caller, prefix, body.kid, deps.clock())
    return api.ChallengeView(nonce=made.nonce, expires_at=rfc3339(made.expires_at))


def view(held: Holding) -> api.PrefixView:
    """Return a prefix as the API shows it."""
    return api.PrefixView(**_members(held))


def _members(held: Holding) -> dict[str, Any]:
    row, organisation = held.row, held.row.organisation
    return {
        "prefix": str(row.prefix),
        "parent": None if row.parent is None else str(row.parent),
        "organisation": api.Organisation.model_construct(
            name=organisation.name, uscc=organisation.uscc, lei=organisation.lei
        ),
        "status": row.status,
        "sequence": row.sequence,
        "delegation": row.delegation,
        "keys": [item.claims() for item in held.delegation.keys],
        "hosted": row.hosted,
        "run": list(row.run),
        "recovery": None
        if row.recovery is None
        else api.RecoveryView(
            sequence=row.recovery.sequence,
            effective_at=rfc3339(row.recovery.effective_at),
            delegation=row.recovery.delegation,
        ),
    }


def offer(body: api.NewPrefix | api.NewDelegation | api.NewRotation | api.NewRevocation) -> Offer:
    """Return what a body says of a holder's keys."""
    thresholds: dict[str, int] = dict(body.thr.items())
    next_keys = tuple(KeyId(kid) for kid in body.next)
    return Offer(_keys(body.keys), next_keys, thresholds, body.delegation)


def _keys(bodies: list[api.OfferedKey]) -> tuple[OfferedKey, ...]:
    return tuple(
        OfferedKey(
            DelegatedKey(
                PublicKey.from_jwk(body.jwk), frozenset[str](body.use), body.nbf, body.exp
            ),
            body.possession,
        )
        for body in bodies
    )


def _cursor(prefix: Prefix) -> str:
    return b64encode(str(prefix).encode())


def _read_cursor(text: str) -> Prefix:
    try:
        return Prefix.parse(b64decode(text).decode())
    except (TierlinkError, UnicodeDecodeError) as err:
        raise BadQuery("not a cursor of this list", value=text, fix="send back `next`") from err

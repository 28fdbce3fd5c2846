"""/v1/prefixes/{prefix}/api-keys."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Response

from registry import accounts, prefixes
from registry.accounts import KeyRow
from registry.api.deps import CallerDep, DepsDep, PathPrefix, Read, Write
from registry.api.openapi import problems
from schemas import api
from schemas.answer import rfc3339

router = APIRouter(tags=["API keys"])


@router.post(
    "/v1/prefixes/{prefix}/api-keys",
    status_code=201,
    summary="Make an API key for your prefix",
    responses=problems(400, 401, 403, 413, 415, 503),
)
async def create(
    prefix: PathPrefix, body: api.NewApiKey, tx: Write, caller: CallerDep, deps: DepsDep
) -> api.ApiKeyCreated:
    """Make one; its text is shown this once and kept as a hash."""
    caller.must_hold(prefix)
    await prefixes.chain(tx, prefix)  # none for a suspended holder
    expires = None if body.expires_at is None else int(body.expires_at.timestamp())
    made = await accounts.create_key(tx, prefix, deps.clock(), label=body.label, expires_at=expires)
    shown = view(made.row)
    return api.ApiKeyCreated(
        id=shown.id,
        prefix=shown.prefix,
        label=shown.label,
        expires_at=shown.expires_at,
        api_key=made.text,
    )


@router.get(
    "/v1/prefixes/{prefix}/api-keys",
    summary="List the API keys of your prefix",
    responses=problems(400, 401, 403, 503),
)
async def listing(prefix: PathPrefix, tx: Read, caller: CallerDep) -> api.ApiKeyList:
    """List them without their secrets, oldest first, revoked ones too."""
    caller.must_hold(prefix)
    rows = await accounts.list_keys(tx, prefix)
    return api.ApiKeyList(api_keys=[view(row) for row in rows])


@router.delete(
    "/v1/prefixes/{prefix}/api-keys/{key_id}",
    status_code=204,
    summary="Revoke an API key of your prefix",
    responses=problems(400, 401, 403, 404, 503),
)
async def revoke(
    prefix: PathPrefix,
    key_id: Annotated[str, Path(max_length=64, pattern=r"^[!-~]+$", examples=["4fQ7aZ2k"])],
    tx: Write,
    caller: CallerDep,
    deps: DepsDep,
) -> Response:
    """Revoke for good; a key may revoke itself."""
    caller.must_hold(prefix)
    await accounts.revoke_key(tx, prefix, key_id, deps.clock())
    return Response(status_code=204)


def view(row: KeyRow) -> api.ApiKeyView:
    """Return an API key as the API shows it."""
    return api.ApiKeyView(
        id=row.key_id,
        prefix=str(row.prefix),
        label=row.label,
        created_at=rfc3339(int(row.created_at.timestamp())),
        expires_at=_shown(row.expires_at),
        revoked_at=_shown(row.revoked_at),
    )


def _shown(moment: datetime | None) -> str | None:
    return None if moment is None else rfc3339(int(moment.timestamp()))

"""/v1/grants."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from registry import grants
from registry.api.deps import (
    CallerDep,
    DepsDep,
    PathPrefix,
    Read,
    StrictQuery,
    Write,
    read_object,
    read_prefix,
)
from registry.api.openapi import answer, problems
from registry.api.versions import shown, stating, view
from schemas.answer import rfc3339
from schemas.canonical import Json
from schemas.grant import parse_grant

MAX_PAGE = 500

router = APIRouter(tags=["grants"])

_DRAFT = {
    "iss": "88.118.8",
    "id": "to-the-vehicle-maker",
    "to": "88.118.1",
    "direction": "upstream",
    "depth": 3,
    "purpose": "recall",
}
_STATED = {
    "iss": "88.118.8",
    "id": "to-the-vehicle-maker",
    "version": 1,
    "state": "granted",
    "to": "88.118.1",
    "direction": "upstream",
    "depth": 3,
    "purpose": "recall",
    "show": "full",
    "digest": "m1x0Qm3QpKk0VYb8b4v0m3yq0h8t3q4mC7Yd0m1wq3I",
    "envelope": "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJkZXB0aCI6Myw….c2lnbmF0dXJl…",
}


class PageQuery(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    grantor: str = Field(description="whose grants")
    cursor: str = Field("", max_length=64, description="`next` of the page before")
    limit: int = Field(100, ge=1, le=MAX_PAGE)


@router.post(
    "/v1/grants",
    status_code=201,
    summary="Open links to others, or change what is open",
    responses={
        201: answer("granted for the first time", _STATED),
        200: answer("a new version, or the same content as before", _STATED),
        **problems(400, 401, 403, 409, 412, 413, 415, 503),
    },
    openapi_extra=stating(_DRAFT, _STATED["envelope"]),
)
async def state(request: Request, tx: Write, caller: CallerDep, deps: DepsDep) -> JSONResponse:
    """Grant: an envelope, or a draft for the hosted key; one `id` has one grant at a time."""
    now = deps.clock()
    offer = grants.KIND.read(await read_object(request), now)
    settled = await grants.state(tx, deps.keyring, caller, offer, now)
    created = settled.changed and settled.said.version == 1
    return JSONResponse(view(settled), 201 if created else 200)


@router.post(
    "/v1/grants/{prefix}/{name}/revoke",
    summary="Take a grant back",
    responses={
        200: answer("revoked", {**_STATED, "version": 2, "state": "revoked"}),
        **problems(400, 401, 403, 404, 409, 503),
    },
)
async def revoke(
    prefix: PathPrefix, name: str, tx: Write, caller: CallerDep, deps: DepsDep
) -> JSONResponse:
    """Take it back with the hosted key; who keeps his own signs a revoked version himself."""
    settled = await grants.revoke(tx, deps.keyring, caller, prefix, name, now=deps.clock())
    return JSONResponse(view(settled))


@router.get(
    "/v1/grants",
    summary="List the grants of a holder",
    responses={
        200: answer("a page, by id", {"grants": [_STATED], "next": None}),
        **problems(400, 401, 503),
    },
    dependencies=[StrictQuery],
)
async def listing(
    tx: Read, caller: CallerDep, query: Annotated[PageQuery, Query()]
) -> JSONResponse:
    """List all of them to the grantor, and to everybody else those that are his.

    The grantor is told by `handover` which are still on their way to another node.
    """
    grantor = read_prefix(query.grantor)
    found = await grants.listing(tx, caller, grantor, after=query.cursor, limit=query.limit)
    rows: list[Json] = []
    for row in found.page.rows:
        item = shown(parse_grant(row.envelope)[1], row.digest, row.envelope)
        waiting = found.waiting.get(row.id)
        if waiting is not None:
            item["handover"] = {
                "attempts": waiting.attempts,
                "due_at": None
                if waiting.due_at is None
                else rfc3339(int(waiting.due_at.timestamp())),
                "failure": waiting.failure,
            }
        rows.append(item)
    return JSONResponse({"grants": rows, "next": found.page.after})

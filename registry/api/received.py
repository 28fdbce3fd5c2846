"""/v1/grants/received: grants of holders at other nodes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from registry import received
from registry.api import brought
from registry.api.deps import CallerDep, DepsDep, Read, StrictQuery, Write
from registry.api.grants import MAX_PAGE
from registry.api.openapi import answer, problems
from registry.api.versions import shown
from schemas.grant import parse_grant

router = APIRouter(tags=["federation"])

_RECEIVED = {
    "grants": [
        {
            "iss": "88.118.8",
            "id": "to-the-vehicle-maker",
            "version": 1,
            "state": "granted",
            "to": "88.118.1",
            "direction": "upstream",
            "depth": 3,
            "show": "full",
            "digest": "m1x0Qm3QpKk0VYb8b4v0m3yq0h8t3q4mC7Yd0m1wq3I",
            "envelope": brought.JWS,
        }
    ],
    "next": None,
}


class PageQuery(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str = Field("", max_length=512, description="`next` of the page before")
    limit: int = Field(100, ge=1, le=MAX_PAGE)


@router.post(
    "/v1/grants/received",
    summary="Tell a node what is granted to holders there",
    responses=brought.responses("granted"),
    openapi_extra=brought.body("grants"),
)
async def receive(request: Request, tx: Write, deps: DepsDep) -> JSONResponse:
    """Take in grants of other nodes' holders to prefixes that are held here; no API key is needed.

    The very same again is no error, and changes nothing.
    """
    tokens, delegations = await brought.read(request, "grants", received.MOST)
    outcomes = await received.receive_all(tx, tokens, delegations, deps.here, deps.clock())
    return brought.reply(outcomes)


@router.get(
    "/v1/grants/received",
    summary="List what holders at other nodes grant to the caller",
    responses={
        200: answer("a page, by grantor and id", _RECEIVED),
        **problems(400, 401, 503),
    },
    dependencies=[StrictQuery],
)
async def listing(
    tx: Read, caller: CallerDep, query: Annotated[PageQuery, Query()]
) -> JSONResponse:
    """List the grants to the caller that other nodes brought here, revoked ones too."""
    grantor, _, name = query.cursor.partition("/")
    page = await received.listing(tx, caller, after=(grantor, name), limit=query.limit)
    rows = [shown(parse_grant(row.envelope)[1], row.digest, row.envelope) for row in page.grants]
    following = None if page.after is None else "/".join(page.after)
    return JSONResponse({"grants": rows, "next": following})

"""/v1/proposals and /v1/deliveries: links whose ends live at different nodes."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from registry import deliveries, proposals
from registry.api import brought
from registry.api.deps import CallerDep, DepsDep, Read, StrictQuery, Write
from registry.api.openapi import answer, problems
from schemas.answer import rfc3339
from schemas.canonical import JsonObject

MAX_PAGE = 500

router = APIRouter(tags=["federation"])

_SHOWN = {
    "deliveries": [
        {
            "link_key": "9Zlm4pXgNf8cU1l1lq1m2oKQx4o1rIhtT9y0pV0W2vE",
            "side": "upstream",
            "far": "88.118.9/MODULE-2026-0042",
            "attempts": 3,
            "due_at": "2026-11-25T14:00:08Z",
            "failure": "peer_unreachable: http://node.example does not answer",
            "created_at": "2026-11-25T13:59:58Z",
        }
    ],
    "next": None,
}


class PageQuery(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str = Field("", max_length=64, pattern=r"^([A-Za-z0-9_-]{43}/(up|down)stream)?$")
    limit: int = Field(100, ge=1, le=MAX_PAGE)


@router.post(
    "/v1/proposals",
    summary="Tell a node what the far ends of its links state",
    responses=brought.responses("proposed"),
    openapi_extra=brought.body("assertions"),
)
async def receive(request: Request, tx: Write, deps: DepsDep) -> JSONResponse:
    """Take in statements of other nodes' holders about links that end here; no API key is needed.

    The very same again is no error, and changes nothing.
    """
    tokens, delegations = await brought.read(request, "assertions", proposals.MOST)
    outcomes = await proposals.receive_all(tx, tokens, delegations, deps.here, deps.clock())
    return brought.reply(outcomes)


@router.get(
    "/v1/deliveries",
    summary="List what is still on its way to other nodes",
    responses={200: answer("a page, by link key and side", _SHOWN), **problems(400, 401, 503)},
    dependencies=[StrictQuery],
)
async def listing(
    tx: Read, caller: CallerDep, query: Annotated[PageQuery, Query()]
) -> JSONResponse:
    """List the caller's own statements: what nodes of far ends were not told of, and why."""
    key, _, side = query.cursor.partition("/")
    found = await deliveries.listing(tx, caller.prefix, (key, side), query.limit + 1)
    page = found[: query.limit]
    shown: list[JsonObject] = [
        {
            "link_key": item.link_key,
            "side": item.side,
            "far": item.far,
            "attempts": item.attempts,
            "due_at": None if item.due_at is None else rfc3339(int(item.due_at.timestamp())),
            "failure": item.failure,
            "created_at": rfc3339(int(item.created_at.timestamp())),
        }
        for item in page
    ]
    following = f"{page[-1].link_key}/{page[-1].side}" if len(found) > query.limit else None
    return JSONResponse({"deliveries": shown, "next": following})

"""/v1/proposals and /v1/deliveries: links whose ends live at different nodes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from registry import deliveries, proposals
from registry.api.deps import CallerDep, DepsDep, Read, StrictQuery, Write, read_object
from registry.api.openapi import problems
from schemas.answer import rfc3339
from schemas.canonical import JsonObject
from schemas.chain import MAX_CHAIN
from schemas.claims import Members
from schemas.errors import BadInput, BadQuery, TierlinkError
from schemas.signed import MAX_TOKEN

MAX_PAGE = 500

router = APIRouter(tags=["federation"])

_JWS = "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJ2IjoxLCJ….c2lnbmF0dXJl…"
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"assertions": [_JWS], "delegations": [_JWS, _JWS]},
            }
        },
    }
}
_RESULTS = {
    "results": [
        {"state": "proposed"},
        {"title": "Verification failed", "status": 400, "code": "E_SIG", "detail": "…"},
    ]
}
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


def _answer(description: str, example: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


@router.post(
    "/v1/proposals",
    summary="Tell a node what the far ends of its links state",
    responses={
        200: _answer("a result for each, in order", _RESULTS),
        **problems(400, 413, 415, 503),
    },
    openapi_extra=_BODY,
)
async def receive(request: Request, tx: Write, deps: DepsDep) -> JSONResponse:
    """Take in statements of other nodes' holders about links that end here; no API key is needed.

    The very same again is no error, and changes nothing.
    """
    members = Members(await read_object(request), BadInput)
    assertions = members.array("assertions", proposals.MOST, _token)
    delegations = members.array("delegations", MAX_CHAIN * proposals.MOST, _token)
    members.done()
    outcomes = await proposals.receive_all(tx, assertions, delegations, deps.here, deps.clock())
    return JSONResponse({"results": [_result(item) for item in outcomes]})


@router.get(
    "/v1/deliveries",
    summary="List what is still on its way to other nodes",
    responses={200: _answer("a page, by link key and side", _SHOWN), **problems(400, 401, 503)},
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


def _token(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TOKEN:
        raise BadQuery(f"{where.rstrip('.')} is not an envelope", value=value)
    return value


def _result(outcome: str | TierlinkError) -> JsonObject:
    if isinstance(outcome, TierlinkError):
        return dict(outcome.problem())  # type: ignore[arg-type]
    return {"state": outcome}

"""/v1/grants/received: grants of holders at other nodes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from registry import received
from registry.api.deps import CallerDep, DepsDep, Read, StrictQuery, Write, read_object
from registry.api.grants import MAX_PAGE
from registry.api.openapi import problems
from registry.api.versions import shown
from schemas.canonical import JsonObject
from schemas.chain import MAX_CHAIN
from schemas.claims import Members
from schemas.envelope import MAX_TOKEN
from schemas.errors import BadInput, BadQuery, TierlinkError
from schemas.grant import parse_grant

router = APIRouter(tags=["federation"])

_JWS = "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJkZXB0aCI6Myw….c2lnbmF0dXJl…"
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {"type": "object"},
                "example": {"grants": [_JWS], "delegations": [_JWS, _JWS]},
            }
        },
    }
}
_RESULTS = {
    "results": [
        {"state": "granted"},
        {"title": "Verification failed", "status": 400, "code": "E_SIG", "detail": "…"},
    ]
}
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
            "envelope": _JWS,
        }
    ],
    "next": None,
}


class PageQuery(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    cursor: str = Field("", max_length=512, description="`next` of the page before")
    limit: int = Field(100, ge=1, le=MAX_PAGE)


def _answer(description: str, example: object) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"example": example}}}


@router.post(
    "/v1/grants/received",
    summary="Tell a node what is granted to holders there",
    responses={
        200: _answer("a result for each, in order", _RESULTS),
        **problems(400, 413, 415, 503),
    },
    openapi_extra=_BODY,
)
async def receive(request: Request, tx: Write, deps: DepsDep) -> JSONResponse:
    """Take in grants of other nodes' holders to prefixes that are held here; no API key is needed.

    The very same again is no error, and changes nothing.
    """
    members = Members(await read_object(request), BadInput)
    tokens = members.array("grants", received.MOST, _token)
    delegations = members.array("delegations", MAX_CHAIN * received.MOST, _token)
    members.done()
    outcomes = await received.receive_all(tx, tokens, delegations, deps.here, deps.clock())
    return JSONResponse({"results": [_result(item) for item in outcomes]})


@router.get(
    "/v1/grants/received",
    summary="List what holders at other nodes grant to the caller",
    responses={
        200: _answer("a page, by grantor and id", _RECEIVED),
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


def _token(value: object, where: str) -> str:
    if not isinstance(value, str) or len(value) > MAX_TOKEN:
        raise BadQuery(f"{where.rstrip('.')} is not an envelope", value=value)
    return value


def _result(outcome: str | TierlinkError) -> JsonObject:
    if isinstance(outcome, TierlinkError):
        return dict(outcome.problem())  # type: ignore[arg-type]
    return {"state": outcome}

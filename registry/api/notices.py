"""/v1/notices."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from registry import notices
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
from registry.api.versions import listed, shown, stating, view
from schemas.notice import parse_notice

MAX_PAGE = 100  # each may name a thousand identifiers

router = APIRouter(tags=["notices"])

_DRAFT = {
    "iss": "88.118.8",
    "id": "2026-11-separator",
    "of": ["88.118.8/LOT-7"],
    "reason": "The separator may tear when the cell is charged below 0 °C.",
    "href": "https://cells.example/recalls/2026-11",
}
_STATED = {
    **_DRAFT,
    "version": 1,
    "state": "issued",
    "kind": "recall",
    "digest": "m1x0Qm3QpKk0VYb8b4v0m3yq0h8t3q4mC7Yd0m1wq3I",
    "envelope": "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJpZCI6IjIwMjY….c2lnbmF0dXJl…",
}


class PageQuery(BaseModel):
    """Which page of the list."""

    model_config = ConfigDict(extra="forbid")

    prefix: str = Field(description="whose notices")
    cursor: str = Field("", max_length=64, description="`next` of the page before")
    limit: int = Field(50, ge=1, le=MAX_PAGE)


@router.post(
    "/v1/notices",
    status_code=201,
    summary="Recall, or change what is recalled",
    responses={
        201: answer("recalled for the first time", _STATED),
        200: answer("a new version, or the same content as before", _STATED),
        **problems(400, 401, 403, 404, 409, 412, 413, 415, 503),
    },
    openapi_extra=stating(_DRAFT, _STATED["envelope"]),
)
async def state(request: Request, tx: Write, caller: CallerDep, deps: DepsDep) -> JSONResponse:
    """Recall: an envelope, or a draft for the hosted key; one `id` has one notice at a time."""
    now = deps.clock()
    offer = notices.KIND.read(await read_object(request), now)
    settled = await notices.state(tx, deps.keyring, caller, offer, now)
    created = settled.changed and settled.said.version == 1
    return JSONResponse(view(settled), 201 if created else 200)


@router.post(
    "/v1/notices/{prefix}/{name}/lift",
    summary="Take a recall back",
    responses={
        200: answer("lifted", {**_STATED, "version": 2, "state": "lifted"}),
        **problems(400, 401, 403, 404, 409, 503),
    },
)
async def lift(
    prefix: PathPrefix, name: str, tx: Write, caller: CallerDep, deps: DepsDep
) -> JSONResponse:
    """Take it back with the hosted key; who keeps his own signs a lifted version himself."""
    settled = await notices.lift(tx, deps.keyring, caller, prefix, name, now=deps.clock())
    return JSONResponse(view(settled))


@router.get(
    "/v1/notices",
    summary="List the notices of a holder",
    responses={
        200: answer("a page, by id", {"notices": [_STATED], "next": None}),
        **problems(400, 503),
    },
    dependencies=[StrictQuery],
)
async def listing(tx: Read, query: Annotated[PageQuery, Query()]) -> JSONResponse:
    """List all of them, lifted ones too, to everybody."""
    page = await notices.listing(
        tx, read_prefix(query.prefix), after=query.cursor, limit=query.limit
    )
    return JSONResponse(listed("notices", page, parse_notice))


@router.get(
    "/v1/notices/{prefix}/{name}",
    summary="Read one notice",
    responses={200: answer("its newest version", _STATED), **problems(400, 404, 503)},
)
async def one(prefix: PathPrefix, name: str, tx: Read) -> JSONResponse:
    """Give the newest version of a notice to everybody."""
    row = await notices.find(tx, prefix, name)
    return JSONResponse(shown(parse_notice(row.envelope)[1], row.digest, row.envelope))

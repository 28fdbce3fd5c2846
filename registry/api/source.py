"""/v1/source: signed records, links and delegations in bulk, for other nodes' resolvers."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from registry.api.deps import DepsDep, read_object
from registry.api.openapi import problems
from registry.reader import MAX_EDGES, MAX_IDENTIFIERS, Reader
from schemas.canonical import JsonObject
from schemas.claims import Members
from schemas.errors import BadQuery
from schemas.identifier import Identifier
from schemas.link import SIDES
from schemas.viewer import Near

router = APIRouter(tags=["federation"])

_JWS = "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJ2IjoxLCJ….c2lnbmF0dXJl…"
_FETCHED = {
    "found": [
        {"identifier": "88.118.8/CELL-1", "state": "found", "records": [_JWS, _JWS]},
        {"identifier": "88.118.8/CELL-X", "state": "missing"},
    ],
    "delegations": [_JWS],
    "watermark": "Yk3nq0hA2mFz81Lw.4712",
}
_EDGES = {
    "edges": [
        {
            "type": "CONTAINED_IN",
            "upstream": "88.118.8/CELL-1",
            "downstream": "88.118.9/MODULE-1",
            "lifecycle": "asBuilt",
            "assertions": [_JWS],
        }
    ],
    "delegations": [_JWS],
    "watermark": "Yk3nq0hA2mFz81Lw.4712",
    "truncated": False,
}


def _documented(description: str, body: object, answer: object) -> dict[str, Any]:
    return {
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": {"type": "object"}, "example": body}},
            }
        },
        "responses": {
            200: {
                "description": description,
                "content": {"application/json": {"example": answer}},
            },
            **problems(400, 413, 415, 503),
        },
    }


@router.post(
    "/v1/source",
    summary="Read what this node has on identifiers",
    **_documented(
        "each identifier once, in order, whatever its state",
        {"identifiers": ["88.118.8/CELL-1", "88.118.8/CELL-X"], "whole": True},
        _FETCHED,
    ),
)
async def fetch(request: Request, deps: DepsDep) -> JSONResponse:
    """Give records with ancestors, links, delegations and the watermark they were read at."""
    members = Members(await read_object(request), BadQuery)
    identifiers = _identifiers(members)
    whole = members.take("whole")
    members.done()
    if whole is not None and not isinstance(whole, bool):
        raise BadQuery("whole is true or false", value=whole)
    fetched = await Reader(deps.store, ttl=deps.ttl).fetch(identifiers, whole=whole is not False)
    return _json(fetched.to_json())


@router.post(
    "/v1/source/edges",
    summary="Read the links of a level of a walk",
    **_documented(
        "in the order of (near, far, type, lifecycle, occurrence)",
        {"identifiers": ["88.118.9/MODULE-1"], "direction": "upstream", "limit": 1000},
        _EDGES,
    ),
)
async def edges(request: Request, deps: DepsDep) -> JSONResponse:
    """Give the links that everybody is shown, their far ends in a direction."""
    members = Members(await read_object(request), BadQuery)
    level = [Near.at(identifier) for identifier in _identifiers(members)]
    direction = members.choice("direction", SIDES)
    limit = members.integer("limit", 1, MAX_EDGES)
    members.done()
    return _json((await Reader(deps.store).edges(level, direction, limit)).to_json())


def _identifiers(members: Members) -> tuple[Identifier, ...]:
    return members.array("identifiers", MAX_IDENTIFIERS, _identifier)


def _identifier(value: object, where: str) -> Identifier:
    if not isinstance(value, str):
        raise BadQuery(f"{where.rstrip('.')} is not a string", value=value)
    return Identifier.parse(value)


def _json(value: JsonObject) -> JSONResponse:
    return JSONResponse(value, headers={"cache-control": "no-store"})

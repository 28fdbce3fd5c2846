"""/v1/source/proof: what the log of this node proves, for other nodes' resolvers."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse

from registry.api.deps import StrictQuery
from registry.api.openapi import problems
from registry.reader import Reader
from schemas.errors import BadQuery
from schemas.identifier import Identifier

router = APIRouter(tags=["federation"])

DIGITS = 12  # of Unix seconds

_JWS = "eyJhbGciOiJFZDI1NTE5Iiwia2lkIjoi….eyJ2IjoxLCJ….c2lnbmF0dXJl…"
_BUNDLE = {
    "v": 1,
    "identifier": "88.118.8/CELL-1",
    "envelope": _JWS,
    "proof": {
        "chain": [_JWS, _JWS],
        "records": [_JWS],
        "log": {
            "checkpoint": "registry.example/tierlink\n4711\nCsUYapGGPo4dkMgI…\n\n— registry…",
            "epoch": {"number": 812, "size": 4710, "index": 4710, "path": "q83v…"},
            "entries": [{"index": 4000, "path": "q83v…", "map": {"depth": 17}}],
            "prefixes": [{"index": 12, "map": {"depth": 5}}],
            "salt": "R29vZCBzYWx0…",
        },
    },
}


@router.get(
    "/v1/source/proof",
    summary="Prove what stands of one identifier, or that nothing does",
    responses={
        200: {
            "description": "the bundle of the newest published epoch, or of the one at a time",
            "content": {"application/json": {"example": _BUNDLE}},
        },
        **problems(400, 404, 503),
    },
    dependencies=[StrictQuery],
)
async def prove(request: Request, identifier: str, at: str | None = None) -> JSONResponse:
    """Give the bundle; `at` is in Unix seconds. 503 `proof_pending` until an epoch covers it."""
    reader: Reader = request.app.state.reader
    proved = await reader.prove(Identifier.parse(identifier), None if at is None else _time(at))
    return JSONResponse(proved.to_json(), headers={"cache-control": "no-store"})


def _time(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= DIGITS):
        raise BadQuery("at is not Unix seconds", value=text)
    return int(text)

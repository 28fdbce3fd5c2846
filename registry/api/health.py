"""/healthz: the process answers. /readyz: it can do its work. For the registry's own role."""

from __future__ import annotations

from dataclasses import asdict

from fastapi import APIRouter
from starlette.responses import JSONResponse

from registry import prefixes
from registry.api.deps import DepsDep, Read
from registry.api.openapi import problems
from registry.log import reading
from schemas.errors import Unavailable

router = APIRouter(tags=["operations"])

_HEADERS = {"cache-control": "no-store"}


@router.get("/healthz", summary="The process answers")
async def healthz() -> JSONResponse:
    """Say so."""
    return JSONResponse({"status": "ok"}, headers=_HEADERS)


@router.get(
    "/readyz",
    summary="The database answers, is migrated and founded",
    responses=problems(503),
)
async def readyz(tx: Read, deps: DepsDep) -> JSONResponse:
    """Say so, or 503 with what is amiss and the command that mends it."""
    if deps.unready():
        raise Unavailable(deps.unready())
    await prefixes.root(tx)
    log = await reading.standing(tx)
    view = {} if log is None else {"log": asdict(log)}
    return JSONResponse({"status": "ready"} | view, headers=_HEADERS)

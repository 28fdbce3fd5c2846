"""/v1/log: the transparency log, for anybody who follows it (C2SP tlog-tiles)."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import PlainTextResponse, Response

from registry.api.deps import Read
from registry.api.openapi import problems
from registry.log import reading
from registry.log.reading import Tile

router = APIRouter(tags=["trust"])

_NOTE = (
    "registry.example/tierlink/88\n70001\nb0tv…kOE=\n\n"
    "— registry.example/tierlink/88 ZZ0bv…\n— witness.example 6f0c…\n"
)
_NEWEST = {"cache-control": "public, max-age=1"}
# The bytes of a tile of some width are settled for ever, also of an unfinished one.
_SETTLED = {"cache-control": "public, max-age=31536000, immutable"}
_BYTES = {
    200: {
        "description": "the same bytes for ever",
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    },
    **problems(404, 503),
}


@router.get(
    "/v1/log/checkpoint",
    summary="The newest checkpoint of the log",
    response_class=PlainTextResponse,
    responses={
        200: {
            "description": "a signed note with the cosignatures of the witnesses",
            "content": {"text/plain": {"example": _NOTE}},
        },
        **problems(503),
    },
)
async def checkpoint(tx: Read) -> PlainTextResponse:
    """Give the head of the log: everything below it is published."""
    return PlainTextResponse(await reading.checkpoint(tx), headers=_NEWEST)


@router.get(
    "/v1/log/tile/entries/{path:path}",
    summary="A bundle of entries of the log",
    response_class=Response,
    responses=_BYTES,
)
async def entries(path: str, tx: Read) -> Response:
    """Give up to 256 entries, each behind its length in two bytes."""
    return _bytes(await reading.entries(tx, Tile.parse("0", path)))


@router.get(
    "/v1/log/tile/{level}/{path:path}",
    summary="A tile of the log",
    response_class=Response,
    responses=_BYTES,
)
async def tile(level: str, path: str, tx: Read) -> Response:
    """Give up to 256 hashes of one level, joined: of the entries at level 0."""
    return _bytes(await reading.tile(tx, Tile.parse(level, path)))


def _bytes(body: bytes) -> Response:
    return Response(body, media_type="application/octet-stream", headers=_SETTLED)

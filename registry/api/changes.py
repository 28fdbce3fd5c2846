"""/v1/changes: what changed, for the resolvers that follow this node.

To whoever gives no API key it tells of links what grants open to anybody; to the holder of a prefix
also of those that end in it, or are opened to him; to the holder of the root of all.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import JSONResponse

from registry.api.deps import DepsDep, StrictQuery
from registry.api.openapi import problems
from registry.reader import MAX_CHANGES, Reader
from schemas.change import Watermark
from schemas.viewer import ANYBODY, Viewer

router = APIRouter(tags=["federation"])

_EXAMPLE = {
    "changes": [{"position": 4711, "op": "record", "about": "88.118.8/CELL-1", "version": 2}],
    "watermark": "Yk3nq0hA2mFz81Lw.4712",
    "more": False,
}


class ChangesQuery(BaseModel):
    """From where on, and how many."""

    model_config = ConfigDict(extra="forbid")

    after: str | None = Field(None, description="the watermark of the answer before")
    limit: int = Field(MAX_CHANGES, ge=1, le=MAX_CHANGES)


@router.get(
    "/v1/changes",
    summary="Read what changed since a watermark",
    responses={
        200: {
            "description": "at once, also when nothing changed; without `after` just the "
            "watermark of now, and of another history than that of `after` likewise. `floor` is "
            "there where not every change since `after` is kept: all from that position on are, "
            "and what was read below it may be outdated",
            "content": {"application/json": {"example": _EXAMPLE}},
        },
        **problems(400, 401, 503),
    },
    dependencies=[StrictQuery],
)
async def changes(
    request: Request, query: Annotated[ChangesQuery, Query()], deps: DepsDep
) -> JSONResponse:
    """Give the changes below the new watermark, oldest first; those of one write together.

    Changes of links that the caller is not shown are left out, and so are grants that are not his.
    """
    after = None if query.after is None else Watermark.parse(query.after)
    reader = Reader(deps.store, deps.clock)
    # Not as other routes find out who calls: that would hold a connection while this waits for one.
    given = request.headers.get("authorization")
    viewer = ANYBODY if given is None else Viewer(await reader.caller(given))
    batch = await reader.changes_for(viewer, after, query.limit)
    return JSONResponse(batch.to_json(), headers={"cache-control": "no-store"})

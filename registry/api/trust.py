"""/v1/trust: what a verifier needs to check everything else offline."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from registry import prefixes
from registry.api.deps import Read
from registry.api.openapi import problems
from schemas import api

router = APIRouter(tags=["trust"])


@router.get(
    "/v1/trust",
    summary="The trust bundle: the root and every delegation",
    response_model=api.TrustView,
    responses=problems(503),
)
async def trust(tx: Read) -> StreamingResponse:
    """Give trust.json; pin its roots, the delegations are a convenience."""
    root = await prefixes.root(tx)
    return StreamingResponse(_document(root, prefixes.delegated(tx)), media_type="application/json")


async def _document(root: str, pages: AsyncIterator[Sequence[str]]) -> AsyncIterator[str]:
    """Write it page by page: a national registry has many delegations."""
    yield f'{{"v":1,"roots":[{json.dumps(root)}],"delegations":['
    comma = ""
    async for page in pages:
        yield comma + ",".join(json.dumps(token) for token in page)
        comma = ","
    yield "]}"

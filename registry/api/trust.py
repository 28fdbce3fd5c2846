"""/v1/trust: what a verifier needs to check everything else offline."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence

from fastapi import APIRouter
from starlette.responses import StreamingResponse

from registry import prefixes
from registry.api.deps import DepsDep, Read
from registry.api.openapi import problems
from schemas import api
from schemas.policy import LogPolicy

router = APIRouter(tags=["trust"])


@router.get(
    "/v1/trust",
    summary="The trust bundle: the root and every delegation",
    response_model=api.TrustView,
    responses=problems(503),
)
async def trust(tx: Read, deps: DepsDep) -> StreamingResponse:
    """Give trust.json; pin its roots, the delegations are a convenience."""
    roots = await prefixes.roots(tx)
    pages = prefixes.delegated(tx)
    return StreamingResponse(_document(roots, pages, deps.policy), media_type="application/json")


async def _document(
    roots: Sequence[str], pages: AsyncIterator[Sequence[str]], policy: LogPolicy | None
) -> AsyncIterator[str]:
    """Write it page by page: a national registry has many delegations."""
    versions = ",".join(json.dumps(token) for token in roots)
    yield f'{{"v":1,"roots":[{versions}],"delegations":['
    comma = ""
    async for page in pages:
        yield comma + ",".join(json.dumps(token) for token in page)
        comma = ","
    yield "]}" if policy is None else "]," + json.dumps(policy.members())[1:]

"""The registry's ASGI app: the list of routers and the list of layers, nothing else."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware

from registry.api import (
    accounts,
    changes,
    custody,
    docs,
    health,
    identifiers,
    links,
    log,
    openapi,
    prefixes,
    problems,
    proof,
    source,
    trust,
)
from registry.api.express import Usual
from registry.api.problems import Problems
from registry.api.transaction import Deps, Transactions
from registry.reader import Reader

ROUTERS = (
    prefixes.router,
    custody.router,
    accounts.router,
    identifiers.router,
    links.router,
    changes.router,
    source.router,
    proof.router,
    trust.router,
    log.router,
    health.router,
    docs.router,
)


def create_app(deps: Deps) -> FastAPI:
    """Build the app over what the composition root made."""
    app = FastAPI(
        title="tierlink registry",
        version="1",
        description=docs.DESCRIPTION,
        openapi_url="/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Outermost first.
        middleware=[
            Middleware(Problems),
            Middleware(Usual, deps=deps),
            Middleware(Transactions, deps=deps),
        ],
    )
    app.state.reader = Reader(deps.store)  # with what it keeps for proofs
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    openapi.install(app)
    return app

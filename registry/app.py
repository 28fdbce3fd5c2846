"""The registry's ASGI app: the list of routers and the list of layers, nothing else."""

from __future__ import annotations

from fastapi import FastAPI
from starlette.middleware import Middleware
from starlette.types import Receive, Scope, Send

from registry.api import (
    accounts,
    changes,
    custody,
    docs,
    epcis,
    grants,
    health,
    identifiers,
    links,
    log,
    notices,
    openapi,
    prefixes,
    problems,
    proof,
    proposals,
    received,
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
    grants.router,
    notices.router,
    epcis.router,
    changes.router,
    source.router,
    proposals.router,
    received.router,
    proof.router,
    trust.router,
    log.router,
    health.router,
    docs.router,
)


class App(FastAPI):
    """The framework, and before it the usual registration, which costs less than the framework."""

    usual: Usual

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.usual(scope, receive, send)


def create_app(deps: Deps) -> FastAPI:
    """Build the app over what the composition root made."""
    app = App(
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
            Middleware(Transactions, deps=deps),
        ],
    )
    app.usual = Usual(super(App, app).__call__, deps)
    app.state.reader = Reader(deps.store)  # with what it keeps for proofs
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    openapi.install(app)
    return app

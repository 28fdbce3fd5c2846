"""The recursive role: a resolver that holds nothing, for applications beside it.

It has no database and no keys. What it answers came from the node that serves it, found by
verified delegations from one root, and is kept for as long as that node allows. Its trust is the
file of root versions; newer versions that are put into the file are followed while it runs.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from functools import partial
from pathlib import Path
from typing import cast

from starlette.types import ASGIApp

from resolver.app import Resolver, create_app
from resolver.asgi import Receive, Route, Scope, Send
from resolver.edge import make_protocol
from resolver.hopping import ROUTE as HOP_ROUTE
from resolver.metrics import Metrics
from resolver.native import negotiate
from resolver.nothing import Nothing
from resolver.proof import ROUTE as PROOF_ROUTE
from resolver.question import ROUTE as TRACE_ROUTE
from resolver.trust import Verifier
from schemas.chain import Trust
from schemas.errors import NotFound, TierlinkError
from schemas.root import advance
from tierlink import collecting, server
from tierlink.neighbourhood import neighbourhood
from tierlink.node import Node
from tierlink.paths import REGISTRY_PATHS
from tierlink.resolving import bundle, following, greeting, memory, together
from tierlink.rootfile import read_versions

FOLLOW_SECONDS = 1.0  # between two looks into the root file

_log = logging.getLogger(__name__)


async def serve(node: Node, sockets: list[socket.socket]) -> None:
    """Answer on these sockets until told to stop; raise TierlinkError without a root file."""
    path = node.registry.root_file
    assert path is not None, "Node.read demands it of this role"
    root = RootFile(path)
    verifier, metrics = Verifier(root.trust()), Metrics()
    ending = node.ending()
    async with neighbourhood(node, Nothing(), verifier, metrics) as around:
        reading = Resolver(
            around.source,
            verifier,
            node.resolver,
            memory=memory(node.resolver),
            metrics=metrics,
        )
        app = create_app(
            reading, routes=_nothing_here(), checks=(ending.unready,), degraded=(root.amiss,)
        )
        async with following(reading):
            door = make_protocol(reading.answers, negotiate, ask=reading.ask)
            beside = partial(together, greeting(node, sockets), partial(root.follow, verifier))
            collecting.settle()
            await server.serve(cast("ASGIApp", app), door, sockets, beside, ending=ending)


class RootFile:
    """The file of root versions that a node without a database trusts."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.failure = ""

    def trust(self) -> Trust:
        """Return the trust in the newest version; raise BadInput or VerifyError."""
        return Trust.parse(bundle(read_versions(self._path), ()))

    def amiss(self) -> str:
        """Say why newer versions cannot be followed, nothing where they are."""
        return f"root: {self.failure}" if self.failure else ""

    async def follow(self, verifier: Verifier) -> None:
        """Let a verifier go on with what is added to the file, for as long as the node runs."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            self.look(verifier)

    def look(self, verifier: Verifier) -> None:
        """Read the file once; what does not follow from the root that stands is passed over."""
        try:
            verifier.renew(advance(verifier.root, read_versions(self._path)))
        except TierlinkError as err:
            if not self.failure:
                _log.warning("the root file is not followed: %s", err)
            self.failure = str(err)
        else:
            self.failure = ""


def _nothing_here() -> tuple[Route, ...]:
    """Return what answers for the calls of nodes that hold something."""
    below = (TRACE_ROUTE.decode(), PROOF_ROUTE, *(f"{path}/" for path in REGISTRY_PATHS))
    return tuple(Route(path, _refuse) for path in (*REGISTRY_PATHS, HOP_ROUTE, *below))


async def _refuse(scope: Scope, _receive: Receive, _send: Send) -> None:
    raise NotFound(
        "this is a recursive node: it resolves, and holds nothing",
        value=scope["path"],
        fix="send it to the node that serves the prefix; ?recursive=false names it",
    )

"""The other nodes, as one process speaks to them: by what delegations say, and one root."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from resolver.federated import Federated
from resolver.metrics import Metrics
from resolver.peers import Peers
from resolver.referral import Place
from resolver.sources import Source
from resolver.trust import Verifier
from tierlink.node import Node


@dataclass(frozen=True, slots=True)
class Neighbourhood:
    """The other nodes, as one process speaks to them."""

    source: Federated
    peers: Peers
    place: Place


@contextlib.asynccontextmanager
async def neighbourhood(
    node: Node, local: Source, verifier: Verifier, metrics: Metrics
) -> AsyncIterator[Neighbourhood]:
    """Open what a resolver asks: its own source first, then the nodes that delegations name."""
    place = Place(node.place.root_url, node.resolver.public_url)
    peers = Peers(private=node.place.peers_private, metrics=metrics)
    source = Federated(local, verifier, peers, place, metrics=metrics)
    try:
        yield Neighbourhood(source, peers, place)
    finally:
        await peers.close()

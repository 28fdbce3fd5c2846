"""The database of a node, opened."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from registry.primary import Primary
from registry.reader import Reader
from registry.store.engine import Store
from tierlink.node import Node

PRIMARY_POOL = 4  # connections of a process to the primary of its standby, for the read index


@contextlib.asynccontextmanager
async def opened(url: str, pool: int) -> AsyncIterator[Store]:
    """Open a database with so many connections at most, and close it."""
    store = Store.open(url, pool=pool)
    try:
        yield store
    finally:
        await store.close()


@contextlib.asynccontextmanager
async def sourced(
    node: Node, url: str, pool: int | None = None
) -> AsyncIterator[tuple[Store, Reader]]:
    """Open what a resolver reads from: a database, by way of its primary where it is a standby."""
    async with opened(url, pool or node.registry.database_pool) as store:
        if node.registry.primary is None:
            yield store, Reader(store)
            return
        async with opened(node.registry.primary, PRIMARY_POOL) as primary:
            yield store, Reader(store, primary=Primary(primary))

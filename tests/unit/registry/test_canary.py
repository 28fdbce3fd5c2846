"""The canary of the registry: one row, told with every batch, and passed like any write."""

import asyncio

from sqlalchemy import text

from registry import canary
from registry.reader import Reader
from registry.store import canary as rows
from schemas.change import Batch
from tests.fixtures_registry import Registry


async def write(registry: Registry, least=0.0) -> None:
    async with registry.store.write() as tx:
        await rows.write(tx, least)


async def test_a_batch_tells_the_newest(registry):
    reader = Reader(registry.store)
    assert (await reader.changes(None)).canary is None
    await write(registry)
    first = await reader.changes(None)
    assert 0 <= first.canary.age < 5
    await write(registry)
    second = await reader.changes(first.watermark)
    assert second.canary.position > first.canary.position
    assert second.changes == ()
    assert Batch.from_json(second.to_json()).canary.position == second.canary.position


async def test_of_two_registries_one_writes(registry):
    reader = Reader(registry.store)
    await write(registry)
    told = (await reader.changes(None)).canary
    await write(registry, least=60)
    assert (await reader.changes(None)).canary.position == told.position


async def test_it_is_no_change_and_no_leaf(registry):
    await write(registry)
    async with registry.store.read() as tx:
        [(before,)] = await tx.connection.execute(text("SELECT count(*) FROM changes"))
    await write(registry)
    async with registry.store.read() as tx:
        [(after,)] = await tx.connection.execute(text("SELECT count(*) FROM changes"))
        [(kept,)] = await tx.connection.execute(text("SELECT count(*) FROM canary"))
    assert (after, kept) == (before, 1)


async def test_it_is_written_again_and_again(registry):
    reader = Reader(registry.store)
    task = asyncio.create_task(canary.sing(registry.store, 0.02))
    seen = set()
    async with asyncio.timeout(10):
        while len(seen) < 3:
            told = (await reader.changes(None)).canary
            seen |= {told.position} if told else set()
            await asyncio.sleep(0.01)
    task.cancel()

"""The outbox: in the write's own transaction, singly or by COPY, in order."""

import pytest
from sqlalchemy import select, text

from registry.changes import Entry, record, record_many
from registry.store.tables import changes, unit_of
from schemas.change import Op
from schemas.identifier import Prefix

GEAR = Prefix.parse("88.100")
COLUMNS = (changes.c.unit, changes.c.op, changes.c.about, changes.c.also, changes.c.version)


async def rows(store):
    async with store.read() as tx:
        query = select(*COLUMNS, changes.c.digest, changes.c.xid).order_by(changes.c.id)
        return [tuple(row) for row in await tx.connection.execute(query)]


async def test_a_row_holds_its_transactions_xid(store):
    async with store.write() as tx:
        position = await record(tx, Op.LINK, GEAR, "88.100/A", 3, also="88.101/B", digest="d")
        xid = await tx.connection.execute(text("SELECT pg_current_xact_id()::text::bigint"))
        assert xid.scalar_one() == position
    assert await rows(store) == [(unit_of(GEAR), Op.LINK, "88.100/A", "88.101/B", 3, "d", position)]


async def test_many_by_copy_in_order_and_in_the_same_transaction(store):
    async with store.write() as tx:
        entries = [Entry(Op.RECORD, f"88.100/{n}", n, digest=f"d{n}") for n in range(100)]
        await record_many(tx, GEAR, entries)
        position = await record(tx, Op.PREFIX, GEAR, "88.100", 1, digest=None)
    found = await rows(store)
    assert [row[2] for row in found] == [f"88.100/{n}" for n in range(100)] + ["88.100"]
    assert {row[-1] for row in found} == {position}


@pytest.mark.parametrize("many", [False, True])
async def test_what_is_rolled_back_was_never_told(store, many):
    async def fail():
        async with store.write() as tx:
            if many:
                await record_many(tx, GEAR, [Entry(Op.RECORD, "88.100/A", 1)])
            else:
                await record(tx, Op.RECORD, GEAR, "88.100/A", 1, digest=None)
            raise LookupError

    with pytest.raises(LookupError):
        await fail()
    assert await rows(store) == []

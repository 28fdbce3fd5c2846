"""The parties of `tests.parties` put straight into the tables, as if they had registered.

stock = await Stock.of(store)                 root, 88, 88.100 (gears) and 88.101 (steel)
await stock.register(record(…))               a signed record, with its rule
await stock.state(assertion(…))               one side of a link, both edges kept in step
"""

from dataclasses import dataclass

from sqlalchemy import insert, update

from registry.store import links
from registry.store.engine import Store
from registry.store.links import Statement
from registry.store.tables import identifiers, node, organisations, prefixes, rules, unit_of
from schemas.envelope import digest
from schemas.identifier import Prefix
from tests import parties
from tests.opened import open_links

SIGNERS = {"88.100": parties.GEAR, "88.101": parties.STEEL}
TOKENS = {
    ".": parties.ROOT_TOKEN,
    "88": parties.INDUSTRY_TOKEN,
    "88.100": parties.GEAR_TOKEN,
    "88.101": parties.STEEL_TOKEN,
}


@dataclass(frozen=True)
class Stock:
    store: Store

    @classmethod
    async def of(cls, store):
        async with store.write() as tx:
            await tx.connection.execute(insert(node).values(id=1, incarnation="first"))
            made = insert(organisations).values(name="Test").returning(organisations.c.id)
            holder = (await tx.connection.execute(made)).scalar_one()
            for name, token in TOKENS.items():
                values = {
                    "prefix": name,
                    "parent": None if name == "." else str(Prefix.parse(name).parent),
                    "organisation_id": holder,
                    "status": "active",
                    "sequence": 1,
                    "delegation": token,
                    "salt": bytes(32),
                }
                await tx.connection.execute(insert(prefixes).values(values))
        await open_links(store, *TOKENS)
        return cls(store)

    async def execute(self, statement, *values):
        async with self.store.write() as tx:
            await tx.connection.execute(statement, *values)

    async def register(self, *records):
        """Store records and the rules of classes; return the envelopes."""
        tokens = [item.sign(SIGNERS[str(item.identifier.prefix)]) for item in records]
        rows = [
            {
                "unit": unit_of(item.identifier.prefix),
                "identifier": item.identifier.text,
                "version": item.version,
                "kind": item.kind,
                "status": item.status,
                "parent": item.parent.text if item.parent else None,
                "issued_at": item.issued_at,
                "digest": digest(token),
                "envelope": token,
            }
            for item, token in zip(records, tokens, strict=True)
        ]
        covering = [
            {
                "unit": unit_of(item.identifier.prefix),
                "head": item.rule.head,
                "identifier": item.identifier.text,
                "pattern": item.rule.pattern,
            }
            for item in records
            if item.rule
        ]
        await self.execute(insert(identifiers), rows)
        if covering:
            await self.execute(insert(rules), covering)
        return tokens

    async def state(self, *assertions):
        """Store first assertions; return the envelopes."""
        tokens = []
        async with self.store.write() as tx:
            for item in assertions:
                prefix = item.asserter.prefix
                token = item.sign(SIGNERS[str(prefix)])
                row = Statement(
                    item.link.key, item.side, 1, item.state, item.issued_at, digest(token), token
                )
                await links.insert_first(tx, prefix, [row])
                if item.state == "asserted":
                    await links.raise_sides(tx, [(item.link, item.link.key, item.side)])
                tokens.append(token)
        return tokens

    async def switch(self, prefix, status):
        await self.execute(
            update(prefixes).where(prefixes.c.prefix == prefix).values(status=status)
        )

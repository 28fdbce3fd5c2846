"""Root versions: the newest is the row "." of `prefixes`, those before are in the history."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, union_all

from registry.store.engine import ReadTx
from registry.store.tables import delegation_history, prefixes
from schemas.identifier import ROOT_TEXT


async def versions(tx: ReadTx) -> Sequence[str]:
    """Return the root envelopes, the first version first. One statement."""
    earlier = select(delegation_history.c.sequence, delegation_history.c.delegation).where(
        delegation_history.c.prefix == ROOT_TEXT
    )
    newest = select(prefixes.c.sequence, prefixes.c.delegation).where(
        prefixes.c.prefix == ROOT_TEXT
    )
    every = union_all(earlier, newest).subquery()
    query = select(every.c.delegation).order_by(every.c.sequence)
    return list((await tx.connection.execute(query)).scalars())

"""Prefixes whose links everybody is shown, for tests that are about something else."""

from sqlalchemy.dialects.postgresql import insert

from registry.store.tables import grants, unit_of
from schemas.identifier import Prefix


async def open_links(store, *prefixes):
    """Let each prefix have granted to anybody what it can; the envelope is none that was signed."""
    rows = [
        {
            "unit": unit_of(Prefix.parse(prefix)),
            "id": "open",
            "version": 1,
            "state": "granted",
            "grantee": "*",
            "root": "",
            "direction": "",
            "depth": 100,
            "types": [],
            "lifecycles": [],
            "purpose": "",
            "show": "full",
            "digest": f"open {prefix}",
            "envelope": "none",
        }
        for prefix in prefixes
    ]
    async with store.write() as tx:
        await tx.connection.execute(insert(grants).on_conflict_do_nothing(), rows)

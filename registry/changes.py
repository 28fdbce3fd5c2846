"""The outbox: one row per accepted write, in its transaction, read by log and resolvers alike.

What both have passed is kept for some days, so that who was away may go on, and then forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from registry.store import changes as store
from registry.store.engine import WriteTx
from registry.store.tables import unit_of
from schemas.change import REPLAYED, Op
from schemas.identifier import Prefix
from schemas.leaf import What


class Entry(NamedTuple):
    """One accepted write of a batch; the fields are those of `record`."""

    op: Op
    about: str
    version: int
    also: str = ""
    digest: str | None = None
    what: What | None = What.RECORD  # None where the log is not to know
    subject: str | None = None


async def record(
    tx: WriteTx,
    op: Op,
    prefix: Prefix,
    about: str,
    version: int,
    *,
    also: str = "",
    digest: str | None,
    what: What = What.RECORD,
    subject: str | None = None,
) -> int:
    """Tell of one write under `prefix`; return its position (the transaction's xid).

    `about` and `also` are as in `schemas.change.Change`, but that of a grant `also` is the party it
    was to before, where that was another; `digest` is the accepted envelope's, None where nothing
    was signed (a suspension). `what` and `subject`, which is `about` where not given, are those of
    the leaf that the log gains (`schemas.leaf`). By the subject of a link, and of a grant, it is
    found whom the change may be told to, whether or not the log is.
    """
    row = (op, about, also, version, digest, what, subject)
    return await store.insert_change(tx, unit_of(prefix), row)


async def record_many(tx: WriteTx, prefix: Prefix, entries: Iterable[Entry]) -> None:
    """Tell of many writes under one prefix, in order, by COPY."""
    rows = (
        (int(e.op), e.about, e.also, e.version, e.digest, e.what and e.what.value, e.subject)
        for e in entries
    )
    await store.copy_changes(tx, unit_of(prefix), rows)


async def forget(tx: WriteTx, seconds: float, now: float, limit: int) -> int:
    """Delete about `limit` changes that nobody needs, accepted `seconds` before `now` or earlier.

    O1  how far both readers have passed: the log by its cursor, resolvers by what they ask for when
        they begin (`schemas.change.REPLAYED` transactions)
    O2  the first changes that are kept and lie below that, up to the first that is too young; all
        those of one transaction together
    O3  they are said not to be kept, from now on: `reader.changes` tells whoever asks from below
    O4  they are deleted

    O3 is in one transaction with O4, so nobody reads on over a gap that he was not told of. Return
    how many rows are gone: less than `limit` where there are no more.
    """
    driver = await tx.driver()
    # O1
    kept = await store.kept(driver)
    if kept is None:
        return 0
    end = min(kept.logged, kept.xmin - REPLAYED)
    # O2
    since, oldest = kept.since, datetime.fromtimestamp(now - seconds, UTC)
    if since < end:
        for xid, at in await store.oldest(driver, since, end, limit):
            if at > oldest:
                break
            since = xid + 1
    if since == kept.since:
        return 0
    # O3
    await store.keep_since(driver, since)
    # O4
    return await store.forget(driver, kept.since, since)

"""Prefixes and who holds them; the root is the row "."."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Label,
    LargeBinary,
    Row as SqlRow,
    Select,
    Text,
    exists,
    func,
    insert,
    literal,
    literal_column,
    null,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert as upsert

from registry.store.engine import ReadTx, WriteTx
from registry.store.tables import (
    delegation_history,
    hosted_keys,
    node,
    organisations,
    prefixes,
    recoveries,
)
from schemas.delegation import USES
from schemas.errors import Unavailable
from schemas.identifier import Prefix

ACTIVE, SUSPENDED = "active", "suspended"

# The row was last changed by a transaction that got its id after this one got its own.
_OVERTAKEN: Label[bool] = literal_column(
    "coalesce(age(prefixes.xmin) < age(pg_current_xact_id_if_assigned()::xid), false)"
).label("overtaken")


@dataclass(frozen=True, slots=True)
class Organisation:
    """Who holds a prefix."""

    name: str
    uscc: str | None = None  # unified social credit code, 18 characters
    lei: str | None = None  # legal entity identifier, ISO 17442, 20 characters


@dataclass(frozen=True, slots=True)
class Link:
    """One step of a chain as it is stored; `run` is what `delegation` rests on, oldest first."""

    prefix: Prefix
    status: str
    delegation: str
    run: tuple[str, ...] = ()
    home: str | None = None  # the node that serves it, None for this one

    @property
    def tokens(self) -> tuple[str, ...]:
        """The parent's last delegation and the holder's own ones since."""
        return (*self.run, self.delegation)


@dataclass(frozen=True, slots=True)
class Recovery:
    """A delegation that waits for its time."""

    sequence: int
    delegation: str
    effective_at: int


@dataclass(frozen=True, slots=True)
class Row:
    """A prefix as it is stored."""

    prefix: Prefix
    parent: Prefix | None
    organisation: Organisation
    status: str
    sequence: int
    delegation: str
    hosted: bool
    run: tuple[str, ...] = ()
    recovery: Recovery | None = None
    home: str | None = None


async def lineage(tx: ReadTx, prefix: Prefix) -> Sequence[Link]:
    """Return what is allocated of a prefix and its ancestors, the root first. One statement."""
    names = [str(item) for item in (prefix, *prefix.ancestors())]
    query = select(
        prefixes.c.prefix,
        prefixes.c.status,
        prefixes.c.delegation,
        prefixes.c.run,
        prefixes.c.home,
    ).where(prefixes.c.prefix.in_(names))
    rows = await tx.connection.execute(query)
    links = [
        Link(Prefix.parse(row.prefix), row.status, row.delegation, tuple(row.run), row.home)
        for row in rows
    ]
    return sorted(links, key=lambda link: len(link.prefix.labels))


async def lock(tx: WriteTx, prefix: Prefix) -> bool:
    """Keep others from changing a prefix, or what is right below it, until the end.

    The log orders writes by transaction id. Raise Unavailable where the prefix was changed by a
    transaction younger than this one: what this one says of it would stand before that.
    """
    query = (
        select(prefixes.c.prefix, _OVERTAKEN)
        .where(prefixes.c.prefix == str(prefix))
        .with_for_update(key_share=True)
    )
    row = (await tx.connection.execute(query)).one_or_none()
    if row is not None and row.overtaken:
        raise Unavailable(f"{prefix} was changed by somebody else at the same time")
    return row is not None


async def find(tx: ReadTx, prefix: Prefix) -> Row | None:
    """Look up one prefix."""
    row = (await tx.connection.execute(_rows().where(prefixes.c.prefix == str(prefix)))).first()
    return _row(row) if row else None


async def page(tx: ReadTx, parent: Prefix | None, after: str | None, limit: int) -> Sequence[Row]:
    """Return prefixes in byte order after one, all or those right below a parent."""
    query = _rows().order_by(prefixes.c.prefix).limit(limit)
    if parent is not None:
        query = query.where(prefixes.c.parent == str(parent))
    if after is not None:
        query = query.where(prefixes.c.prefix > after)
    return [_row(row) for row in await tx.connection.execute(query)]


async def delegations(tx: ReadTx, after: str, limit: int) -> Sequence[tuple[str, Sequence[str]]]:
    """Return (prefix, its run of delegation envelopes) in byte order after a prefix."""
    query = (
        select(prefixes.c.prefix, prefixes.c.delegation, prefixes.c.run)
        .where(prefixes.c.prefix > after)
        .order_by(prefixes.c.prefix)
        .limit(limit)
    )
    rows = await tx.connection.execute(query)
    return [(row.prefix, (*row.run, row.delegation)) for row in rows]


async def bases(tx: ReadTx, parent: Prefix, after: str, limit: int) -> Sequence[tuple[str, str]]:
    """Return (prefix, its parent's last delegation) of those right below one, in byte order."""
    base = func.coalesce(prefixes.c.run[1], prefixes.c.delegation).label("base")
    query = (
        select(prefixes.c.prefix, base)
        .where(prefixes.c.parent == str(parent), prefixes.c.prefix > after)
        .order_by(prefixes.c.prefix)
        .limit(limit)
    )
    return [(row.prefix, row.base) for row in await tx.connection.execute(query)]


async def longest_below(tx: ReadTx, prefix: Prefix) -> int:
    """Return how many delegations the longest chain from a prefix downwards adds, 0 without any."""
    query = (
        select(prefixes.c.prefix, prefixes.c.parent, func.cardinality(prefixes.c.run).label("run"))
        .where(prefixes.c.prefix > f"{prefix}.", prefixes.c.prefix < f"{prefix}/")
        .order_by(prefixes.c.prefix)  # whoever is above comes before
    )
    length = {str(prefix): 0}
    for row in await tx.connection.execute(query):
        length[row.prefix] = length.get(row.parent, 0) + row.run + 1
    return max(length.values())


async def first_below(tx: ReadTx, prefix: Prefix) -> str | None:
    """Return the first prefix that is allocated strictly below one."""
    # "/" follows "." in byte order: this range is every text that begins with the prefix and a dot.
    query = (
        select(prefixes.c.prefix)
        .where(prefixes.c.prefix > f"{prefix}.", prefixes.c.prefix < f"{prefix}/")
        .order_by(prefixes.c.prefix)
        .limit(1)
    )
    found: str | None = (await tx.connection.execute(query)).scalar_one_or_none()
    return found


async def insert_prefix(
    tx: WriteTx,
    prefix: Prefix,
    parent: Prefix | None,
    organisation: Organisation,
    *,
    delegation: str,
    salt: bytes,
    sequence: int = 1,
    run: Sequence[str] = (),
    home: str | None = None,
) -> bool:
    """Store a new prefix with its holder; False where it is taken (roll back then)."""
    holder = (
        insert(organisations)
        .values(name=organisation.name, uscc=organisation.uscc, lei=organisation.lei)
        .returning(organisations.c.id)
        .cte("holder")
    )
    values = select(
        literal(str(prefix)),
        null() if parent is None else literal(str(parent)),
        holder.c.id,
        literal(ACTIVE),
        literal(sequence),
        literal(delegation),
        literal(salt, LargeBinary),
        literal(list(run), ARRAY(Text)),
        null() if home is None else literal(home),
    )
    names = [
        "prefix",
        "parent",
        "organisation_id",
        "status",
        "sequence",
        "delegation",
        "salt",
        "run",
        "home",
    ]
    statement = (
        upsert(prefixes)
        .from_select(names, values)
        .on_conflict_do_nothing()
        .returning(prefixes.c.prefix)
    )
    return (await tx.connection.execute(statement)).one_or_none() is not None


async def replace_delegation(
    tx: WriteTx, prefix: Prefix, sequence: int, delegation: str, run: Sequence[str] = ()
) -> None:
    """Put a newer delegation in place and the one before into the history. One statement.

    `run` is what the newer one rests on: nothing for a parent's.
    """
    before = (
        select(prefixes.c.prefix, prefixes.c.sequence, prefixes.c.delegation)
        .where(prefixes.c.prefix == str(prefix))
        .cte("before")
    )
    kept = (
        insert(delegation_history)
        .from_select(["prefix", "sequence", "delegation"], select(before))
        .returning(delegation_history.c.prefix)
        .cte("kept")
    )
    await tx.connection.execute(
        update(prefixes)
        .where(prefixes.c.prefix == kept.c.prefix)
        .values(sequence=sequence, delegation=delegation, run=list(run))
    )


async def set_status(tx: WriteTx, prefix: Prefix, status: str) -> bool:
    """Set the status of a prefix; tell whether it was another one."""
    statement = (
        update(prefixes)
        .where(prefixes.c.prefix == str(prefix), prefixes.c.status != status)
        .values(status=status)
        .returning(prefixes.c.prefix)
    )
    return (await tx.connection.execute(statement)).one_or_none() is not None


async def set_home(tx: WriteTx, prefix: Prefix, home: str | None) -> bool:
    """Set which node serves a prefix, None for this one; tell whether it was another."""
    statement = (
        update(prefixes)
        .where(prefixes.c.prefix == str(prefix), prefixes.c.home.is_distinct_from(home))
        .values(home=home)
        .returning(prefixes.c.prefix)
    )
    return (await tx.connection.execute(statement)).one_or_none() is not None


async def insert_node(tx: WriteTx, incarnation: str) -> bool:
    """Name this history of the database; False where it has a name (waits for a rival)."""
    statement = (
        upsert(node)
        .values(id=1, incarnation=incarnation)
        .on_conflict_do_nothing()
        .returning(node.c.id)
    )
    return (await tx.connection.execute(statement)).one_or_none() is not None


async def find_incarnation(tx: ReadTx) -> str | None:
    """Return the name of this history of the database."""
    found: str | None = (
        await tx.connection.execute(select(node.c.incarnation))
    ).scalar_one_or_none()
    return found


def _rows() -> Select[*tuple[Any, ...]]:
    # A key of the log, one that is only committed to, one that waits for a recovery: none acts yet.
    hosted = exists().where(
        hosted_keys.c.prefix == prefixes.c.prefix, hosted_keys.c.uses.overlap(sorted(USES))
    )
    return select(
        prefixes.c.prefix,
        prefixes.c.parent,
        prefixes.c.status,
        prefixes.c.sequence,
        prefixes.c.delegation,
        organisations.c.name,
        organisations.c.uscc,
        organisations.c.lei,
        hosted.label("hosted"),
        prefixes.c.run,
        prefixes.c.home,
        recoveries.c.sequence.label("recovery_sequence"),
        recoveries.c.delegation.label("recovery_delegation"),
        recoveries.c.effective_at,
    ).select_from(
        prefixes.join(organisations).outerjoin(recoveries, recoveries.c.prefix == prefixes.c.prefix)
    )


def _row(row: SqlRow[*tuple[Any, ...]]) -> Row:
    return Row(
        prefix=Prefix.parse(row.prefix),
        parent=None if row.parent is None else Prefix.parse(row.parent),
        organisation=Organisation(row.name, row.uscc, row.lei),
        status=row.status,
        sequence=row.sequence,
        delegation=row.delegation,
        hosted=row.hosted,
        run=tuple(row.run),
        recovery=None
        if row.effective_at is None
        else Recovery(row.recovery_sequence, row.recovery_delegation, row.effective_at),
        home=row.home,
    )


async def homes(tx: ReadTx, names: Iterable[str]) -> dict[str, str | None]:
    """Return where each of some prefixes is served, of those that are known: None is here."""
    query = select(prefixes.c.prefix, prefixes.c.home).where(prefixes.c.prefix.in_(list(names)))
    return {row.prefix: row.home for row in await tx.connection.execute(query)}

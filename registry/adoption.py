"""Adoption: what other nodes delegated, known here as well.

A node that holds a prefix below another node's knows the chain above it: the roots, and each
delegation from there down. So it knows the chains of partners whose statements it keeps. What is
adopted is verified under our own root, in these steps:

    1. the delegations offered make a valid chain from our root to the prefix
    2. the home of each prefix: the node its delegation names, else that of the one above
    3. a prefix that is not known yet is taken in; of one that is, what is newer replaces what
       stands, and what is older is passed over: nobody brings a delegation back
    4. each is told as a change, so that caches follow and our log has what we rely on

What this node delegated itself is never adopted from others: its word stands here.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from itertools import groupby

from registry import changes, prefixes
from registry.here import Here
from registry.store import prefixes as store
from registry.store.engine import WriteTx
from registry.store.prefixes import ACTIVE, SUSPENDED, Organisation
from schemas.chain import Chain, Trust, index
from schemas.change import Op
from schemas.delegation import Delegation, parse_root
from schemas.envelope import digest
from schemas.errors import TierlinkError
from schemas.identifier import Prefix
from schemas.leaf import SALT_BYTES, What, status_digest
from schemas.root import advance

ROOT = Prefix(())


async def adopt(
    tx: WriteTx, prefix: Prefix, offered: Sequence[object], here: Here
) -> tuple[Prefix, ...]:
    """Take in the chain of a prefix; return what changed, root-most first; raise VerifyError."""
    # 1
    found = await _chain(tx, prefix, offered)
    home = here.home(here.root)
    changed = [ROOT] if await store.set_home(tx, ROOT, home) else []
    for subject, group in groupby(found.delegations[1:], key=lambda item: item.subject):
        run = list(group)
        # 2
        home = here.home(run[-1].node) if run[-1].node else home
        # 3
        if await _take(tx, run, home):
            changed.append(subject)
    return tuple(changed)


async def introduce(
    tx: WriteTx, prefix: Prefix, offered: Sequence[object], here: Here, held: TierlinkError
) -> Chain:
    """Adopt the chain of who speaks from another node; return it; raise `held` if he is here."""
    if prefix in await prefixes.held(tx, [prefix]):
        raise held
    await adopt(tx, prefix, offered, here)
    return await prefixes.chain(tx, prefix, anywhere=True)


async def renew_root(tx: WriteTx, versions: Sequence[str], now: int) -> tuple[Prefix, ...]:
    """Go on with newer root versions, each following the one before (step C1); raise VerifyError.

    Return the root where there was a newer one, else nothing.
    """
    await store.lock(tx, ROOT)
    row = await store.find(tx, ROOT)
    assert row is not None, "a node is founded before it adopts"
    current = parse_root(row.delegation)[1]
    newest = advance(current, versions, now)
    if newest.sequence == current.sequence:
        return ()
    for token in versions:
        root = parse_root(token)[1]
        if root.sequence > current.sequence:
            await store.replace_delegation(tx, ROOT, root.sequence, token)
            await _tell(tx, root, token)
    return (ROOT,)


async def mirror(tx: WriteTx, prefix: Prefix, *, suspended: bool) -> bool:
    """Suspend or resume a prefix as the node of its parent does; tell whether that was new."""
    await store.lock(tx, prefix)
    row = await store.find(tx, prefix)
    status = SUSPENDED if suspended else ACTIVE
    if row is None or not await store.set_status(tx, prefix, status):
        return False
    said = status_digest(digest(row.delegation), suspended=suspended)
    await changes.record(
        tx, Op.PREFIX, prefix, str(prefix), row.sequence, digest=said, what=What.STATUS
    )
    return True


async def _chain(tx: WriteTx, prefix: Prefix, offered: Sequence[object]) -> Chain:
    row = await store.find(tx, ROOT)
    assert row is not None, "a node is founded before it adopts"
    root = Chain((parse_root(row.delegation)[1],))
    return Trust(root).chain(prefix, index(offered))


async def _take(tx: WriteTx, run: Sequence[Delegation], home: str | None) -> bool:
    newest = run[-1]
    subject = newest.subject
    tokens = [item.envelope.token for item in run if item.envelope is not None]
    row = await store.find(tx, subject)
    if row is not None and row.sequence >= newest.sequence and row.home == home:
        return False  # as nearly always: nobody is kept waiting for that
    known = await store.lock(tx, subject)
    row = await store.find(tx, subject) if known else None
    if row is None:
        await _insert(tx, newest, tokens, home)
    elif row.sequence < newest.sequence:
        await store.replace_delegation(tx, subject, newest.sequence, tokens[-1], tokens[:-1])
        await store.set_home(tx, subject, home)
    elif row.sequence > newest.sequence or not await store.set_home(tx, subject, home):
        return False
    # 4
    await _tell(tx, newest, tokens[-1])
    return True


async def _tell(tx: WriteTx, said: Delegation, token: str) -> None:
    subject = said.subject
    await changes.record(
        tx,
        Op.PREFIX,
        subject,
        str(subject),
        said.sequence,
        digest=digest(token),
        what=What.DELEGATION,
    )


async def _insert(tx: WriteTx, newest: Delegation, tokens: Sequence[str], home: str | None) -> None:
    organisation = {name: str(value) for name, value in newest.organisation.items()}
    await store.insert_prefix(
        tx,
        newest.subject,
        newest.parent,
        Organisation(
            organisation.get("name", str(newest.subject)),
            organisation.get("uscc"),
            organisation.get("lei"),
        ),
        delegation=tokens[-1],
        salt=secrets.token_bytes(SALT_BYTES),
        sequence=newest.sequence,
        run=tokens[:-1],
        home=home,
    )

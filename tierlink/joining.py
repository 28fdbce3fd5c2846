"""Joining: a node takes up a prefix below another node's, and follows the chain above it.

    1. keys: those made here by a join that broke off, else new ones; they never leave this node
    2. at the parent node, with an API key of the parent prefix: each key proves itself, and the
       prefix is allocated, served by us. Where it was allocated before, it has to be with our keys
    3. the chain from our root down to the prefix, as the parent node gives it, is verified and
       adopted
    4. an API key of the prefix for the operator of this node

From then on the parent node is asked for the chain every few seconds: what it says that is newer
is adopted, a newer root is followed, and a prefix that it suspends is suspended here. While it
cannot be reached, what stands goes on standing.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from registry import accounts, adoption, custody, prefixes
from registry.delegations import HOSTED_USES
from registry.here import Here
from registry.keyring import Keyring
from registry.store.engine import ReadTx, Store
from schemas.errors import Conflict, PrefixNotFound, TierlinkError
from schemas.identifier import Identifier, Prefix
from schemas.keys import Signer
from schemas.source import State
from tierlink.client import AsyncClient
from tierlink.client.prefixes import NewKey
from tierlink.settings import private_write

FOLLOW_SECONDS = 2.0  # between two looks at what the parent node says of the chain

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wish:
    """What a node wants to be: which prefix, served where, and for whom."""

    prefix: Prefix
    organisation: str
    here: Here


async def join(
    store: Store, keyring: Keyring, parent: AsyncClient, wish: Wish, *, data_dir: Path, now: int
) -> bool:
    """Take up the prefix unless that was done; tell whether it was now; raise TierlinkError."""
    async with store.read() as tx:
        if await _held(tx, wish.prefix):
            return False
    # 1
    async with store.write() as tx:
        key, following = await custody.prepare(tx, keyring, wish.prefix)
    # 2
    try:
        await parent.allocate(
            wish.prefix,
            wish.organisation,
            keys=[NewKey(key, HOSTED_USES)],
            next_keys=[following],
            node=wish.here.url,
        )
    except Conflict as err:
        if err.code != "prefix_taken":
            raise
        await _check_ours(parent, wish.prefix, key)
    # 3 and 4
    fetched = await parent.source([_any(wish.prefix)])
    async with store.write() as tx:
        await adoption.adopt(tx, wish.prefix, fetched.delegations, wish.here)
        made = await accounts.create_key(tx, wish.prefix, now, label="operator of this node")
        # Written before the commit: a key that nobody was told of could never be used.
        text = json.dumps({"prefix": str(wish.prefix), "api_key": made.text}, indent=1)
        private_write(data_dir / "operator.json", text + "\n")
    return True


async def _held(tx: ReadTx, prefix: Prefix) -> bool:
    try:
        return (await prefixes.show(tx, prefix)).row.home is None
    except PrefixNotFound:
        return False


async def _check_ours(parent: AsyncClient, prefix: Prefix, key: Signer) -> None:
    """Go on with a join that broke off after the allocation; raise Conflict for another's."""
    view = await parent.prefix(prefix)
    if key.public.kid not in view.kids:
        raise Conflict(
            f"{prefix} is allocated to somebody else",
            value=str(prefix),
            fix="choose another TIERLINK_PREFIX, or restore the data folder that it joined from",
            code="prefix_taken",
        )


def _any(prefix: Prefix) -> Identifier:
    """Return some identifier under a prefix: what is asked for is its chain."""
    return Identifier.parse(f"{prefix}/-")


class Follower:
    """Keeps the chain above a prefix as the parent node says it is."""

    def __init__(
        self,
        store: Store,
        parent: AsyncClient,
        prefix: Prefix,
        here: Here,
        clock: Callable[[], int],
    ) -> None:
        self._clock = clock
        self._store = store
        self._parent = parent
        self._prefix = prefix
        self._here = here
        self.failure = ""

    def amiss(self) -> str:
        """Say why the parent node is not followed, nothing where it is."""
        return f"parent: {self.failure}" if self.failure else ""

    async def run(self) -> None:
        """Follow for as long as the node runs."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            try:
                await self.once()
                self.failure = ""
            except TierlinkError as err:
                if not self.failure:
                    _log.warning("the parent node is not followed: %s", err)
                self.failure = str(err)

    async def once(self) -> Sequence[Prefix]:
        """Ask once, adopt what is newer; return what changed; raise TierlinkError."""
        fetched = await self._parent.source([_any(self._prefix)])
        found = fetched.found.get(_any(self._prefix))
        roots = await self._newer_roots()
        async with self._store.write() as tx:
            changed = list(await adoption.renew_root(tx, roots, self._clock())) if roots else []
            changed += await adoption.adopt(tx, self._prefix, fetched.delegations, self._here)
            if found is not None and await adoption.mirror(
                tx, self._prefix, suspended=found.state is State.PREFIX_SUSPENDED
            ):
                changed.append(self._prefix)
        return changed

    async def _newer_roots(self) -> Sequence[str]:
        """Return all root versions of the parent node where it has a newer one than we."""
        theirs = await self._parent.prefix(prefixes.ROOT)
        async with self._store.read() as tx:
            ours = (await prefixes.show(tx, prefixes.ROOT)).row
        return await self._parent.roots() if theirs.sequence > ours.sequence else ()

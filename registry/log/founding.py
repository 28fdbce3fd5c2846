"""The founding of the log: its name, which never changes, and the key that signs for it."""

from __future__ import annotations

from dataclasses import dataclass

from registry.keyring import Keyring
from registry.store import keys, log as store, prefixes as prefix_store
from registry.store.engine import WriteTx
from schemas.checkpoint import SIGNED_NOTE, NoteKey
from schemas.errors import TierlinkError
from schemas.identifier import Prefix
from schemas.keys import Signer
from schemas.merkle import EMPTY_ROOT

_ROOT = Prefix(())


@dataclass(frozen=True, slots=True)
class Identity:
    """A log by its name (C2SP origin) and whoever signs for it."""

    origin: str
    signer: Signer

    @property
    def key(self) -> NoteKey:
        """What its checkpoints are verified with."""
        return NoteKey(self.origin, SIGNED_NOTE, self.signer.public)


async def found(tx: WriteTx, keyring: Keyring, origin: str | None) -> Identity:
    """Found the log of a founded database, or find it; of two who try at once, one founds.

    Raise TierlinkError where it goes by another name than `origin`; None takes any, and names a
    new one after the database's incarnation.
    """
    driver = await tx.driver()
    name = origin or f"tierlink.local/{await prefix_store.find_incarnation(tx)}"
    if await store.found(driver, name, EMPTY_ROOT):
        await keyring.create(tx, _ROOT, {keys.LOG_USE})
    state = await store.state(driver)
    assert state is not None
    if origin not in (None, state.origin):
        raise TierlinkError(
            f"the log of this database is {state.origin}, not {origin}: a log keeps its name",
            fix=f"set TIERLINK_LOG_ORIGIN to {state.origin}, or leave it out",
        )
    return Identity(state.origin, await keyring.signer(tx, _ROOT, keys.LOG_USE))

"""The founding of a database: its name, the root key and statement, the operator's API key."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from registry import accounts, changes
from registry.keyring import Keyring
from registry.prefixes import ROOT
from registry.store import prefixes as store
from registry.store.engine import WriteTx
from registry.store.prefixes import Organisation
from schemas.change import Op
from schemas.delegation import DELEGATE_USE, ROTATE_USE, DelegatedKey, Delegation
from schemas.envelope import digest
from schemas.errors import TierlinkError
from schemas.leaf import SALT_BYTES, What

ROOT_USES = frozenset({ROTATE_USE, DELEGATE_USE})
OPERATOR = Organisation("operator of this registry")


@dataclass(frozen=True, slots=True)
class Founded:
    """What a founded database is: `operator_key` is known at its founding and never again."""

    incarnation: str
    root: str  # the root envelope: the anchor of everybody's trust
    operator_key: str | None


async def found(tx: WriteTx, keyring: Keyring, now: int) -> Founded:
    """Found the database, or find that it is founded; of two who try at once, one founds.

    Raise TierlinkError where it was founded under another key-encryption key: better at the start
    than at the first signature.
    """
    if not await store.insert_node(tx, secrets.token_hex(8)):
        return await _found_already(tx, keyring)
    public = await keyring.create(tx, ROOT, ROOT_USES)
    root = Delegation(ROOT, None, 1, now, (DelegatedKey(public, ROOT_USES),))
    token = root.sign(await keyring.signer(tx, ROOT, ROTATE_USE))
    salt = secrets.token_bytes(SALT_BYTES)
    await store.insert_prefix(tx, ROOT, None, OPERATOR, delegation=token, salt=salt)
    api_key = await accounts.create_key(tx, ROOT, now, label="operator")
    await changes.record(
        tx, Op.PREFIX, ROOT, str(ROOT), 1, digest=digest(token), what=What.DELEGATION
    )
    return Founded(await _incarnation(tx), token, api_key.text)


async def _found_already(tx: WriteTx, keyring: Keyring) -> Founded:
    row = await store.find(tx, ROOT)
    if row is None:
        raise TierlinkError("the database has a name and no root", fix="restore it from a backup")
    await keyring.signer(tx, ROOT, ROTATE_USE)
    return Founded(await _incarnation(tx), row.delegation, None)


async def _incarnation(tx: WriteTx) -> str:
    found = await store.find_incarnation(tx)
    assert found is not None
    return found

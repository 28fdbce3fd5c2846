"""The founding of a database: its name, the root key and statement, the operator's API key."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from registry import accounts, changes
from registry.delegations import ROOT_USES
from registry.keyring import Keyring
from registry.prefixes import ROOT
from registry.store import prefixes as store, roots as root_store
from registry.store.engine import WriteTx
from registry.store.prefixes import Organisation
from schemas.chain import anchor
from schemas.change import Op
from schemas.delegation import DELEGATE_USE, ROTATE_USE, DelegatedKey, Delegation, parse_root
from schemas.envelope import digest
from schemas.errors import BadInput, TierlinkError, VerifyError
from schemas.keys import PrivateKey
from schemas.leaf import SALT_BYTES, What

OPERATOR = Organisation("operator of this registry")


@dataclass(frozen=True, slots=True)
class Offline:
    """A root that was made elsewhere: its versions in order and, if any, a key that is hosted here.

    That key may delegate in the root's name and no more: the rotate keys stay where they are.
    """

    versions: tuple[str, ...]
    key: PrivateKey | None = None


@dataclass(frozen=True, slots=True)
class Founded:
    """What a founded database is: `operator_key` is known at its founding and never again."""

    incarnation: str
    roots: tuple[str, ...]  # the root versions: the anchor of everybody's trust
    operator_key: str | None

    @property
    def root(self) -> str:
        """The root version that stands."""
        return self.roots[-1]


async def found(tx: WriteTx, keyring: Keyring, now: int, offline: Offline | None = None) -> Founded:
    """Found the database, or find that it is founded; of two who try at once, one founds.

    Without `offline` a root key is made and hosted. Raise TierlinkError where it was founded under
    another key-encryption key or another root: better at the start than at the first signature.
    """
    if not await store.insert_node(tx, secrets.token_hex(8)):
        return await _found_already(tx, keyring, offline)
    first, *later = await _roots(tx, keyring, now, offline)
    salt = secrets.token_bytes(SALT_BYTES)
    await store.insert_prefix(tx, ROOT, None, OPERATOR, delegation=first, salt=salt)
    await _record(tx, first)
    for token in later:
        await store.replace_delegation(tx, ROOT, parse_root(token)[1].sequence, token)
        await _record(tx, token)
    api_key = await accounts.create_key(tx, ROOT, now, label="operator")
    return Founded(await _incarnation(tx), (first, *later), api_key.text)


async def _roots(tx: WriteTx, keyring: Keyring, now: int, offline: Offline | None) -> Sequence[str]:
    """Return the versions that were given, checked, or make the first one with a hosted key."""
    if offline is None:
        public = await keyring.create(tx, ROOT, ROOT_USES)
        root = Delegation(ROOT, None, 1, now, (DelegatedKey(public, ROOT_USES),))
        return (root.sign(await keyring.signer(tx, ROOT, ROTATE_USE)),)
    root = anchor(offline.versions, now)
    if parse_root(offline.versions[0])[1].sequence != 1:
        raise VerifyError(
            "E_ROOT", "a registry is founded with all root versions from the first on"
        )
    if offline.key is not None:
        uses = next(
            (item.uses for item in root.keys if item.key == offline.key.public), frozenset()
        )
        if DELEGATE_USE not in uses or ROTATE_USE in uses:
            raise BadInput(
                "the key for this registry is none that the root lets delegate, and only that",
                value=offline.key.public.kid,
                fix="name it with `tierlink root init --delegate`; a rotate key stays offline",
            )
        await keyring.adopt(tx, ROOT, offline.key, uses)
    return offline.versions


async def _record(tx: WriteTx, token: str) -> None:
    version = parse_root(token)[1].sequence
    await changes.record(
        tx, Op.PREFIX, ROOT, str(ROOT), version, digest=digest(token), what=What.DELEGATION
    )


async def _found_already(tx: WriteTx, keyring: Keyring, offline: Offline | None) -> Founded:
    found = tuple(await root_store.versions(tx))
    if not found:
        raise TierlinkError("the database has a name and no root", fix="restore it from a backup")
    if offline is not None and offline.versions[:1] != found[:1]:
        raise TierlinkError(
            "the database was founded with another root",
            fix="name its own root in TIERLINK_ROOT_FILE, or leave that out",
        )
    await keyring.check(tx)
    return Founded(await _incarnation(tx), found, None)


async def _incarnation(tx: WriteTx) -> str:
    found = await store.find_incarnation(tx)
    assert found is not None
    return found

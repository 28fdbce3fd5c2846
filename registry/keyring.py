"""Hosted keys: signing for holders who do not want to keep a key themselves.

A private key leaves this module only as a `Signer`. At rest it is sealed under the key-encryption
key (KEK) that the operator gives in TIERLINK_KEYRING_KEY:

    sealed = 1 · KEK id (4 bytes) · salt (16 bytes) · AES-256-GCM ciphertext and tag

The message key and nonce are HKDF-SHA256(KEK, salt): a fresh pair for each seal, so that no
number of them wears the KEK out. The associated data binds a key to its prefix and key id: a row
that is copied to another holder does not open.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Collection, Iterable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from registry.store import keys as store
from registry.store.engine import ReadTx, WriteTx
from schemas.errors import KeyNotHosted, TierlinkError
from schemas.identifier import Prefix
from schemas.keys import ED25519, PrivateKey, PublicKey, Signer, sha256

KEK_BYTES = 32

_FORMAT = b"\x01"
_KEK_ID = 4
_SALT = 16
_HEAD = len(_FORMAT) + _KEK_ID + _SALT
_INFO = b"tierlink keyring v1"
_SALTS = b"tierlink disclosure salts v1"


class Keyring:
    """Seals, opens and uses hosted keys; holds nothing but the KEK, so processes may share it."""

    __slots__ = ("_kek", "_kek_id")

    def __init__(self, kek: bytes) -> None:
        """Take the 32-byte key-encryption key."""
        if len(kek) != KEK_BYTES:
            raise ValueError(f"the key-encryption key has {len(kek)} bytes instead of {KEK_BYTES}")
        self._kek = kek
        self._kek_id = sha256(b"tierlink kek id" + kek)[:_KEK_ID]

    def seal(self, plain: bytes, aad: bytes) -> bytes:
        """Encrypt, bound to `aad`."""
        salt = os.urandom(_SALT)
        key, nonce = self._derive(salt)
        return _FORMAT + self._kek_id + salt + AESGCM(key).encrypt(nonce, plain, aad)

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        """Decrypt what `seal` gave for the same `aad`; raise TierlinkError otherwise."""
        kek_id, salt = sealed[1 : 1 + _KEK_ID], sealed[1 + _KEK_ID : _HEAD]
        if sealed[:1] != _FORMAT or kek_id != self._kek_id:
            raise TierlinkError(
                "sealed under another key-encryption key",
                fix="start with the TIERLINK_KEYRING_KEY that this database was founded with",
            )
        key, nonce = self._derive(salt)
        try:
            return AESGCM(key).decrypt(nonce, sealed[_HEAD:], aad)
        except InvalidTag as err:
            raise TierlinkError("a sealed value was changed or moved to another owner") from err

    async def create(
        self, tx: WriteTx, prefix: Prefix, uses: Iterable[str], alg: str = ED25519
    ) -> PublicKey:
        """Make a key for a prefix and keep it; return its public half."""
        private = PrivateKey.generate(alg)
        await self.adopt(tx, prefix, private, uses)
        return private.public

    async def adopt(
        self, tx: WriteTx, prefix: Prefix, private: PrivateKey, uses: Iterable[str]
    ) -> None:
        """Keep a key that was made elsewhere."""
        kid = private.public.kid
        sealed = self.seal(private.pkcs8(), _owner(prefix, kid))
        await store.insert_hosted(tx, prefix, kid, sorted(uses), sealed)

    async def signer(self, tx: ReadTx, prefix: Prefix, use: str) -> Signer:
        """Return who signs for a prefix; raise KeyNotHosted where only its holder can."""
        found = await store.find_hosted(tx, prefix, use)
        if found is None:
            raise KeyNotHosted(
                f"no key of {prefix} with use {use} is hosted here",
                value=str(prefix),
                fix="sign with the holder's own key and send the envelope",
            )
        return self.opened(prefix, found)

    async def signers(
        self, tx: ReadTx, prefix: Prefix, kids: Collection[str]
    ) -> tuple[PrivateKey, ...]:
        """Return those of some keys of a prefix that are hosted here, by kid."""
        return tuple(self.opened(prefix, item) for item in await store.find_kids(tx, prefix, kids))

    async def somebody(self, tx: ReadTx, use: str) -> Prefix | None:
        """Return the first prefix of which a key with a use is hosted, the root apart."""
        return await store.find_holder(tx, use)

    async def check(self, tx: ReadTx) -> None:
        """Open some hosted key; raise TierlinkError where it was sealed under another KEK."""
        found = await store.find_any(tx)
        if found is not None:
            self.opened(*found)

    def opened(self, prefix: Prefix, found: store.SealedKey) -> PrivateKey:
        """Open a key of a prefix as it is stored; raise TierlinkError."""
        return PrivateKey.from_pkcs8(self.open(found.sealed, _owner(prefix, found.kid)))

    def salt(self, content: bytes) -> bytes:
        """Return 16 bytes for a content: the same for the same, and nobody else can tell them."""
        key = HKDF(SHA256(), length=KEK_BYTES, salt=None, info=_SALTS).derive(self._kek)
        return hmac.digest(key, content, "sha256")[:_SALT]

    def _derive(self, salt: bytes) -> tuple[bytes, bytes]:
        both = HKDF(SHA256(), length=KEK_BYTES + 12, salt=salt, info=_INFO).derive(self._kek)
        return both[:KEK_BYTES], both[KEK_BYTES:]

    def __repr__(self) -> str:
        return f"Keyring(kek_id={self._kek_id.hex()})"


def _owner(prefix: Prefix, kid: str) -> bytes:
    return f"{prefix}|{kid}".encode()

"""Batch statements: one signature over the Merkle root of many records, each of which stands alone.

    payload~index~path~statement

    payload     base64url of the canonical claims, as in an envelope
    index       of the record among those of the statement, decimal, from 0
    path        base64url of the hashes that lead from it to the root, joined, leaf-most first
    statement   an envelope, typ tierlink-batch+jws

Signed members of a statement; absent means not there, never null:

    v 1 · prefix · of · count · root · iat · nbf · exp

`of` is the type of the records, `root` the RFC 6962 tree head over their canonical payloads,
`prefix` the one prefix that speaks in them all. They are issued when the statement is, and it
speaks within its nbf and exp only. The digest of a batched record is that of its whole text.

Steps of `parse`, cheapest first; the signature is checked by `schemas.signed`.

    B1  length, ASCII, four parts                                         E_LIMIT  E_FORMAT
    B2  the statement: envelope steps V1 to V7, closed members, iat within nbf and exp
                                              E_… of envelopes  E_FORMAT  E_ID  E_LIMIT  E_TIME
    B3  `of` is the type the caller expects                               E_TYP
    B4  index: decimal, below count                               E_FORMAT  E_INCLUSION
    B5  payload: envelope steps V2, V3 and V7                             E_…
    B6  issued with its statement: iat is the statement's                 E_TIME
    B7  path: whole hashes, exactly as many as lead to the root           E_INCLUSION
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from . import canonical, envelope
from .claims import Members, without_empty
from .delegation import within
from .envelope import LINK, RECORD, Envelope
from .errors import BadInput, VerifyError
from .identifier import Prefix
from .keys import B64, Signer, b64decode, b64encode
from .merkle import HASH_BYTES, leaf_hash, node_hash, verify_inclusion

STATEMENT = "tierlink-batch+jws"
MAX_RECORDS = 1_000_000
MAX_PATH = (MAX_RECORDS - 1).bit_length()  # hashes
MAX_STATEMENT = 8 * 1024  # characters: a prefix, a root, and the signatures
MAX_TOKEN = 4 * canonical.MAX_BYTES // 3 + 4 * HASH_BYTES * MAX_PATH // 3 + MAX_STATEMENT + 16

BLOCK_LEVELS = 4
_BLOCK_PATH = BLOCK_LEVELS * HASH_BYTES
_OF = frozenset({RECORD, LINK})
_INDEX = re.compile(r"0|[1-9][0-9]{0,5}")
_PARTS = 4


@dataclass(frozen=True, slots=True)
class Statement:
    """What one signature says of many records."""

    envelope: Envelope
    prefix: Prefix
    of: str
    count: int
    root: bytes
    issued_at: int
    valid_from: int | None = None
    valid_until: int | None = None

    def check_speaks(self, prefix: Prefix, at: int) -> None:
        """Refuse a record of another prefix (E_SCOPE), or a time at which it says nothing."""
        if prefix != self.prefix:
            raise VerifyError(
                "E_SCOPE",
                f"the batch statement speaks for {self.prefix}, not for {prefix}",
                value=str(prefix),
            )
        if not within(at, self.valid_from, self.valid_until):
            raise VerifyError("E_TIME", f"the batch statement is not valid at {at}", value=at)


class _BadStatement(BadInput):
    """A statement that is not of the schema; reported as verdict E_FORMAT."""

    code = "E_FORMAT"
    title = "Invalid batch statement"


def parse(token: object, typ: str) -> Envelope:
    """Check everything of a batched record but the signature; raise VerifyError only.

    The result has the claims of the record, algorithm and key of the statement, and `statement`.
    """
    # B1: one bounded ASCII string of four parts
    if not isinstance(token, str):
        raise VerifyError("E_FORMAT", "a batched record is a string")
    if len(token) > MAX_TOKEN:
        raise VerifyError("E_LIMIT", f"record has {len(token)} characters, limit {MAX_TOKEN}")
    parts = token.split("~", _PARTS - 1)
    if len(parts) != _PARTS or not token.isascii():
        raise VerifyError("E_FORMAT", "a batched record is payload~index~path~statement in ASCII")
    payload_part, index_part, path_part, statement_part = parts
    # B2 and B3: a statement repeats with each of its records, so its parse is cached by its text
    statement = parse_statement(statement_part)
    if statement.of != typ:
        raise VerifyError("E_TYP", f"the statement is not of {typ}", value=statement.of)
    # B4: the place in the tree
    index = _index(index_part, statement.count)
    # B5: the payload
    payload = b64decode(payload_part)
    claims = envelope.read_payload(payload)
    # B6: one time of issue for all, or a record could be dated as it pleases
    if claims.get("iat") != statement.issued_at or type(claims["iat"]) is not int:
        raise VerifyError(
            "E_TIME", "the record is not issued when its statement is", value=claims.get("iat")
        )
    # B7: it is one of those that the statement is of
    _check_path(leaf_hash(payload), index, statement, _path(path_part))
    signed = statement.envelope
    return Envelope(token, typ, signed.alg, signed.kid, claims, signed.signature, statement=signed)


def _index(text: str, count: int) -> int:
    if not _INDEX.fullmatch(text):
        raise VerifyError("E_FORMAT", "the index is not a plain decimal number", value=text[:64])
    index = int(text)
    if index >= count:
        raise VerifyError("E_INCLUSION", f"the statement has {count} records", value=index)
    return index


def _path(text: str) -> bytes:
    # Checked before it is decoded: there is no longer one.
    if len(text) > 4 * HASH_BYTES * MAX_PATH // 3 + 1:
        raise VerifyError("E_LIMIT", f"a path has at most {MAX_PATH} hashes")
    raw = b64decode(text)
    if len(raw) % HASH_BYTES:
        raise VerifyError("E_INCLUSION", "the path does not consist of whole hashes")
    return raw


def _check_path(leaf: bytes, index: int, statement: Statement, path: bytes) -> None:
    """Take step B7: from the leaf to the root of its block, and from there to the root.

    Records mostly come in order, and those of a block share the second half: it is remembered. A
    block is a complete subtree, and a path that ends below its root is too short for both halves.
    """
    count = statement.count
    if index >> BLOCK_LEVELS == (count - 1) >> BLOCK_LEVELS or len(path) < _BLOCK_PATH:
        _check_root(leaf, index, count, path, statement.root)  # the last block may be incomplete
        return
    for level in range(BLOCK_LEVELS):
        sibling = path[level * HASH_BYTES : (level + 1) * HASH_BYTES]
        left = index >> level & 1 == 0
        leaf = node_hash(leaf, sibling) if left else node_hash(sibling, leaf)
    blocks = ((count - 1) >> BLOCK_LEVELS) + 1
    _check_root(leaf, index >> BLOCK_LEVELS, blocks, path[_BLOCK_PATH:], statement.root)


@lru_cache(maxsize=1024)
def _check_root(node: bytes, index: int, count: int, path: bytes, root: bytes) -> None:
    # Depends on nothing else, and what raises is not remembered.
    hashes = [path[at : at + HASH_BYTES] for at in range(0, len(path), HASH_BYTES)]
    verify_inclusion(node, index, count, hashes, root)


def statement_part(token: str) -> str | None:
    """Return the statement within a batched record that was parsed, None within an envelope."""
    # An envelope begins with a header and a dot, also where more signatures follow.
    head, *rest = token.split("~", _PARTS - 1)
    return rest[-1] if rest and "." not in head else None


def statement_of(found: Envelope) -> Statement | None:
    """Return the statement that signs a parsed record, None where it is an envelope."""
    return None if found.statement is None else _parse_statement(found.statement.token)


def parse_statement(token: object) -> Statement:
    """Read a statement (steps B2), its signature unchecked; raise VerifyError only."""
    if not isinstance(token, str):
        raise VerifyError("E_FORMAT", "a batch statement is a string")
    if len(token) > MAX_STATEMENT:
        raise VerifyError(
            "E_LIMIT", f"statement has {len(token)} characters, limit {MAX_STATEMENT}"
        )
    return _parse_statement(token)


@lru_cache(maxsize=256)
def _parse_statement(token: str) -> Statement:
    found = envelope.parse(token, STATEMENT)
    try:
        return _read_statement(found)
    except VerifyError:
        raise
    except BadInput as err:
        code = "E_ID" if err.code == "identifier_invalid" else "E_FORMAT"
        raise VerifyError(code, err.detail, value=err.value) from None


def _read_statement(found: Envelope) -> Statement:
    members = Members(found.claims, _BadStatement)
    members.take("v")
    statement = Statement(
        found,
        members.prefix("prefix"),
        members.choice("of", _OF),
        members.integer("count", 1),
        _root(members),
        members.integer("iat"),
        members.maybe_integer("nbf"),
        members.maybe_integer("exp"),
    )
    members.done()
    if statement.count > MAX_RECORDS:
        raise VerifyError(
            "E_LIMIT", f"a statement is of at most {MAX_RECORDS} records", value=statement.count
        )
    if not within(statement.issued_at, statement.valid_from, statement.valid_until):
        raise VerifyError(
            "E_TIME", "the statement is not valid when it is issued", value=statement.issued_at
        )
    return statement


def _root(members: Members) -> bytes:
    text = members.text("root", 43)
    root = b64decode(text)
    if len(root) != HASH_BYTES:
        raise members.fail("root", "is not a SHA-256 hash", text)
    return root


class Batch:
    """Records on their way under one statement: a tree that holds 32 bytes of each, twice.

    `add` takes the claims in order and returns the payload to keep; `sign` makes the statement
    once all are there; `token` joins what was kept to it. Owned by one thread.
    """

    def __init__(self, typ: str, prefix: Prefix, issued_at: int) -> None:
        if typ not in _OF:
            raise VerifyError("E_TYP", "no batch statement is of this type", value=typ)
        self.typ, self.prefix, self.issued_at = typ, prefix, issued_at
        self._levels = [bytearray()]  # joined hashes: of the leaves first, of the root alone last

    @property
    def count(self) -> int:
        """How many records there are."""
        return len(self._levels[0]) // HASH_BYTES

    def add(self, claims: Mapping[str, object]) -> bytes:
        """Take the next record; return its canonical payload, which `token` wants again.

        Its prefix is its speaker's business: whoever verifies compares it with the statement's.
        """
        if self.count >= MAX_RECORDS:
            raise VerifyError("E_LIMIT", f"a statement is of at most {MAX_RECORDS} records")
        if claims.get("iat") != self.issued_at:
            raise VerifyError(
                "E_TIME", "the record is not issued when its statement is", value=claims.get("iat")
            )
        payload = canonical.encode(claims)
        if len(payload) > canonical.MAX_BYTES:
            raise VerifyError(
                "E_LIMIT", f"payload has {len(payload)} bytes, the limit is {canonical.MAX_BYTES}"
            )
        self._levels = [self._levels[0]]
        self._levels[0] += leaf_hash(payload)
        return payload

    def sign(
        self, signer: Signer, *, valid_from: int | None = None, valid_until: int | None = None
    ) -> str:
        """Return the statement; raise VerifyError E_LIMIT where it would be of nothing."""
        if not self.count:
            raise VerifyError("E_LIMIT", "a statement is of at least one record")
        claims = {
            "v": 1,
            "prefix": str(self.prefix),
            "of": self.typ,
            "count": self.count,
            "root": b64encode(bytes(self._tree()[-1])),
            "iat": self.issued_at,
            "nbf": valid_from,
            "exp": valid_until,
        }
        statement = envelope.sign(STATEMENT, without_empty(claims), signer)
        parse_statement(statement)
        return statement

    def token(self, index: int, payload: bytes, statement: str) -> str:
        """Return a record as it is registered; `payload` is what `add` returned for it."""
        return f"{b64encode(payload)}~{index}~{self._path(index)}~{statement}"

    def _path(self, index: int) -> B64:
        siblings = []
        for level in self._tree()[:-1]:
            start = (index ^ 1) * HASH_BYTES
            # The last of an odd number has no sibling, and stands for itself one level up.
            if start < len(level):
                siblings.append(level[start : start + HASH_BYTES])
            index >>= 1
        return b64encode(b"".join(siblings))

    def _tree(self) -> list[bytearray]:
        levels = self._levels
        while len(levels[-1]) > HASH_BYTES:
            levels.append(_above(levels[-1]))
        return levels


def _above(level: bytearray) -> bytearray:
    """Return the level over one that is complete but for its right edge."""
    above = bytearray()
    odd = len(level) // HASH_BYTES % 2
    nodes = (
        bytes(level[at : at + HASH_BYTES])
        for at in range(0, len(level) - odd * HASH_BYTES, HASH_BYTES)
    )
    for left, right in zip(nodes, nodes, strict=True):
        above += node_hash(left, right)
    return above + level[len(level) - odd * HASH_BYTES :]


def build(
    claims: Sequence[Mapping[str, object]],
    typ: str,
    signer: Signer,
    *,
    issued_at: int,
    prefix: Prefix,
) -> tuple[str, Iterator[str]]:
    """Sign many records at once; return the statement, and the records in their order.

    Each is encoded twice, so that nothing but the hashes is held. Raise VerifyError.
    """
    batch = Batch(typ, prefix, issued_at)
    for item in claims:
        batch.add(item)
    statement = batch.sign(signer)
    tokens = (
        batch.token(index, canonical.encode(item), statement) for index, item in enumerate(claims)
    )
    return statement, tokens

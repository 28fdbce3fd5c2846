"""The tables, and nothing else: migrations import this module.

Every large table leads its keys with `unit`, the delegation unit: a 64-bit hash of the prefix.
It is the distribution column of a sharded engine, it keeps every key of one prefix together, and
it is shorter than the prefix, so that two identifiers still fit one B-tree entry (ADR 10).
Identifiers and prefixes are stored as their canonical text, `COLLATE "C"`: byte order is
canonical order, and no locale upgrade can corrupt an index.

Current state and history are apart: `identifiers` and `assertions` hold the newest version, the
`…_history` tables those that were replaced. Nothing updates a row of `changes`; what both of its
readers have passed is deleted after a time (ADR 27).
"""

from __future__ import annotations

import hashlib

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    SmallInteger,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.types import UserDefinedType

from schemas.identifier import Prefix

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    }
)


class Xid8(UserDefinedType[int]):
    """PostgreSQL's 64-bit transaction id; asyncpg reads and binds it as `int`."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Return the type's name in DDL."""
        return "xid8"


def unit_of(prefix: Prefix) -> int:
    """Return the delegation unit of a prefix: the first 8 bytes of SHA-256, signed."""
    return int.from_bytes(hashlib.sha256(str(prefix).encode()).digest()[:8], "big", signed=True)


def _text(name: str, **options: object) -> Column[str]:
    return Column(name, Text(collation="C"), nullable=False, **options)  # type: ignore[arg-type]


def _now(name: str) -> Column[object]:
    return Column(
        name, DateTime(timezone=True), nullable=False, server_default=func.clock_timestamp()
    )


# One row: which history of this database this is. A restore must replace `incarnation`.
node = Table(
    "node",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    _text("incarnation"),
    _now("created_at"),
    # Every change from this position on is in `changes`; of what is below some may be gone.
    Column("changes_since", Xid8, nullable=False, server_default=text("'0'")),
    CheckConstraint("id = 1", name="one_row"),
)

# One row, written once a second to measure how soon a write is seen (registry/canary.py).
canary = Table(
    "canary",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("xid", Xid8, nullable=False),
    _now("at"),
    CheckConstraint("id = 1", name="one_row"),
)

organisations = Table(
    "organisations",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False),
    Column("uscc", Text),
    Column("lei", Text),
    _now("created_at"),
)

# The root is the row "."; its `delegation` is the root envelope.
prefixes = Table(
    "prefixes",
    metadata,
    _text("prefix", primary_key=True),
    Column("parent", Text(collation="C")),  # null for the root
    Column("organisation_id", BigInteger, ForeignKey("organisations.id"), nullable=False),
    Column("status", Text, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("delegation", Text, nullable=False),
    _now("created_at"),
    # What stands in the log for a subject under this prefix is hashed with it. It never changes.
    Column("salt", LargeBinary, nullable=False),
    # The holder's own delegations since the parent's last one, that one first: whoever checks
    # `delegation` needs them, so they are read with it. Empty where it is the parent's, and for
    # the root, whose earlier versions are in the history alone.
    Column("run", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    # The base URL of the node that serves the prefix; null where that is this one.
    Column("home", Text),
    CheckConstraint("status IN ('active', 'suspended')", name="status"),
    Index(None, "parent", "prefix"),
)

delegation_history = Table(
    "delegation_history",
    metadata,
    _text("prefix"),
    Column("sequence", BigInteger, nullable=False),
    Column("delegation", Text, nullable=False),
    _now("replaced_at"),
    PrimaryKeyConstraint("prefix", "sequence"),
)

api_keys = Table(
    "api_keys",
    metadata,
    _text("id", primary_key=True),
    _text("prefix"),
    Column("secret_hash", LargeBinary, nullable=False),
    Column("label", Text, nullable=False, server_default=""),
    _now("created_at"),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked_at", DateTime(timezone=True)),
    Index(None, "prefix"),
)

hosted_keys = Table(
    "hosted_keys",
    metadata,
    _text("kid", primary_key=True),
    _text("prefix"),
    Column("uses", ARRAY(Text), nullable=False),
    Column("sealed", LargeBinary, nullable=False),
    _now("created_at"),
    Index(None, "prefix"),
)

challenges = Table(
    "challenges",
    metadata,
    _text("nonce", primary_key=True),
    _text("prefix"),
    _text("kid"),
    _now("created_at"),
    Index(None, "prefix", "kid"),
    Index(None, "created_at"),
)

idempotency = Table(
    "idempotency",
    metadata,
    _text("api_key_id"),
    _text("key"),
    Column("fingerprint", LargeBinary, nullable=False),
    Column("status", SmallInteger),  # null while the request is under way
    Column("headers", JSONB),
    Column("body", LargeBinary),  # sealed: a first answer may hold a secret
    _now("created_at"),
    PrimaryKeyConstraint("api_key_id", "key"),
    Index(None, "created_at"),
)

identifiers = Table(
    "identifiers",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("identifier"),
    Column("version", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("parent", Text(collation="C")),
    Column("issued_at", BigInteger, nullable=False),
    _text("digest"),
    Column("envelope", Text, nullable=False),
    PrimaryKeyConstraint("unit", "identifier"),
    # For batches and classes: who inherits from this one.
    Index(None, "unit", "parent", postgresql_where=text("parent IS NOT NULL")),
)

identifier_history = Table(
    "identifier_history",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("identifier"),
    Column("version", BigInteger, nullable=False),
    Column("status", Text, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    _text("digest"),
    Column("envelope", Text, nullable=False),
    _now("replaced_at"),
    PrimaryKeyConstraint("unit", "identifier", "version"),
)

# Suffix rules of the class records that stand, found by their literal head.
rules = Table(
    "rules",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("head"),
    _text("identifier"),
    Column("pattern", Text, nullable=False),
    PrimaryKeyConstraint("unit", "identifier"),
    Index(None, "unit", "head", "identifier"),
)

# One side's newest statement of a link, under the unit of the side that speaks.
assertions = Table(
    "assertions",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("link_key"),
    Column("side", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    _text("digest"),
    Column("envelope", Text, nullable=False),
    # Null where that was before it was noted: then `issued_at` counts.
    Column("recorded_at", DateTime(timezone=True), server_default=func.clock_timestamp()),
    PrimaryKeyConstraint("unit", "link_key", "side"),
)

assertion_history = Table(
    "assertion_history",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("link_key"),
    Column("side", Text, nullable=False),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("issued_at", BigInteger, nullable=False),
    _text("digest"),
    Column("envelope", Text, nullable=False),
    _now("replaced_at"),
    Column("recorded_at", DateTime(timezone=True)),
    PrimaryKeyConstraint("unit", "link_key", "side", "version"),
)

# A link as seen from one of its ends, one row at each end: what a walk reads. `direction` is where
# `far` lies: "upstream" or "downstream" of `near`. Where no side stands any more the row is there
# for questions of the past alone.
edges = Table(
    "edges",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("near"),
    Column("direction", Text, nullable=False),
    _text("far"),
    Column("type", Text, nullable=False),
    Column("lifecycle", Text, nullable=False),
    _text("occurrence"),
    Column("far_unit", BigInteger, nullable=False),
    _text("link_key"),
    # Which sides stand: bit 1 upstream, bit 2 downstream. 0: both took it back.
    Column("sides", SmallInteger, nullable=False),
    PrimaryKeyConstraint("unit", "near", "direction", "far", "type", "lifecycle", "occurrence"),
)

# The one outbox: a row per accepted write, in its transaction. Read up to a snapshot's xmin.
changes = Table(
    "changes",
    metadata,
    Column("xid", Xid8, nullable=False, server_default=func.pg_current_xact_id()),
    Column("id", BigInteger, Identity(always=True), nullable=False),
    Column("unit", BigInteger, nullable=False),
    _now("at"),
    Column("op", SmallInteger, nullable=False),
    _text("about"),
    _text("also", server_default=""),
    Column("version", BigInteger, nullable=False),
    Column("digest", Text(collation="C")),  # of the envelope accepted; what the log appends
    Column("what", Text(collation="C")),  # kind of leaf; null where the log is told of nothing
    Column("subject", Text(collation="C")),  # of the leaf, where it is not `about`
    PrimaryKeyConstraint("xid", "id", "unit"),
)

# A delegation by which a parent takes a prefix back to new keys, waiting for its time.
recoveries = Table(
    "recoveries",
    metadata,
    _text("prefix", primary_key=True),
    Column("sequence", BigInteger, nullable=False),
    Column("delegation", Text, nullable=False),
    Column("effective_at", BigInteger, nullable=False),
    _now("created_at"),
)

# Batch statements that were accepted: one signature over the Merkle root of many records.
batches = Table(
    "batches",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("digest"),
    Column("records", BigInteger, nullable=False),
    Column("statement", Text, nullable=False),
    _now("created_at"),
    PrimaryKeyConstraint("unit", "digest"),
)

# What a record hides behind a digest, and who may see it: "public", "partner", or a prefix.
disclosures = Table(
    "disclosures",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("identifier"),
    Column("version", BigInteger, nullable=False),
    _text("digest"),
    Column("audience", ARRAY(Text(collation="C")), nullable=False),
    Column("disclosure", Text, nullable=False),
    PrimaryKeyConstraint("unit", "identifier", "version", "digest"),
)

# What a holder opens to others of his links, the newest version of each id. "*" is anybody; an
# empty root, direction or purpose is any, and no types or lifecycles are all.
grants = Table(
    "grants",
    metadata,
    Column("unit", BigInteger, nullable=False),  # of the grantor
    _text("id"),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    _text("grantee"),
    _text("root"),
    Column("direction", Text, nullable=False),
    Column("depth", SmallInteger, nullable=False),
    Column("types", ARRAY(Text), nullable=False),
    Column("lifecycles", ARRAY(Text), nullable=False),
    Column("purpose", Text, nullable=False),
    Column("show", Text, nullable=False),
    Column("valid_from", BigInteger),
    Column("valid_until", BigInteger),
    _text("digest"),
    Column("envelope", Text, nullable=False),
    PrimaryKeyConstraint("unit", "id"),
    Index(None, "unit", "grantee"),
)

# What holders at other nodes opened to those whose prefixes live here: the newest version of each.
received_grants = Table(
    "received_grants",
    metadata,
    Column("unit", BigInteger, nullable=False),  # of the grantee
    _text("grantor"),
    _text("id"),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("direction", Text, nullable=False),
    Column("purpose", Text, nullable=False),
    Column("valid_from", BigInteger),
    Column("valid_until", BigInteger),
    _text("digest"),
    Column("envelope", Text, nullable=False),
    _now("received_at"),
    PrimaryKeyConstraint("unit", "grantor", "id"),
)

# Grants that the node of the grantee is still to be told of: each newest version.
handovers = Table(
    "handovers",
    metadata,
    Column("unit", BigInteger, nullable=False),  # of the grantor
    _text("id"),
    _text("grantee"),
    _text("digest"),
    Column("attempts", BigInteger, nullable=False),
    Column("due_at", DateTime(timezone=True)),  # null where it was refused for good
    Column("failure", Text, nullable=False),
    _now("created_at"),
    PrimaryKeyConstraint("unit", "id"),
    Index(None, "due_at", postgresql_where=text("due_at IS NOT NULL")),
)

# What holders say is recalled, the newest version of each id, and what the issued ones mark.
notices = Table(
    "notices",
    metadata,
    Column("unit", BigInteger, nullable=False),  # of the issuer
    _text("id"),
    Column("version", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    _text("digest"),
    Column("envelope", Text, nullable=False),
    PrimaryKeyConstraint("unit", "id"),
)

notice_marks = Table(
    "notice_marks",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("identifier"),
    _text("id"),
    PrimaryKeyConstraint("unit", "identifier", "id"),
)

# EPCIS events that holders captured, each once by its hash; `declared` is when it was said to be
# wrong, milliseconds since 1970. `event_id` is what it calls itself, and no key.
epcis_events = Table(
    "epcis_events",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("hash"),
    Column("event_id", Text(collation="C")),
    Column("declared", BigInteger),
    _text("capture"),
    Column("body", Text, nullable=False),
    _now("captured_at"),
    PrimaryKeyConstraint("unit", "hash"),
    Index(None, "unit", "event_id", postgresql_where=text("event_id IS NOT NULL")),
)

# What became of each capture; ids begin with their time, so that their order is that of time.
epcis_captures = Table(
    "epcis_captures",
    metadata,
    Column("unit", BigInteger, nullable=False),
    _text("id"),
    Column("report", Text, nullable=False),
    _now("finished_at"),
    PrimaryKeyConstraint("unit", "id"),
)

# Statements of links that the node of the far end is still to be told of: each newest version.
deliveries = Table(
    "deliveries",
    metadata,
    Column("unit", BigInteger, nullable=False),  # of the end that speaks
    _text("link_key"),
    Column("side", Text, nullable=False),
    _text("far"),
    _text("digest"),
    Column("attempts", BigInteger, nullable=False),
    Column("due_at", DateTime(timezone=True)),  # null where it was refused for good
    Column("failure", Text, nullable=False),
    _now("created_at"),
    PrimaryKeyConstraint("unit", "link_key", "side"),
    Index(None, "due_at", postgresql_where=text("due_at IS NOT NULL")),
)

# The transparency log. One sequence for the whole node: it is not distributed, and need not be,
# for a leaf is a few hundred bytes and old ones are never looked at again (ADR 12).

log_entry = Table(
    "log_entry",
    metadata,
    Column("idx", BigInteger, primary_key=True, autoincrement=False),
    Column("leaf_hash", LargeBinary, nullable=False),
    Column("leaf", LargeBinary, nullable=False),
)

# Where the statement of an envelope is in the log: at most one place for each.
log_index = Table(
    "log_index",
    metadata,
    _text("digest", primary_key=True),
    Column("idx", BigInteger, nullable=False),
)

# The right-most tile of a level grows; a full one (width 256) never changes again.
log_tile = Table(
    "log_tile",
    metadata,
    Column("level", SmallInteger, nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("width", SmallInteger, nullable=False),
    Column("data", LargeBinary, nullable=False),
    PrimaryKeyConstraint("level", "n"),
)

# One row, whose lock is the sequencer's mutex: how far the log is, and up to which change.
log_state = Table(
    "log_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    _text("origin"),
    Column("size", BigInteger, nullable=False),
    Column("root", LargeBinary, nullable=False),
    Column("cursor_xid", Xid8, nullable=False),
    Column("cursor_id", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),  # the newest committed one, 0 before the first
    CheckConstraint("id = 1", name="one_row"),
)

log_epoch = Table(
    "log_epoch",
    metadata,
    Column("epoch", BigInteger, primary_key=True, autoincrement=False),
    Column("idx", BigInteger, nullable=False),  # of its leaf
    Column("size", BigInteger, nullable=False),  # leaves that its maps cover
    Column("identifiers", LargeBinary, nullable=False),
    Column("prefixes", LargeBinary, nullable=False),
)

# Every checkpoint that was ever shown to anybody, with its cosignatures.
log_checkpoint = Table(
    "log_checkpoint",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("root", LargeBinary, nullable=False),
    Column("epoch", BigInteger, nullable=False),  # whose leaf is the last one below size
    Column("time", BigInteger, nullable=False),  # when the quorum had seen it, Unix seconds
    Column("note", Text, nullable=False),
    Index(None, "epoch"),
    Index(None, "time", "size"),
)

# The verifiable maps (0 identifiers, 1 prefixes) by the first bits of a key. A bucket is never
# updated: each epoch that changes it adds a row, so that any past epoch can still be proved.
map_bucket = Table(
    "map_bucket",
    metadata,
    Column("map", SmallInteger, nullable=False),
    Column("bucket", BigInteger, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("entries", BigInteger, nullable=False),  # how many
    Column("root", LargeBinary, nullable=False),
    Column("data", LargeBinary, nullable=False),  # key ‖ value of each, in key order
    PrimaryKeyConstraint("map", "bucket", "epoch"),
    Index(None, "epoch"),
)

# How the tables lie on several machines; every table is in exactly one of these three
# (docs/operations.md, tests/unit/registry/test_distribution.py).

# They grow with what is registered. Each row lies where its `unit` is: the keys carry it and every
# statement names it, but for those who follow `changes` by position, on each machine for itself.
DISTRIBUTED = frozenset(
    {
        assertion_history,
        assertions,
        batches,
        changes,
        disclosures,
        edges,
        epcis_captures,
        epcis_events,
        grants,
        identifier_history,
        identifiers,
        notice_marks,
        notices,
        received_grants,
        rules,
    }
)

# They grow with the number of holders, are read with everything and written rarely: whole on
# every machine.
REFERENCE = frozenset(
    {
        api_keys,
        delegation_history,
        hosted_keys,
        node,
        organisations,
        prefixes,
        recoveries,
    }
)

# The node's own, on one machine: its log (ADR 12), what is kept of requests for hours, and what is
# on its way to other nodes.
OWN = frozenset(
    {
        canary,
        challenges,
        deliveries,
        handovers,
        idempotency,
        log_checkpoint,
        log_entry,
        log_epoch,
        log_index,
        log_state,
        log_tile,
        map_bucket,
    }
)

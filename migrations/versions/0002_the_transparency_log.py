"""The transparency log and its maps, recoveries, batch statements, disclosures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from registry.store.tables import Xid8

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = (
    "recoveries",
    "batches",
    "disclosures",
    "log_entry",
    "log_index",
    "log_tile",
    "log_state",
    "log_epoch",
    "log_checkpoint",
    "map_bucket",
)

# What was accepted before there was a log becomes its first leaves.
BACKFILL = (
    "UPDATE changes SET what = 'record' WHERE op IN (1, 3) AND digest IS NOT NULL",
    (
        "UPDATE changes SET what = CASE WHEN digest IS NULL THEN 'status' ELSE 'delegation' END"
        " WHERE op = 4"
    ),
    (
        "UPDATE changes SET what = 'link', subject = a.link_key || '/' || a.side"
        " FROM (SELECT digest, link_key, side FROM assertions"
        " UNION ALL SELECT digest, link_key, side FROM assertion_history) AS a"
        " WHERE changes.op = 2 AND changes.digest = a.digest"
    ),
    # Suspensions and resumptions of a prefix took turns, and named no digest.
    (
        "UPDATE changes SET digest = CASE WHEN s.turn % 2 = 1 THEN"
        " rtrim(translate(encode(sha256(convert_to("
        "'tierlink-suspended' || chr(10) || s.digest, 'UTF8')), 'base64'), '+/', '-_'), '=')"
        " ELSE s.digest END FROM (SELECT c.xid, c.id,"
        " row_number() OVER (PARTITION BY c.about ORDER BY c.xid, c.id) AS turn,"
        " rtrim(translate(encode(sha256(convert_to(d.delegation, 'UTF8')), 'base64'),"
        " '+/', '-_'), '=') AS digest FROM changes AS c JOIN ("
        "SELECT prefix, sequence, delegation FROM prefixes UNION ALL"
        " SELECT prefix, sequence, delegation FROM delegation_history"
        ") AS d ON d.prefix = c.about AND d.sequence = c.version WHERE c.what = 'status') AS s"
        " WHERE changes.xid = s.xid AND changes.id = s.id"
    ),
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("prefixes", sa.Column("salt", sa.LargeBinary(), nullable=True))
    # sha256 of two random UUIDs: 32 bytes from the server's strong randomness.
    op.execute(
        "UPDATE prefixes SET salt ="
        " sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))"
    )
    op.alter_column("prefixes", "salt", nullable=False)
    op.add_column(
        "prefixes",
        sa.Column("run", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column("changes", sa.Column("what", sa.Text(collation="C"), nullable=True))
    op.add_column("changes", sa.Column("subject", sa.Text(collation="C"), nullable=True))
    for statement in BACKFILL:
        op.execute(statement)
    _create_statements()
    _create_log()


def _text(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(collation="C"), nullable=False)


def _bigint(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), nullable=False)


def _given(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), autoincrement=False, nullable=False)


def _bytes(name: str) -> sa.Column[bytes]:
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _now(name: str) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text("clock_timestamp()"),
        nullable=False,
    )


def _create_statements() -> None:
    op.create_table(
        "recoveries",
        _text("prefix"),
        _bigint("sequence"),
        sa.Column("delegation", sa.Text(), nullable=False),
        _bigint("effective_at"),
        _now("created_at"),
        sa.PrimaryKeyConstraint("prefix", name="pk_recoveries"),
    )
    op.create_table(
        "batches",
        _bigint("unit"),
        _text("digest"),
        _bigint("records"),
        sa.Column("statement", sa.Text(), nullable=False),
        _now("created_at"),
        sa.PrimaryKeyConstraint("unit", "digest", name="pk_batches"),
    )
    op.create_table(
        "disclosures",
        _bigint("unit"),
        _text("identifier"),
        _bigint("version"),
        _text("digest"),
        sa.Column("audience", ARRAY(sa.Text(collation="C")), nullable=False),
        sa.Column("disclosure", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("unit", "identifier", "version", "digest", name="pk_disclosures"),
    )


def _create_log() -> None:
    op.create_table(
        "log_entry",
        _given("idx"),
        _bytes("leaf_hash"),
        _bytes("leaf"),
        sa.PrimaryKeyConstraint("idx", name="pk_log_entry"),
    )
    op.create_table(
        "log_index",
        _text("digest"),
        _bigint("idx"),
        sa.PrimaryKeyConstraint("digest", name="pk_log_index"),
    )
    op.create_table(
        "log_tile",
        sa.Column("level", sa.SmallInteger(), nullable=False),
        _bigint("n"),
        sa.Column("width", sa.SmallInteger(), nullable=False),
        _bytes("data"),
        sa.PrimaryKeyConstraint("level", "n", name="pk_log_tile"),
    )
    op.create_table(
        "log_state",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        _text("origin"),
        _bigint("size"),
        _bytes("root"),
        sa.Column("cursor_xid", Xid8(), nullable=False),
        _bigint("cursor_id"),
        _bigint("epoch"),
        sa.CheckConstraint("id = 1", name=op.f("ck_log_state_one_row")),
        sa.PrimaryKeyConstraint("id", name="pk_log_state"),
    )
    op.create_table(
        "log_epoch",
        _given("epoch"),
        _bigint("idx"),
        _bigint("size"),
        _bytes("identifiers"),
        _bytes("prefixes"),
        sa.PrimaryKeyConstraint("epoch", name="pk_log_epoch"),
    )
    op.create_table(
        "log_checkpoint",
        _given("size"),
        _bytes("root"),
        _bigint("epoch"),
        _bigint("time"),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("size", name="pk_log_checkpoint"),
    )
    op.create_index("ix_log_checkpoint_epoch", "log_checkpoint", ["epoch"])
    op.create_index("ix_log_checkpoint_time_size", "log_checkpoint", ["time", "size"])
    op.create_table(
        "map_bucket",
        sa.Column("map", sa.SmallInteger(), nullable=False),
        _bigint("bucket"),
        _bigint("epoch"),
        _bigint("entries"),
        _bytes("root"),
        _bytes("data"),
        sa.PrimaryKeyConstraint("map", "bucket", "epoch", name="pk_map_bucket"),
    )
    op.create_index("ix_map_bucket_epoch", "map_bucket", ["epoch"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in TABLES:
        op.drop_table(name)
    op.drop_column("changes", "subject")
    op.drop_column("changes", "what")
    op.drop_column("prefixes", "run")
    op.drop_column("prefixes", "salt")

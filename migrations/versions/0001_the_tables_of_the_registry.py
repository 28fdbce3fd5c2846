"""The tables of the registry, as they were first."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from registry.store.tables import Xid8

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "prefixes",
    "rules",
    "organisations",
    "node",
    "identifiers",
    "identifier_history",
    "idempotency",
    "hosted_keys",
    "edges",
    "delegation_history",
    "changes",
    "challenges",
    "assertions",
    "assertion_history",
    "api_keys",
)


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "api_keys",
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("prefix", sa.Text(collation="C"), nullable=False),
        sa.Column("secret_hash", sa.LargeBinary(), nullable=False),
        sa.Column("label", sa.Text(), server_default="", nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_api_keys"),
    )
    op.create_index("ix_api_keys_prefix", "api_keys", ["prefix"])
    op.create_table(
        "assertion_history",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("link_key", sa.Text(collation="C"), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(collation="C"), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column(
            "replaced_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("unit", "link_key", "side", "version", name="pk_assertion_history"),
    )
    op.create_table(
        "assertions",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("link_key", sa.Text(collation="C"), nullable=False),
        sa.Column("side", sa.Text(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(collation="C"), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("unit", "link_key", "side", name="pk_assertions"),
    )
    op.create_table(
        "challenges",
        sa.Column("nonce", sa.Text(collation="C"), nullable=False),
        sa.Column("prefix", sa.Text(collation="C"), nullable=False),
        sa.Column("kid", sa.Text(collation="C"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("nonce", name="pk_challenges"),
    )
    op.create_index("ix_challenges_prefix_kid", "challenges", ["prefix", "kid"])
    op.create_table(
        "changes",
        sa.Column("xid", Xid8(), server_default=sa.text("pg_current_xact_id()"), nullable=False),
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column(
            "at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.Column("op", sa.SmallInteger(), nullable=False),
        sa.Column("about", sa.Text(collation="C"), nullable=False),
        sa.Column("also", sa.Text(collation="C"), server_default="", nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(collation="C"), nullable=True),
        sa.PrimaryKeyConstraint("xid", "id", "unit", name="pk_changes"),
    )
    op.create_table(
        "delegation_history",
        sa.Column("prefix", sa.Text(collation="C"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("delegation", sa.Text(), nullable=False),
        sa.Column(
            "replaced_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("prefix", "sequence", name="pk_delegation_history"),
    )
    op.create_table(
        "edges",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("near", sa.Text(collation="C"), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("far", sa.Text(collation="C"), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("lifecycle", sa.Text(), nullable=False),
        sa.Column("occurrence", sa.Text(collation="C"), nullable=False),
        sa.Column("far_unit", sa.BigInteger(), nullable=False),
        sa.Column("link_key", sa.Text(collation="C"), nullable=False),
        sa.Column("sides", sa.SmallInteger(), nullable=False),
        sa.PrimaryKeyConstraint(
            "unit", "near", "direction", "far", "type", "lifecycle", "occurrence", name="pk_edges"
        ),
    )
    op.create_table(
        "hosted_keys",
        sa.Column("kid", sa.Text(collation="C"), nullable=False),
        sa.Column("prefix", sa.Text(collation="C"), nullable=False),
        sa.Column("uses", ARRAY(sa.Text()), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("kid", name="pk_hosted_keys"),
    )
    op.create_index("ix_hosted_keys_prefix", "hosted_keys", ["prefix"])
    op.create_table(
        "idempotency",
        sa.Column("api_key_id", sa.Text(collation="C"), nullable=False),
        sa.Column("key", sa.Text(collation="C"), nullable=False),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.SmallInteger(), nullable=True),
        sa.Column("headers", JSONB(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("api_key_id", "key", name="pk_idempotency"),
    )
    op.create_index("ix_idempotency_created_at", "idempotency", ["created_at"])
    op.create_table(
        "identifier_history",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("identifier", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(collation="C"), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.Column(
            "replaced_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("unit", "identifier", "version", name="pk_identifier_history"),
    )
    op.create_table(
        "identifiers",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("identifier", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("parent", sa.Text(collation="C"), nullable=True),
        sa.Column("issued_at", sa.BigInteger(), nullable=False),
        sa.Column("digest", sa.Text(collation="C"), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("unit", "identifier", name="pk_identifiers"),
    )
    op.create_index(
        "ix_identifiers_unit_parent",
        "identifiers",
        ["unit", "parent"],
        postgresql_where=sa.text("parent IS NOT NULL"),
    )
    op.create_table(
        "node",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("incarnation", sa.Text(collation="C"), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("id = 1", name=op.f("ck_node_one_row")),
        sa.PrimaryKeyConstraint("id", name="pk_node"),
    )
    op.create_table(
        "organisations",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("uscc", sa.Text(), nullable=True),
        sa.Column("lei", sa.Text(), nullable=True),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("id", name="pk_organisations"),
    )
    op.create_table(
        "rules",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.Text(collation="C"), nullable=False),
        sa.Column("identifier", sa.Text(collation="C"), nullable=False),
        sa.Column("pattern", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("unit", "identifier", name="pk_rules"),
    )
    op.create_index("ix_rules_unit_head_identifier", "rules", ["unit", "head", "identifier"])
    op.create_table(
        "prefixes",
        sa.Column("prefix", sa.Text(collation="C"), nullable=False),
        sa.Column("parent", sa.Text(collation="C"), nullable=True),
        sa.Column("organisation_id", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("delegation", sa.Text(), nullable=False),
        sa.Column(
            "created_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.CheckConstraint("status IN ('active', 'suspended')", name=op.f("ck_prefixes_status")),
        sa.ForeignKeyConstraint(
            ["organisation_id"],
            ["organisations.id"],
            name="fk_prefixes_organisation_id_organisations",
        ),
        sa.PrimaryKeyConstraint("prefix", name="pk_prefixes"),
    )
    op.create_index("ix_prefixes_parent_prefix", "prefixes", ["parent", "prefix"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for name in TABLES:
        op.drop_table(name)

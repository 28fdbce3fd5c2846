"""Grants that go to the nodes of those to whom they are, and those that came from elsewhere.

What was granted before is handed over with its next version.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _now(name: str) -> sa.Column[object]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        server_default=sa.text("clock_timestamp()"),
        nullable=False,
    )


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "received_grants",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("grantor", sa.Text(collation="C"), nullable=False),
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("direction", sa.Text(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("valid_from", sa.BigInteger(), nullable=True),
        sa.Column("valid_until", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.Text(collation="C"), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        _now("received_at"),
        sa.PrimaryKeyConstraint("unit", "grantor", "id", name="pk_received_grants"),
    )
    op.create_table(
        "handovers",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("grantee", sa.Text(collation="C"), nullable=False),
        sa.Column("digest", sa.Text(collation="C"), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("failure", sa.Text(), nullable=False),
        _now("created_at"),
        sa.PrimaryKeyConstraint("unit", "id", name="pk_handovers"),
    )
    op.create_index(
        "ix_handovers_due_at",
        "handovers",
        ["due_at"],
        postgresql_where=sa.text("due_at IS NOT NULL"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("handovers")
    op.drop_table("received_grants")

"""Captured EPCIS events, and what became of each capture."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.create_table(
        "epcis_events",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.Text(collation="C"), nullable=False),
        sa.Column("event_id", sa.Text(collation="C"), nullable=True),
        sa.Column("declared", sa.BigInteger(), nullable=True),
        sa.Column("capture", sa.Text(collation="C"), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column(
            "captured_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("unit", "hash", name="pk_epcis_events"),
    )
    op.create_index(
        "ix_epcis_events_unit_event_id",
        "epcis_events",
        ["unit", "event_id"],
        postgresql_where=sa.text("event_id IS NOT NULL"),
    )
    op.create_table(
        "epcis_captures",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column(
            "finished_at",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
        ),
        sa.PrimaryKeyConstraint("unit", "id", name="pk_epcis_captures"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("epcis_captures")
    op.drop_table("epcis_events")

"""When statements of links were recorded, and recall notices.

Statements that are there already keep no time (null): the one they were issued at counts for them
(`registry/store/reads.py`). So no row is rewritten, however many there are. Edges that were deleted
when both ends had withdrawn do not come back; from here on they stay, with no side.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = ("assertions", "assertion_history")


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for table in STATEMENTS:
        op.add_column(table, sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=True))
    # Apart from the column: with it, every row would be written again.
    op.alter_column("assertions", "recorded_at", server_default=sa.func.clock_timestamp())
    op.create_table(
        "notices",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(collation="C"), nullable=False),
        sa.Column("envelope", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("unit", "id", name="pk_notices"),
    )
    op.create_table(
        "notice_marks",
        sa.Column("unit", sa.BigInteger(), nullable=False),
        sa.Column("identifier", sa.Text(collation="C"), nullable=False),
        sa.Column("id", sa.Text(collation="C"), nullable=False),
        sa.PrimaryKeyConstraint("unit", "identifier", "id", name="pk_notice_marks"),
    )


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_table("notice_marks")
    op.drop_table("notices")
    op.execute("DELETE FROM edges WHERE sides = 0")
    for table in STATEMENTS:
        op.drop_column(table, "recorded_at")

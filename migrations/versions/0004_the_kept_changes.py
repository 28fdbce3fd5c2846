"""From which position on the outbox is kept, and an index to sweep old challenges by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from registry.store.tables import Xid8

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column(
        "node",
        sa.Column("changes_since", Xid8(), server_default=sa.text("'0'"), nullable=False),
    )
    op.create_index("ix_challenges_created_at", "challenges", ["created_at"])


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_index("ix_challenges_created_at", "challenges")
    op.drop_column("node", "changes_since")

"""What a day costs, breakers that probe, files that were checked, and people who were told."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns and indexes; nothing that is there is touched."""
    op.add_column("productions", sa.Column("told_seq", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("productions", sa.Column("told_state", sa.String(length=64)))
    op.add_column("attempts", sa.Column("verified_at", sa.DateTime()))
    op.add_column("breakers", sa.Column("closed_at", sa.DateTime()))
    op.add_column("breakers", sa.Column("probes", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("breakers", sa.Column("probe_at", sa.DateTime()))
    op.add_column("breakers", sa.Column("probe_batch", sa.String(length=64)))
    op.create_index(
        "attempts_by_day",
        "attempts",
        ["submitted_at", "provider", "state", "accepted_at", "possibly_billed", "cost_micros"],
    )
    op.create_index("attempts_by_end", "attempts", ["provider", "completed_at"])

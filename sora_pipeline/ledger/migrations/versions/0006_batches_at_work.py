"""Batches know their clips and the run that works on them."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    """Add what a batch of earlier versions had none of; those have ended."""
    for column in (
        sa.Column("pipeline", sa.String(64)),
        sa.Column("account", sa.String(64)),
        sa.Column("asset", sa.String(16)),
        sa.Column("keys", sa.JSON()),
        sa.Column("wanted", sa.JSON()),
        sa.Column("run_id", sa.String(64)),
        sa.Column("begun_at", sa.DateTime()),
        sa.Column("lease_until", sa.DateTime()),
        sa.Column("told_to_leave", sa.Boolean(), nullable=False, server_default=sa.false()),
        sa.Column("ended_at", sa.DateTime()),
    ):
        op.add_column("batches", column)
    op.execute("UPDATE batches SET ended_at = created_at")
    unfinished = sa.text("ended_at IS NULL")
    op.create_index(
        "unfinished_batches",
        "batches",
        ["pipeline"],
        sqlite_where=unfinished,
        postgresql_where=unfinished,
    )

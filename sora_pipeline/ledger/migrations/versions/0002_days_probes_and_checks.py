"""What a day costs, breakers that probe, files that were checked, clips that want nothing more, people who were told."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add columns and indexes; no value that is there is changed."""
    op.add_column("productions", sa.Column("told_seq", sa.Integer(), nullable=False, server_default="0"))
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
    op.add_column("clips", sa.Column("delivered", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.execute(
        "UPDATE clips SET delivered = true WHERE EXISTS (SELECT 1 FROM attempts WHERE attempts.clip_id = clips.clip_id "
        "AND attempts.fingerprint = clips.fingerprint AND attempts.state = 'collected')"
    )
    op.create_index(
        "undelivered_clips",
        "clips",
        ["production_id", "position"],
        sqlite_where=sa.text("active AND NOT delivered"),
        postgresql_where=sa.text("active AND NOT delivered"),
    )

"""What a day costs, breakers that probe, files that were checked, how clips ended, and people who were told."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_OUTCOMES = """
UPDATE clips SET outcome = CASE
    WHEN EXISTS (
        SELECT 1 FROM attempts
        WHERE attempts.clip_id = clips.clip_id AND state = 'collected' AND attempts.fingerprint = clips.fingerprint
    ) THEN 'delivered'
    WHEN EXISTS (
        SELECT 1 FROM attempts
        WHERE attempts.clip_id = clips.clip_id AND state = 'failed' AND attempts.round = clips.round AND NOT retryable
        AND number = (SELECT max(number) FROM attempts WHERE attempts.clip_id = clips.clip_id)
    ) THEN 'failed'
END
"""


def upgrade() -> None:
    """Add columns and indexes; no value that is there is changed."""
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
        ["provider", "submitted_at", "state", "accepted_at", "possibly_billed", "cost_micros"],
    )
    op.create_index("attempts_by_end", "attempts", ["provider", "completed_at"])
    op.add_column("clips", sa.Column("outcome", sa.String(length=16)))
    op.execute(_OUTCOMES)
    op.create_index(
        "open_clips",
        "clips",
        ["production_id", "position"],
        sqlite_where=sa.text("active AND outcome IS NULL"),
        postgresql_where=sa.text("active AND outcome IS NULL"),
    )

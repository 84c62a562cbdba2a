"""The first ledger: productions, clips, attempts and batches."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "productions",
        sa.Column("production_id", sa.String(length=64), nullable=False),
        sa.Column("manifest_uri", sa.Text(), nullable=False),
        sa.Column("output_uri", sa.Text(), nullable=False),
        sa.Column("budget_micros", sa.BigInteger(), nullable=True),
        sa.Column("requested_at", sa.DateTime(), nullable=True),
        sa.Column("read_at", sa.DateTime(), nullable=True),
        sa.Column("snapshot_path", sa.Text(), nullable=True),
        sa.Column("manifest_sha256", sa.String(length=64), nullable=True),
        sa.Column("snapshot_sha256", sa.String(length=64), nullable=True),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("change_seq", sa.Integer(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=True),
        sa.Column("published_seq", sa.Integer(), nullable=False),
        sa.Column("published_at", sa.DateTime(), nullable=True),
        sa.Column("publisher", sa.String(length=64), nullable=True),
        sa.Column("publisher_until", sa.DateTime(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("production_id"),
    )
    op.create_table(
        "batches",
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("production_id", sa.String(length=64), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("submit_tries", sa.Integer(), nullable=False),
        sa.Column("submit_requested_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["production_id"],
            ["productions.production_id"],
        ),
        sa.PrimaryKeyConstraint("batch_id"),
    )
    op.create_table(
        "clips",
        sa.Column("clip_id", sa.String(length=128), nullable=False),
        sa.Column("production_id", sa.String(length=64), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.ForeignKeyConstraint(
            ["production_id"],
            ["productions.production_id"],
        ),
        sa.PrimaryKeyConstraint("clip_id"),
    )
    op.create_index("clips_by_production", "clips", ["production_id", "active", "position"], unique=False)
    op.create_table(
        "attempts",
        sa.Column("attempt_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("clip_id", sa.String(length=128), nullable=False),
        sa.Column("production_id", sa.String(length=64), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("round", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("batch_id", sa.String(length=64), nullable=False),
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("model", sa.String(length=128), nullable=False),
        sa.Column("cost_micros", sa.BigInteger(), nullable=False),
        sa.Column("reserved_at", sa.DateTime(), nullable=False),
        sa.Column("owner", sa.String(length=64), nullable=True),
        sa.Column("lease_until", sa.DateTime(), nullable=True),
        sa.Column("submitted_at", sa.DateTime(), nullable=True),
        sa.Column("accepted_at", sa.DateTime(), nullable=True),
        sa.Column("completed_at", sa.DateTime(), nullable=True),
        sa.Column("stored_at", sa.DateTime(), nullable=True),
        sa.Column("reported_at", sa.DateTime(), nullable=True),
        sa.Column("deadline_at", sa.DateTime(), nullable=True),
        sa.Column("next_poll_at", sa.DateTime(), nullable=True),
        sa.Column("polls", sa.Integer(), nullable=False),
        sa.Column("empty_polls", sa.Integer(), nullable=False),
        sa.Column("collect_tries", sa.Integer(), nullable=False),
        sa.Column("prediction_id", sa.String(length=256), nullable=True),
        sa.Column("poll_url", sa.Text(), nullable=True),
        sa.Column("provider_status", sa.String(length=64), nullable=True),
        sa.Column("model_returned", sa.String(length=128), nullable=True),
        sa.Column("request_summary", sa.JSON(), nullable=True),
        sa.Column("error_kind", sa.String(length=32), nullable=True),
        sa.Column("error_message", sa.Text(), nullable=True),
        sa.Column("retryable", sa.Boolean(), nullable=True),
        sa.Column("possibly_billed", sa.Boolean(), nullable=False),
        sa.Column("output_url", sa.Text(), nullable=True),
        sa.Column("output_expires_at", sa.DateTime(), nullable=True),
        sa.Column("file_name", sa.Text(), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("sha256", sa.String(length=64), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("fps", sa.Float(), nullable=True),
        sa.Column("frames", sa.Integer(), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("video_codec", sa.String(length=32), nullable=True),
        sa.Column("has_audio", sa.Boolean(), nullable=True),
        sa.Column("c2pa", sa.Boolean(), nullable=True),
        sa.Column("poster_path", sa.Text(), nullable=True),
        sa.Column("output_uri", sa.Text(), nullable=True),
        sa.Column("run_id", sa.String(length=64), nullable=True),
        sa.ForeignKeyConstraint(
            ["clip_id"],
            ["clips.clip_id"],
        ),
        sa.ForeignKeyConstraint(
            ["production_id"],
            ["productions.production_id"],
        ),
        sa.PrimaryKeyConstraint("attempt_id"),
        sa.UniqueConstraint("clip_id", "number", name="attempt_number"),
        sqlite_autoincrement=True,
    )
    op.create_index("attempts_by_batch", "attempts", ["batch_id"], unique=False)
    op.create_index(
        "attempts_by_production",
        "attempts",
        ["production_id", "state", "accepted_at", "possibly_billed", "cost_micros"],
        unique=False,
    )
    op.create_index(
        "delivered_fingerprints",
        "attempts",
        ["clip_id", "fingerprint"],
        unique=False,
        sqlite_where=sa.text("state = 'collected'"),
        postgresql_where=sa.text("state = 'collected'"),
    )
    op.create_index(
        "live_by_state",
        "attempts",
        ["state", "next_poll_at"],
        unique=False,
        sqlite_where=sa.text(
            "state IN ('reserved', 'submitting', 'in_flight', 'succeeded', 'ambiguous', 'timed_out')"
        ),
        postgresql_where=sa.text(
            "state IN ('reserved', 'submitting', 'in_flight', 'succeeded', 'ambiguous', 'timed_out')"
        ),
    )
    op.create_index(
        "unreported_attempts",
        "attempts",
        ["state"],
        unique=False,
        sqlite_where=sa.text("reported_at IS NULL"),
        postgresql_where=sa.text("reported_at IS NULL"),
    )
    op.create_index(
        "one_live_attempt",
        "attempts",
        ["clip_id"],
        unique=True,
        sqlite_where=sa.text(
            "state IN ('reserved', 'submitting', 'in_flight', 'succeeded', 'ambiguous', 'timed_out')"
        ),
        postgresql_where=sa.text(
            "state IN ('reserved', 'submitting', 'in_flight', 'succeeded', 'ambiguous', 'timed_out')"
        ),
    )
    op.create_table(
        "breakers",
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("provider"),
    )
    op.create_table(
        "pauses",
        sa.Column("provider", sa.String(length=64), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("provider"),
    )

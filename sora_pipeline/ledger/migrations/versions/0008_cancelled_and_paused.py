"""What persons stop: cancelled clips, paused productions and paused accounts; and turns of submits."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Nothing that is there is cancelled or paused."""
    op.add_column("clips", sa.Column("cancelled_round", sa.Integer()))
    op.add_column("clips", sa.Column("cancelled_at", sa.DateTime()))
    op.add_column("productions", sa.Column("paused_at", sa.DateTime()))
    op.create_table(
        "paused_accounts",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("paused_at", sa.DateTime(), nullable=False),
    )
    op.create_table(
        "turns",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("next_at", sa.DateTime(), nullable=False),
    )

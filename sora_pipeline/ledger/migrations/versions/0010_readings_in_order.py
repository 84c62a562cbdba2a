"""When the reading began that a production stands on, and whether a person gave it its name."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    """Add both; of readings so far it is not known, and their productions stay as they are."""
    op.add_column("productions", sa.Column("snapshot_began_at", sa.DateTime()))
    op.add_column("productions", sa.Column("named", sa.Boolean(), nullable=False, server_default=sa.true()))

"""What people were told last, so that the same is never told twice."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add a column; nothing that is there is touched."""
    op.add_column("productions", sa.Column("told_state", sa.String(length=64)))

"""What the last look at each published production found."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Add the table; productions are looked at when they are next published."""
    op.create_table(
        "verdicts",
        sa.Column(
            "production_id", sa.String(64), sa.ForeignKey("productions.production_id"), primary_key=True
        ),
        sa.Column("name", sa.String(64), primary_key=True),
        sa.Column("healthy", sa.Boolean(), nullable=False),
        sa.Column("serious", sa.Boolean(), nullable=False),
        sa.Column("sentence", sa.Text(), nullable=False),
        sa.Column("looked_at", sa.DateTime(), nullable=False),
    )

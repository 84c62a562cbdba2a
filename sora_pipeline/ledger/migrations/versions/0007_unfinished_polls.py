"""When a poll last found a prediction unfinished: with the poll that found its end, how long it took."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add the column; of attempts that are there it is not known."""
    op.add_column("attempts", sa.Column("unfinished_at", sa.DateTime()))

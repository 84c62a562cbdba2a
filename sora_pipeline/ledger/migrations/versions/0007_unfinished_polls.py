"""When a poll last found a prediction unfinished, and an index of the batches that ended.

With the poll that found its end, the first says how long a prediction took.
"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Add both; of attempts that are there it is not known."""
    op.add_column("attempts", sa.Column("unfinished_at", sa.DateTime()))
    ended = sa.text("ended_at IS NOT NULL")
    op.create_index("ended_batches", "batches", ["ended_at"], sqlite_where=ended, postgresql_where=ended)

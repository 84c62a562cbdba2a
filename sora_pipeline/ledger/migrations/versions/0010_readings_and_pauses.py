"""When the reading began that a production stands on, whether a person gave it its name, and whose a pause is."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_PAUSES = sa.table("pauses", sa.column("account", sa.String), sa.column("until", sa.DateTime))


def upgrade() -> None:
    """Of readings so far nothing is known, and their productions stay as they are; pauses so far are the providers'."""
    op.add_column("productions", sa.Column("snapshot_began_at", sa.DateTime()))
    op.add_column("productions", sa.Column("named", sa.Boolean(), nullable=False, server_default=sa.true()))
    held = [dict(row) for row in op.get_bind().execute(sa.select(_PAUSES)).mappings()]
    op.drop_table("pauses")
    pauses = op.create_table(
        "pauses",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("owner", sa.String(64), primary_key=True),
        sa.Column("until", sa.DateTime(), nullable=False),
    )
    op.bulk_insert(pauses, [{**row, "owner": ""} for row in held])

"""Breakers of single models, which clip was the last probe, and how often a clip's submit was refused for now."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add columns; a breaker that is there is one of the whole account."""
    op.add_column("clips", sa.Column("refusals", sa.Integer(), nullable=False, server_default="0"))
    connection = op.get_bind()
    old = sa.Table("breakers", sa.MetaData(), autoload_with=connection)
    new = op.create_table(
        "breakers_0004",
        sa.Column("account", sa.String(64), primary_key=True),
        sa.Column("model", sa.String(128), primary_key=True),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column("opened_at", sa.DateTime(), nullable=False),
        sa.Column("closed_at", sa.DateTime()),
        sa.Column("probes", sa.Integer(), nullable=False),
        sa.Column("probe_at", sa.DateTime()),
        sa.Column("probe_batch", sa.String(64)),
        sa.Column("probe_key", sa.String(256)),
    )
    assert new is not None
    for row in connection.execute(sa.select(old)).mappings().all():
        connection.execute(new.insert().values(**row, model=""))
    op.drop_table("breakers")
    op.rename_table("breakers_0004", "breakers")

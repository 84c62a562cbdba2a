"""Alembic's entry: runs the revisions on the connection the ledger hands over."""

from alembic import context

from sora_pipeline.ledger.schema import VERSION_TABLE, metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    version_table=VERSION_TABLE,
)
with context.begin_transaction():
    context.run_migrations()

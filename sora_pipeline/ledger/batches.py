"""Batches: clips that one run submits together, and how often their runs had to be requested."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Connection, select, update

from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import batches


class Batches:
    """Run keys deduplicate for ever, failed runs included, so each request of a run gets a try number."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def next_try(self, batch_id: str) -> int:
        """Count one more request of this batch's run and return its number, from 1."""
        with self._database.write() as connection:
            connection.execute(
                update(batches)
                .where(batches.c.batch_id == batch_id)
                .values(submit_tries=batches.c.submit_tries + 1, submit_requested_at=self._now())
            )
            return self._tries(connection, batch_id)

    @patient
    def tries(self, batch_id: str) -> int:
        """How often this batch's run was requested."""
        with self._database.read() as connection:
            return self._tries(connection, batch_id)

    def _tries(self, connection: Connection, batch_id: str) -> int:
        tries = connection.scalar(select(batches.c.submit_tries).where(batches.c.batch_id == batch_id))
        return int(tries or 0)

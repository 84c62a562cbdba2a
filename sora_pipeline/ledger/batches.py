"""Batches: clips that one run submits together, and how often their runs had to be requested."""

from collections.abc import Callable
from datetime import datetime
from typing import Literal

from sqlalchemy import select, update

from sora_pipeline.ledger.database import Database
from sora_pipeline.ledger.schema import batches

Purpose = Literal["submit", "collect"]


class Batches:
    """Run keys deduplicate for ever, failed runs included, so each request of a run gets a try number."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def next_try(self, batch_id: str, purpose: Purpose) -> int:
        """Count one more request of this batch's run and return its number, from 1."""
        tries, requested = batches.c[f"{purpose}_tries"], f"{purpose}_requested_at"
        with self._database.write() as connection:
            connection.execute(
                update(batches)
                .where(batches.c.batch_id == batch_id)
                .values({tries.name: tries + 1, requested: self._now()})
            )
            return int(connection.scalar(select(tries).where(batches.c.batch_id == batch_id)) or 1)

    def last_requested(self, batch_id: str, purpose: Purpose) -> tuple[int, datetime | None]:
        """How often this batch's run was requested, and when last."""
        with self._database.read() as connection:
            row = connection.execute(select(batches).where(batches.c.batch_id == batch_id)).mappings().first()
        if row is None:
            return 0, None
        return row[f"{purpose}_tries"], row[f"{purpose}_requested_at"]

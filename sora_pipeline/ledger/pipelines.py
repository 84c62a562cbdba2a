"""Pipelines: with which settings the daemon of each works, so that a command can tell whether they are its own."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import pipelines

FRESH = timedelta(seconds=90)
"""A daemon that has not shown itself for so long is not at work."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A pipeline's daemon, as it showed itself last.

    Attributes:
        settings: What it works with, by the names of settings; secrets as salted digests.
        seen_at: When that was.
    """

    settings: Mapping[str, Any]
    seen_at: datetime


class Pipelines:
    """Notes and tells what daemons work with."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def show(self, pipeline: str, settings: Mapping[str, Any]) -> None:
        """Say what the daemon of a pipeline works with at this moment."""
        values = {"settings": dict(settings), "seen_at": self._now()}
        this_pipeline = pipelines.c.pipeline == pipeline
        with self._database.exclusive() as connection:
            if connection.execute(update(pipelines).where(this_pipeline).values(**values)).rowcount == 0:
                connection.execute(pipelines.insert().values(pipeline=pipeline, **values))

    @patient
    def at_work(self) -> list[str]:
        """Names of the pipelines whose daemons have shown themselves lately."""
        shown = select(pipelines.c.pipeline).where(pipelines.c.seen_at >= self._now() - FRESH)
        with self._database.read() as connection:
            return list(connection.scalars(shown.order_by(pipelines.c.pipeline)))

    @patient
    def seen(self, pipeline: str) -> Seen | None:
        """What the daemon of a pipeline said last; None: none ever did."""
        with self._database.read() as connection:
            row = connection.execute(select(pipelines).where(pipelines.c.pipeline == pipeline)).first()
        return None if row is None else Seen(row.settings, row.seen_at)

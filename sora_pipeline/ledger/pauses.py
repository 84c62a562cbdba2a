"""Pauses: until when nothing is submitted to a provider because it said 429, known to every process with its key."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import select, update

from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import pauses


class Pauses:
    """Notes and reads pauses; they end by themselves."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def pause(self, provider: str, seconds: float) -> None:
        """Ask every process to wait so long before its next submit; the longest wish counts."""
        until = self._now() + timedelta(seconds=seconds)
        with self._database.exclusive() as connection:
            known = connection.scalar(select(pauses.c.until).where(pauses.c.provider == provider))
            if known is None:
                connection.execute(pauses.insert().values(provider=provider, until=until))
            elif known < until:
                connection.execute(update(pauses).where(pauses.c.provider == provider).values(until=until))

    @patient
    def left_s(self, provider: str) -> float:
        """Seconds until submits may go on; 0 where they may now."""
        with self._database.read() as connection:
            until = connection.scalar(select(pauses.c.until).where(pauses.c.provider == provider))
        return 0.0 if until is None else max(0.0, (until - self._now()).total_seconds())

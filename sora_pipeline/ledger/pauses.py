"""Pauses: until when nothing is submitted with an account whose provider said 429, known to every process."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import select, update

from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import pauses

LONGEST_S = 120.0
"""No pause is longer; one that seems so was noted by a clock that ran ahead."""


class Pauses:
    """Notes and reads pauses; they end by themselves."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def pause(self, account: str, seconds: float) -> None:
        """Ask every process to wait so long before its next submit; the longest wish counts."""
        now = self._now()
        until = now + timedelta(seconds=min(seconds, LONGEST_S))
        with self._database.exclusive() as connection:
            known = connection.scalar(select(pauses.c.until).where(pauses.c.account == account))
            if known is None:
                connection.execute(pauses.insert().values(account=account, until=until))
            elif known < until or _over(known, now):
                connection.execute(update(pauses).where(pauses.c.account == account).values(until=until))

    @patient
    def left_s(self, account: str) -> float:
        """Seconds until submits may go on; 0 where they may now."""
        with self._database.read() as connection:
            until = connection.scalar(select(pauses.c.until).where(pauses.c.account == account))
        now = self._now()
        return 0.0 if until is None or _over(until, now) else (until - now).total_seconds()


def _over(until: datetime, now: datetime) -> bool:
    return not now <= until <= now + timedelta(seconds=LONGEST_S)

"""Pauses: until when nothing is submitted with an account whose provider said 429, or while a command stops; known to every process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.exc import OperationalError

from sora_pipeline.ledger.database import AWAY_S, Database, patient
from sora_pipeline.ledger.schema import pauses

LONGEST_S = 120.0
"""No pause is longer; one that seems so was noted by a clock that ran ahead."""


@dataclass(frozen=True, slots=True)
class Pause:
    """One that was begun, for whoever takes it back.

    Attributes:
        until: Until when it holds.
        before: Until when another one would have held that it took the place of.
    """

    until: datetime
    before: datetime | None


class Pauses:
    """Notes and reads pauses; they end by themselves."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def pause(self, account: str, seconds: float) -> Pause | None:
        """Ask every process to wait so long before its next submit; the longest wish counts.

        Returns:
            What was begun; None where a longer one holds already.
        """
        now = self._now()
        until = now + timedelta(seconds=min(seconds, LONGEST_S))
        with self._database.exclusive() as connection:
            known = connection.scalar(select(pauses.c.until).where(pauses.c.account == account))
            if known is None:
                connection.execute(pauses.insert().values(account=account, until=until))
            elif known < until or _over(known, now):
                connection.execute(update(pauses).where(pauses.c.account == account).values(until=until))
            else:
                return None
        return Pause(until, None if known is None or _over(known, now) else known)

    @patient
    def lift(self, account: str, pause: Pause) -> None:
        """Take a pause back before it is over, unless a longer one has come since; the one before it holds again."""
        mine = (pauses.c.account == account, pauses.c.until == pause.until)
        with self._database.exclusive() as connection:  # nobody is to lengthen it meanwhile
            if pause.before is None:
                connection.execute(delete(pauses).where(*mine))
            else:
                connection.execute(update(pauses).where(*mine).values(until=pause.before))

    def left_s(self, account: str) -> float:
        """Seconds until submits may go on; 0 where they may now. While the database cannot be read they may not; no clip fails for that."""
        try:
            return self._left_s(account)
        except OperationalError:
            return AWAY_S

    @patient
    def _left_s(self, account: str) -> float:
        with self._database.read() as connection:
            until = connection.scalar(select(pauses.c.until).where(pauses.c.account == account))
        now = self._now()
        return 0.0 if until is None or _over(until, now) else (until - now).total_seconds()


def _over(until: datetime, now: datetime) -> bool:
    return not now <= until <= now + timedelta(seconds=LONGEST_S)

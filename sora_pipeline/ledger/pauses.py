"""Pauses: until when nothing is submitted with an account whose provider said 429, or while a command stops; known to every process."""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, select
from sqlalchemy.exc import OperationalError

from sora_pipeline.ledger.database import AWAY_S, Database, patient
from sora_pipeline.ledger.schema import pauses

LONGEST_S = 120.0
"""No pause is longer; one that seems so was noted by a clock that ran ahead."""
PROVIDER = ""
"""Owner of what a provider has asked for."""


class Pauses:
    """Notes and reads pauses; they end by themselves.

    Each has an owner, so that one command that stops takes back its own, and no other's.
    """

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def pause(self, account: str, seconds: float, owner: str = PROVIDER) -> None:
        """Ask every process to wait so long before its next submit; the longest wish counts."""
        now = self._now()
        until = now + timedelta(seconds=min(seconds, LONGEST_S))
        this_account = pauses.c.account == account
        mine = this_account & (pauses.c.owner == owner)
        with self._database.exclusive() as connection:
            known = connection.scalar(select(pauses.c.until).where(mine))
            if known is not None and known >= until and not _over(known, now):
                return
            connection.execute(delete(pauses).where(mine | (this_account & (pauses.c.until < now))))
            connection.execute(pauses.insert().values(account=account, owner=owner, until=until))

    @patient
    def lift(self, account: str, owner: str) -> None:
        """Take back what an owner has paused, before it is over."""
        mine = (pauses.c.account == account, pauses.c.owner == owner)
        with self._database.exclusive() as connection:
            connection.execute(delete(pauses).where(*mine))

    def left_s(self, account: str) -> float:
        """Seconds until submits may go on; 0 where they may now. While the database cannot be read they may not; no clip fails for that."""
        try:
            return self._left_s(account)
        except OperationalError:
            return AWAY_S

    @patient
    def _left_s(self, account: str) -> float:
        with self._database.read() as connection:
            held = list(connection.scalars(select(pauses.c.until).where(pauses.c.account == account)))
        now = self._now()
        return max(((until - now).total_seconds() for until in held if not _over(until, now)), default=0.0)


def _over(until: datetime, now: datetime) -> bool:
    return not now <= until <= now + timedelta(seconds=LONGEST_S)

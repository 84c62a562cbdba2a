"""Turns: when the next submit to an account may leave, over all runs, processes and machines of a ledger.

A leaky bucket in one row: a tenth of a minute's submits may pass at once and the rest one by one, so that no sixty seconds see more than
the limit.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import turns

MINUTE_S = 60.0
AWAY_S = 1.0


class Turns:
    """Hands out turns."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def take(self, account: str, per_minute: float) -> float:
        """Take the next turn, where it has come: 0; else how many seconds to wait before asking again.

        While the database cannot be written to (a full disk, a restart) nobody's turn comes; no clip fails for that.

        Args:
            account: The account.
            per_minute: Submits in any sixty seconds at most.
        """
        try:
            return self._take(account, per_minute)
        except OperationalError:
            return AWAY_S

    @patient
    def _take(self, account: str, per_minute: float) -> float:
        burst = max(1, int(per_minute // 10))
        apart = timedelta(seconds=MINUTE_S / (per_minute - (burst - 1)))
        with self._database.write() as connection:
            now = self._now()
            next_at = _locked(connection, account, now)
            if (
                not next_at <= now + (burst + 1) * apart
            ):  # noted by a clock that ran ahead, or for a lower rate
                next_at = now
            if (early := next_at - (burst - 1) * apart - now) > timedelta(0):
                return early.total_seconds()
            connection.execute(
                update(turns).where(turns.c.account == account).values(next_at=max(next_at, now) + apart)
            )
        return 0.0


def _locked(connection: Connection, account: str, now: datetime) -> datetime:
    """When an account's bucket will be empty; nobody else asks until the transaction ends."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(turns).values(account=account, next_at=now).on_conflict_do_nothing())
    query = select(turns.c.next_at).where(turns.c.account == account).with_for_update()
    next_at: datetime = connection.execute(query).scalar_one()
    return next_at

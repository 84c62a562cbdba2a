"""Turns: when the next submit to an account may leave, over all runs, processes and machines of a ledger.

A leaky bucket in one row: a tenth of a minute's submits may pass at once and the rest one by one, so that no sixty seconds see more than
the limit.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError

from sora_pipeline.ledger.database import AWAY_S, Database, patient
from sora_pipeline.ledger.schema import turns

SPREAD_OVER_S = 61.0
"""A minute's submits; a second more than the limit speaks of, for a request reaches the provider a little later than its turn, one more so than another."""


class Taken(NamedTuple):
    """What came of asking for turns.

    Attributes:
        turns: How many have come.
        wait_s: Seconds until one may ask again where none has; else 0.
    """

    turns: int
    wait_s: float


class Turns:
    """Hands out turns."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def take(self, account: str, per_minute: float, wanted: int = 1) -> Taken:
        """Take as many of the next turns as have come.

        While the database cannot be written to (a full disk, a restart) nobody's turn comes; no clip fails for that.

        Args:
            account: The account.
            per_minute: Submits in any sixty seconds at most.
            wanted: The most to take: how many wait for one.
        """
        try:
            return self._take(account, per_minute, wanted)
        except OperationalError:
            return Taken(0, AWAY_S)

    @patient
    def _take(self, account: str, per_minute: float, wanted: int) -> Taken:
        burst = max(1, int(per_minute // 10))
        apart = timedelta(seconds=SPREAD_OVER_S / (per_minute - (burst - 1)))
        with self._database.write() as connection:
            next_at = _locked(connection, account, self._now())
            now = self._now()  # only now: others may have held it for long
            if (
                not next_at <= now + (burst + 1) * apart
            ):  # noted by a clock that ran ahead, or for a lower rate
                next_at = now
            taken, latest = 0, now + (burst - 1) * apart
            while taken < wanted and next_at <= latest:
                next_at = max(next_at, now) + apart
                taken += 1
            if not taken:
                return Taken(0, (next_at - latest).total_seconds())
            connection.execute(update(turns).where(turns.c.account == account).values(next_at=next_at))
        return Taken(taken, 0.0)


def _locked(connection: Connection, account: str, now: datetime) -> datetime:
    """When an account's bucket will be empty; nobody else asks until the transaction ends."""
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    connection.execute(insert(turns).values(account=account, next_at=now).on_conflict_do_nothing())
    query = select(turns.c.next_at).where(turns.c.account == account).with_for_update()
    next_at: datetime = connection.execute(query).scalar_one()
    return next_at

"""Breakers: why nothing is submitted to an account at the moment, known to every process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, update

from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import breakers

FIRST_PROBE_S = 300.0
SLOWEST_PROBE_S = 3600.0


@dataclass(frozen=True, slots=True)
class Breaker:
    """An open breaker: submits stop, but for a probe now and then; polling and collecting go on.

    Attributes:
        account: The account it stops.
        kind: The error kind that opened it, for example ``no_balance``.
        message: The provider's words, for people.
        opened_at: Since when.
        probe_at: When one clip may be submitted to see whether the reason is gone.
        probe_batch: The batch that is being submitted to see that, or was last.
        probes: How many were tried.
    """

    account: str
    kind: str
    message: str
    opened_at: datetime
    probe_at: datetime
    probe_batch: str | None
    probes: int


class Breakers:
    """Opens, probes and closes breakers."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def open(self, account: str, kind: str, message: str) -> None:
        """Stop submits to an account; one that is open keeps its time and shows the newest reason."""
        now = self._now()
        reason = {"kind": kind, "message": message}
        fresh = {
            **reason,
            "opened_at": now,
            "closed_at": None,
            "probes": 0,
            "probe_at": now + timedelta(seconds=FIRST_PROBE_S),
            "probe_batch": None,
        }
        with self._database.exclusive() as connection:
            known = connection.execute(select(breakers).where(breakers.c.account == account)).first()
            if known is None:
                connection.execute(breakers.insert().values(account=account, **fresh))
                return
            values = reason if known.closed_at is None else fresh
            connection.execute(update(breakers).where(breakers.c.account == account).values(**values))

    @patient
    def get(self, account: str) -> Breaker | None:
        """The account's open breaker, if any."""
        with self._database.read() as connection:
            row = connection.execute(
                select(breakers).where(breakers.c.account == account, breakers.c.closed_at.is_(None))
            ).first()
        return None if row is None else _breaker_of(row)

    @patient
    def all_open(self) -> list[Breaker]:
        """Every open breaker, by account."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(breakers).where(breakers.c.closed_at.is_(None)).order_by(breakers.c.account)
            ).all()
        return [_breaker_of(row) for row in rows]

    @patient
    def begin_probe(self, account: str, batch_id: str) -> bool:
        """Let one batch through to see whether the reason is gone; False: somebody else does, or it is too early.

        Each probe is followed by a longer pause than the one before, until one is accepted.
        """
        now = self._now()
        with self._database.exclusive() as connection:
            row = connection.execute(
                select(breakers).where(breakers.c.account == account, breakers.c.closed_at.is_(None))
            ).first()
            if row is None:
                return False
            # A probe planned further ahead than probes are was planned by a clock that ran ahead.
            planned_s = _probe_wait_s(row.probes)
            if row.probe_at is not None and now < row.probe_at <= now + timedelta(seconds=planned_s):
                return False
            wait_s = _probe_wait_s(row.probes + 1)
            connection.execute(
                update(breakers)
                .where(breakers.c.account == account)
                .values(probes=row.probes + 1, probe_batch=batch_id, probe_at=now + timedelta(seconds=wait_s))
            )
        return True

    @patient
    def close(self, account: str) -> bool:
        """Let submits go on; whether there was anything to close."""
        with self._database.write() as connection:
            closed = connection.execute(
                update(breakers)
                .where(breakers.c.account == account, breakers.c.closed_at.is_(None))
                .values(closed_at=self._now())
            )
        return closed.rowcount > 0

    @patient
    def closed_at(self, account: str) -> datetime | None:
        """When the account's breaker was closed last; None: it is open, or was never open."""
        with self._database.read() as connection:
            closed_at: datetime | None = connection.scalar(
                select(breakers.c.closed_at).where(breakers.c.account == account)
            )
        return closed_at


def _breaker_of(row: Any) -> Breaker:
    return Breaker(
        account=row.account,
        kind=row.kind,
        message=row.message,
        opened_at=row.opened_at,
        # A ledger from before there were probes has none planned.
        probe_at=row.probe_at or row.opened_at,
        probe_batch=row.probe_batch,
        probes=row.probes,
    )


def _probe_wait_s(probes: int) -> float:
    """Seconds from the last probe, or from the opening, to the next: longer after each."""
    return min(FIRST_PROBE_S * 2.0 ** min(probes, 16), SLOWEST_PROBE_S)

"""What happened lately: for whoever watches. Bounded by an index on time, however much ever happened."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, select

from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import LIVE, accounts, attempts, charges, clip_counts
from sora_pipeline.ledger.types import MICROS, SLOT_STATES, AttemptState

MOST = 20_000
"""Ends that are looked at, the newest: enough for a quarter of an hour at a thousand a minute."""


@dataclass(frozen=True, slots=True)
class End:
    """How an attempt ended.

    Attributes:
        account: Who made it.
        model: Of what.
        error_kind: Why there is no video; None: there is one.
        queue_s: Seconds from its reservation until it was accepted; None: it was not.
        render_s: Seconds that it rendered; None: it did not.
    """

    account: str
    model: str
    error_kind: str | None
    queue_s: float | None
    render_s: float | None


@dataclass(frozen=True, slots=True)
class Charge:
    """What a production comes to at an account, US dollars."""

    production_id: str
    account: str
    simulated: bool
    billed_usd: float
    committed_usd: float


class Recent:
    """Questions about the last minutes, and about the present."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def ends(self, seconds: float) -> list[End]:
        """Attempts that ended within so many seconds, newest first."""
        columns = (
            attempts.c.account,
            attempts.c.model,
            attempts.c.state,
            attempts.c.error_kind,
            attempts.c.reserved_at,
            attempts.c.accepted_at,
            attempts.c.completed_at,
        )
        ends: list[End] = []
        with self._database.read() as connection:
            for account in connection.scalars(select(accounts.c.account)).all():
                query = select(*columns).where(
                    attempts.c.account == account, attempts.c.completed_at > self._since(seconds)
                )
                rows = connection.execute(query.order_by(attempts.c.completed_at.desc()).limit(MOST))
                ends += [
                    End(
                        row.account,
                        row.model,
                        row.error_kind if row.state == AttemptState.FAILED else None,
                        _seconds(row.reserved_at, row.accepted_at),
                        _seconds(row.accepted_at, row.completed_at),
                    )
                    for row in rows
                ]
        return ends

    @patient
    def submits(self, seconds: float) -> dict[str, int]:
        """How many requests left within so many seconds, by account."""
        counts: dict[str, int] = {}
        with self._database.read() as connection:
            for account in connection.scalars(select(accounts.c.account)).all():
                query = select(func.count()).where(
                    attempts.c.account == account, attempts.c.submitted_at > self._since(seconds)
                )
                counts[account] = connection.scalar(query) or 0
        return counts

    @patient
    def slots(self) -> dict[str, int]:
        """Slots that are taken now, by account."""
        query = (
            select(attempts.c.account, func.count().label("slots"))
            .where(LIVE, attempts.c.state.in_(SLOT_STATES))
            .group_by(attempts.c.account)
        )
        with self._database.read() as connection:
            return {row.account: row.slots for row in connection.execute(query)}

    @patient
    def poll_delays_s(self) -> dict[str, float]:
        """For how many seconds the prediction that has waited longest should have been polled, by account."""
        query = (
            select(attempts.c.account, func.min(attempts.c.next_poll_at))
            .where(LIVE, attempts.c.state == AttemptState.IN_FLIGHT)
            .group_by(attempts.c.account)
        )
        now = self._now()
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return {account: max(0.0, (now - due).total_seconds()) for account, due in rows if due is not None}

    @patient
    def charges(self) -> list[Charge]:
        """What every production comes to."""
        keys = (charges.c.production_id, charges.c.account, charges.c.simulated)
        committed = func.sum(charges.c.reserved_micros + charges.c.sent_micros)
        query = select(*keys, func.sum(charges.c.billed_micros), committed).group_by(*keys)
        with self._database.read() as connection:
            return [
                Charge(production, account, simulated, int(billed) / MICROS, int(sent) / MICROS)
                for production, account, simulated, billed, sent in connection.execute(query)
            ]

    @patient
    def clip_counts(self) -> list[tuple[str, str, int, int]]:
        """Production, standing, attempts in the present round, and how many clips stand so."""
        keys = (clip_counts.c.production_id, clip_counts.c.standing, clip_counts.c.tries)
        query = select(*keys, func.sum(clip_counts.c.clips)).group_by(*keys)
        with self._database.read() as connection:
            return [
                (production, standing, tries, int(clips))
                for production, standing, tries, clips in connection.execute(query)
                if clips
            ]

    def _since(self, seconds: float) -> datetime:
        return self._now() - timedelta(seconds=seconds)


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else (end - start).total_seconds()

"""Breakers: why nothing is submitted to an account, or for one model there, at the moment; known to every process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, select, update

from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import breakers

FIRST_PROBE_S = 300.0
SLOWEST_PROBE_S = 3600.0
WHOLE_ACCOUNT = ""


@dataclass(frozen=True, slots=True)
class Breaker:
    """An open breaker: submits stop, but for a probe now and then; polling and collecting go on.

    Attributes:
        account: The account it stops.
        model: The one model that it stops there; empty: everything.
        kind: The error kind that opened it, for example ``no_balance``.
        message: The provider's words, for people.
        opened_at: Since when.
        probe_at: When one clip may be submitted to see whether the reason is gone.
        probe_batch: The batch that is being submitted to see that, or was last.
        probe_key: The clip of that batch: the next probe is another one.
        probes: How many were tried.
    """

    account: str
    model: str
    kind: str
    message: str
    opened_at: datetime
    probe_at: datetime
    probe_batch: str | None
    probe_key: str | None
    probes: int


class Breakers:
    """Opens, probes and closes breakers."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def open(self, account: str, kind: str, message: str, *, model: str = WHOLE_ACCOUNT) -> None:
        """Stop submits to an account, or of one model there; one that is open keeps its time and shows the newest reason."""
        now = self._now()
        reason = {"kind": kind, "message": message}
        fresh = {
            **reason,
            "opened_at": now,
            "closed_at": None,
            "probes": 0,
            "probe_at": now + timedelta(seconds=FIRST_PROBE_S),
            "probe_batch": None,
            "probe_key": None,
        }
        this = _this(account, model)
        with self._database.exclusive() as connection:
            known = connection.execute(select(breakers).where(this)).first()
            if known is None:
                connection.execute(breakers.insert().values(account=account, model=model, **fresh))
                return
            values = reason if known.closed_at is None else fresh
            connection.execute(update(breakers).where(this).values(**values))

    def get(self, account: str) -> Breaker | None:
        """The open breaker of a whole account, if any."""
        return next(iter(self._open(_this(account, WHOLE_ACCOUNT))), None)

    def of_models(self, account: str) -> dict[str, Breaker]:
        """The open breakers of single models of an account, by model."""
        opened = self._open(and_(breakers.c.account == account, breakers.c.model != WHOLE_ACCOUNT))
        return {breaker.model: breaker for breaker in opened}

    def against(self, account: str, model: str) -> list[Breaker]:
        """The open breakers that keep a clip of a model from an account: the account's and the model's."""
        return self._open(and_(breakers.c.account == account, breakers.c.model.in_((WHOLE_ACCOUNT, model))))

    def all_open(self) -> list[Breaker]:
        """Every open breaker, by account and model."""
        return self._open()

    @patient
    def _open(self, *conditions: ColumnElement[bool]) -> list[Breaker]:
        query = select(breakers).where(breakers.c.closed_at.is_(None), *conditions)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(breakers.c.account, breakers.c.model)).all()
        return [_breaker_of(row) for row in rows]

    def may_probe(self, breaker: Breaker) -> bool:
        """Whether it is time for a probe."""
        now = self._now()
        # A probe planned further ahead than probes are was planned by a clock that ran ahead.
        planned = now + timedelta(seconds=_probe_wait_s(breaker.probes))
        return not now < breaker.probe_at <= planned

    @patient
    def begin_probe(self, account: str, batch_id: str, *, key: str = "", model: str = WHOLE_ACCOUNT) -> bool:
        """Let one batch through to see whether the reason is gone; False: somebody else does, or it is too early.

        Each probe is followed by a longer pause than the one before, until one is accepted.

        Args:
            account: The account.
            batch_id: The batch.
            key: Its clip.
            model: The model, where the breaker is one of a model.
        """
        this = _this(account, model)
        with self._database.exclusive() as connection:
            row = connection.execute(select(breakers).where(this, breakers.c.closed_at.is_(None))).first()
            if row is None or not self.may_probe(_breaker_of(row)):
                return False
            wait_s = _probe_wait_s(row.probes + 1)
            connection.execute(
                update(breakers)
                .where(this)
                .values(
                    probes=row.probes + 1,
                    probe_batch=batch_id,
                    probe_key=key,
                    probe_at=self._now() + timedelta(seconds=wait_s),
                )
            )
        return True

    @patient
    def probe_another(self, account: str, *, model: str = WHOLE_ACCOUNT) -> None:
        """The last probe said nothing about the reason, since its clip was refused for itself: another one need not wait."""
        with self._database.exclusive() as connection:
            connection.execute(
                update(breakers)
                .where(_this(account, model), breakers.c.probes > 0)
                .values(probes=breakers.c.probes - 1, probe_at=self._now())
            )

    @patient
    def close(self, account: str, *, model: str | None = None) -> bool:
        """Let submits go on; whether there was anything to close.

        Args:
            account: The account.
            model: Only the breaker of this model (empty: of the whole account); None: all of the account.
        """
        which = breakers.c.account == account if model is None else _this(account, model)
        with self._database.write() as connection:
            closed = connection.execute(
                update(breakers).where(which, breakers.c.closed_at.is_(None)).values(closed_at=self._now())
            )
        return closed.rowcount > 0

    @patient
    def closed_at(self, account: str) -> datetime | None:
        """When the breaker of a whole account was closed last; None: it is open, or was never open."""
        with self._database.read() as connection:
            closed_at: datetime | None = connection.scalar(
                select(breakers.c.closed_at).where(_this(account, WHOLE_ACCOUNT))
            )
        return closed_at


def _this(account: str, model: str) -> ColumnElement[bool]:
    return and_(breakers.c.account == account, breakers.c.model == model)


def _breaker_of(row: Any) -> Breaker:
    return Breaker(
        account=row.account,
        model=row.model,
        kind=row.kind,
        message=row.message,
        opened_at=row.opened_at,
        # A ledger from before there were probes has none planned.
        probe_at=row.probe_at or row.opened_at,
        probe_batch=row.probe_batch,
        probe_key=row.probe_key,
        probes=row.probes,
    )


def _probe_wait_s(probes: int) -> float:
    """Seconds from the last probe, or from the opening, to the next: longer after each."""
    return min(FIRST_PROBE_S * 2.0 ** min(probes, 16), SLOWEST_PROBE_S)

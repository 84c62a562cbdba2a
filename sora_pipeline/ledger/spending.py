"""Money: what was billed, what is committed, what budgets leave, and where it went. Sums in millionths of a US dollar."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, case, cast, func, or_, select

from sora_pipeline.ledger.counters import BILLED, NOT_SENT
from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import attempts, charges, clips, productions
from sora_pipeline.ledger.types import MICROS, Account, AttemptState

_COST = func.coalesce(func.sum(attempts.c.cost_micros), 0)
NO_DAY = "not sent yet"


@dataclass(frozen=True, slots=True)
class Spending:
    """What a production, or a day, comes to so far.

    Attributes:
        spent_micros: Billed by the provider: accepted submits, and those that may have been; in millionths of a US dollar.
        committed_micros: That, and what is reserved for submits under way.
    """

    spent_micros: int
    committed_micros: int

    @property
    def spent_usd(self) -> Decimal:
        """Billed by the provider."""
        return _usd(self.spent_micros)

    @property
    def committed_usd(self) -> Decimal:
        """Billed or reserved."""
        return _usd(self.committed_micros)


@dataclass(frozen=True, slots=True)
class CostLine:
    """One line of a cost report.

    Attributes:
        simulated: Whether these are the sandbox's dollars, and nobody's.
        keys: What it is about, one value for each thing the report is by.
        clips: How many clips.
        attempts: How many attempts were billed.
        delivered: How many of those ended in a stored video.
        spent_usd: What they cost.
    """

    simulated: bool
    keys: tuple[str, ...]
    clips: int
    attempts: int
    delivered: int
    spent_usd: Decimal


class Money:
    """Questions about money."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def of_production(self, production_id: str, *, simulated: bool | None = None) -> Spending:
        """What a production comes to so far.

        Args:
            production_id: The production.
            simulated: Whether in the sandbox's dollars; None: in those that it is made with at present.
        """
        with self._database.read() as connection:
            return _of_production(connection, production_id, simulated)

    @patient
    def of_today(self, account: str) -> Spending:
        """What the present day (UTC) comes to so far at an account, all productions together."""
        with self._database.read() as connection:
            return _of_today(connection, account, self._now())

    @patient
    def report(
        self,
        by: Sequence[str],
        production_ids: Sequence[str] | None = None,
        spellings: Mapping[str, Sequence[str]] | None = None,
    ) -> list[CostLine]:
        """Where the money went.

        Args:
            by: What to sum by: ``day`` (UTC, of the submit), ``model``, ``provider``, ``account``, ``production``, or the
                name of a column that manifests carry. Real and simulated dollars are never summed up together.
            production_ids: Only these productions'; None: everybody's.
            spellings: How manifests write such a column, where not all do as ``by`` has it.
        """
        names = {name: [name, *(spellings or {}).get(name, ())] for name in by}
        keys = [_key(*names[name]).label(f"key_{number}") for number, name in enumerate(by)]
        query = (
            select(
                attempts.c.simulated,
                *keys,
                func.count(func.distinct(attempts.c.clip_key)).label("clips"),
                func.count().label("attempts"),
                func.sum(case((attempts.c.state == AttemptState.COLLECTED, 1), else_=0)).label("delivered"),
                _COST.label("micros"),
            )
            .select_from(attempts)
            .join(clips, clips.c.clip_key == attempts.c.clip_key)
            .where(BILLED)
            .group_by(attempts.c.simulated, *keys)
            .order_by(attempts.c.simulated, *keys)
        )
        if production_ids is not None:
            query = query.where(attempts.c.production_id.in_(production_ids))
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [
            CostLine(
                simulated=row.simulated,
                keys=tuple("" if value is None else str(value) for value in row[1 : len(keys) + 1]),
                clips=row.clips,
                attempts=row.attempts,
                delivered=int(row.delivered or 0),
                spent_usd=_usd(row.micros),
            )
            for row in rows
            if row.attempts
        ]


class RemainingBudgets:
    """What budgets leave, within the caller's exclusive transaction: nobody else can take from them meanwhile.

    Args:
        connection: Of that transaction.
        daily_micros: What a day may cost at one account; None: no limit.
        now: The present.
    """

    def __init__(self, connection: Connection, daily_micros: int | None, now: datetime) -> None:
        self._connection = connection
        self._daily_micros = daily_micros
        self._now = now
        self._of_production: dict[str, int | None] = {}
        self._of_today: dict[str, int | None] = {}

    def take(self, production_id: str, account: Account, cost_micros: int) -> bool:
        """Take a clip's cost; False, and nothing taken, where it fits one of the budgets no longer."""
        production_left, today = self.left(production_id), self.left_today(account.name)
        if any(left is not None and left < cost_micros for left in (production_left, today)):
            return False
        if production_left is not None:
            self._of_production[production_id] = production_left - cost_micros
        if today is not None:
            self._of_today[account.name] = today - cost_micros
        return True

    def left(self, production_id: str) -> int | None:
        """What a production may still cost; None: no limit."""
        if production_id not in self._of_production:
            budget = self._connection.scalar(
                select(productions.c.budget_micros).where(productions.c.production_id == production_id)
            )
            self._of_production[production_id] = (
                None
                if budget is None
                else budget - _of_production(self._connection, production_id).committed_micros
            )
        return self._of_production[production_id]

    def left_today(self, account: str) -> int | None:
        """What the day may still cost at an account; None: no limit."""
        if account not in self._of_today:
            self._of_today[account] = (
                None
                if self._daily_micros is None
                else self._daily_micros - _of_today(self._connection, account, self._now).committed_micros
            )
        return self._of_today[account]


def _of_production(connection: Connection, production_id: str, simulated: bool | None = None) -> Spending:
    """What a production has spent or reserved, in the dollars that it is made with at present, or in those that are named.

    What the sandbox made while it was tried out is no part of real money, nor vice versa.
    """
    present = select(productions.c.simulated).where(productions.c.production_id == production_id)
    return _sum(
        connection,
        charges.c.billed_micros,
        charges.c.reserved_micros + charges.c.sent_micros,
        charges.c.production_id == production_id,
        charges.c.simulated == (present.scalar_subquery() if simulated is None else simulated),
    )


def _of_today(connection: Connection, account: str, now: datetime) -> Spending:
    """What was sent today and is, or may be, billed; and all reservations, for they may be sent today."""
    of_the_day = charges.c.day >= now.astimezone(UTC).date()
    billed, sent = (
        case((of_the_day, amount), else_=0) for amount in (charges.c.billed_micros, charges.c.sent_micros)
    )
    committed = charges.c.reserved_micros + sent
    counts = or_(of_the_day, charges.c.day == NOT_SENT)
    return _sum(connection, billed, committed, charges.c.account == account, counts)


def _sum(
    connection: Connection,
    billed: ColumnElement[int],
    committed: ColumnElement[int],
    *of: ColumnElement[bool],
) -> Spending:
    """Sums of charges, by one statement: of two, PostgreSQL counts what is sent between them as neither reserved nor sent."""
    row = connection.execute(select(func.sum(billed), func.sum(committed)).where(*of)).one()
    return Spending(int(row[0] or 0), int(row[1] or 0))


def _key(name: str, *spellings: str) -> ColumnElement[Any]:
    known: dict[str, ColumnElement[Any]] = {
        # PostgreSQL has dates, and would take the word for one.
        "day": func.coalesce(cast(func.date(attempts.c.submitted_at), String), NO_DAY),
        "model": attempts.c.model,
        "provider": attempts.c.provider,
        "account": attempts.c.account,
        "production": attempts.c.production_id,
    }
    if name in known:
        return known[name]
    columns = [clips.c.spec[("carried", each)].as_string() for each in dict.fromkeys((name, *spellings))]
    return func.coalesce(*columns) if len(columns) > 1 else columns[0]


def _usd(micros: Any) -> Decimal:
    return Decimal(int(micros or 0)) / MICROS

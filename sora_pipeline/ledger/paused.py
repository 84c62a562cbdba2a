"""What persons paused: productions and accounts for which nothing is submitted until they say so; fetching goes on."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import Column, ColumnElement, and_, delete, select, update

from sora_pipeline.ledger.counters import lock_productions
from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.productions import mark_if_waiting
from sora_pipeline.ledger.reservations import give_up_reservations
from sora_pipeline.ledger.schema import LIVE, among_live, attempts, paused_accounts, productions


class Paused:
    """Pauses and resumes; a submit asks in its own transaction."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def pause_production(self, production_id: str) -> bool:
        """Let nothing be submitted for a production; False: it was so already."""
        now = self._now()
        with self._database.exclusive() as connection:
            lock_productions(connection, [production_id])
            changed = connection.execute(
                update(productions)
                .where(productions.c.production_id == production_id, productions.c.paused_at.is_(None))
                .values(paused_at=now)
            ).rowcount
            give_up_reservations(connection, attempts.c.production_id == production_id)
            if changed:
                mark_if_waiting(connection, production_id, now)
        return bool(changed)

    @patient
    def resume_production(self, production_id: str) -> bool:
        """Let submits for a production go on; False: it was not paused."""
        with self._database.exclusive() as connection:
            changed = connection.execute(
                update(productions)
                .where(productions.c.production_id == production_id, productions.c.paused_at.is_not(None))
                .values(paused_at=None)
            ).rowcount
            if changed:
                mark_if_waiting(connection, production_id, self._now())
        return bool(changed)

    @patient
    def pause_account(self, account: str) -> bool:
        """Let nothing be submitted to an account; False: it was so already."""
        with self._database.exclusive() as connection:
            this = paused_accounts.c.account == account
            if connection.execute(select(paused_accounts.c.account).where(this)).first() is not None:
                return False
            of_account = among_live(attempts.c.account) == account
            held = select(attempts.c.production_id).where(LIVE, of_account).distinct()
            lock_productions(connection, connection.scalars(held).all())
            connection.execute(paused_accounts.insert().values(account=account, paused_at=self._now()))
            give_up_reservations(connection, of_account)
        return True

    @patient
    def resume_account(self, account: str) -> bool:
        """Let submits to an account go on; False: it was not paused."""
        with self._database.exclusive() as connection:
            resumed = connection.execute(delete(paused_accounts).where(paused_accounts.c.account == account))
        return bool(resumed.rowcount)

    @patient
    def accounts(self) -> dict[str, datetime]:
        """Every paused account, and since when."""
        with self._database.read() as connection:
            rows = connection.execute(select(paused_accounts).order_by(paused_accounts.c.account))
            return {row.account: row.paused_at for row in rows}


def none_paused(account: str | Column[str], production_id: Column[str]) -> ColumnElement[bool]:
    """Whether neither an account nor a production is paused, as a condition within the caller's transaction."""
    this = productions.alias("this_production")
    production = (
        select(1)
        .select_from(this)
        .where(this.c.production_id == production_id, this.c.paused_at.is_not(None))
    )
    of_account = select(1).select_from(paused_accounts).where(paused_accounts.c.account == account)
    enclosing = production_id.table
    return and_(~production.correlate(enclosing).exists(), ~of_account.correlate(enclosing).exists())

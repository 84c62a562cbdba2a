"""Telling: which settled states of productions people were told about, and who is telling them at the moment."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, select, update

from sora_pipeline.ledger.database import Database
from sora_pipeline.ledger.rows import production_of
from sora_pipeline.ledger.schema import attempts, productions
from sora_pipeline.ledger.types import SLOT_STATES, AttemptState, Production


@dataclass(frozen=True, slots=True)
class Telling:
    """A state that the holder of this value, and nobody else, tells people about.

    Attributes:
        production_id: The production it is about.
        change_seq: The ``change_seq`` of that state.
        state: Its hash.
        before: ``told_seq`` and ``told_state`` as they were, for the case that telling fails.
    """

    production_id: str
    change_seq: int
    state: str
    before: tuple[int, str | None]


class Tellings:
    """Claims what is told, so that each state is told once, whoever looks."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def untold(self, since: datetime) -> list[Production]:
        """Productions that changed since people were told of them and whose clips nobody is at, the oldest first.

        Args:
            since: What changed earlier is no news any more.
        """
        at_work = or_(
            attempts.c.state.in_(SLOT_STATES),
            and_(attempts.c.state == AttemptState.SUCCEEDED, attempts.c.reported_at.is_(None)),
        )
        working = select(1).where(attempts.c.production_id == productions.c.production_id, at_work).exists()
        query = (
            select(productions)
            .where(productions.c.snapshot_path.is_not(None), ~working)
            .where(productions.c.change_seq > productions.c.told_seq, productions.c.changed_at >= since)
            .order_by(productions.c.changed_at)
        )
        with self._database.read() as connection:
            return [production_of(row) for row in connection.execute(query).mappings()]

    def claim(self, production: Production, state: str) -> Telling | None:
        """Become the one who tells people; None where it was told, is being told, or is no longer how things stand.

        A change that led back to what was told last, as an unchanged manifest that is read again, counts as told.

        Args:
            production: As it was when its state was looked at.
            state: A hash of what there is to tell.
        """
        mine = productions.c.production_id == production.production_id
        with self._database.exclusive() as connection:
            now = connection.execute(
                select(productions.c.change_seq, productions.c.told_seq, productions.c.told_state).where(mine)
            ).one()
            if now.change_seq != production.change_seq or now.told_seq >= production.change_seq:
                return None
            connection.execute(
                update(productions).where(mine).values(told_seq=production.change_seq, told_state=state)
            )
        if now.told_state == state:
            return None
        return Telling(production.production_id, production.change_seq, state, (now.told_seq, now.told_state))

    def give_back(self, telling: Telling) -> None:
        """Telling failed: it is still to be told."""
        told_seq, told_state = telling.before
        with self._database.exclusive() as connection:
            connection.execute(
                update(productions)
                .where(
                    productions.c.production_id == telling.production_id,
                    productions.c.told_seq == telling.change_seq,
                    productions.c.told_state == telling.state,
                )
                .values(told_seq=told_seq, told_state=told_state)
            )

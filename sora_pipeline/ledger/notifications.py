"""NotificationClaim: which settled states of productions people were told about, and who is telling them at the moment."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import and_, or_, select, update

from sora_pipeline.ledger.database import Database
from sora_pipeline.ledger.rows import production_of
from sora_pipeline.ledger.schema import LIVE, attempts, productions
from sora_pipeline.ledger.types import SLOT_STATES, AttemptState, Production


@dataclass(frozen=True, slots=True)
class NotificationClaim:
    """A state that the holder of this value, and nobody else, tells people about.

    Attributes:
        production_id: The production it is about.
        change_seq: The ``change_seq`` of that state.
        state: Its hash.
        before: ``notified_seq`` and ``notified_state`` as they were, for the case that telling fails.
    """

    production_id: str
    change_seq: int
    state: str
    before: tuple[int, str | None]


class Notifications:
    """Claims what is told, so that each state is told once, whoever looks."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def unnotified(self, since: datetime, pipeline: str) -> list[Production]:
        """A pipeline's productions that changed since people were told of them and whose clips nobody is at.

        Args:
            since: What changed earlier is no news any more.
            pipeline: Whose productions; the one that changed first comes first.
        """
        at_work = or_(
            attempts.c.state.in_(SLOT_STATES),
            and_(attempts.c.state == AttemptState.SUCCEEDED, attempts.c.reported_at.is_(None)),
        )
        # Once for all of them, from the few that live: a production may have very many that have ended.
        working = productions.c.production_id.in_(select(attempts.c.production_id).where(LIVE, at_work))
        query = (
            select(productions)
            .where(productions.c.pipeline == pipeline, productions.c.snapshot_path.is_not(None), ~working)
            .where(productions.c.change_seq > productions.c.notified_seq, productions.c.changed_at >= since)
            .order_by(productions.c.changed_at)
        )
        with self._database.read() as connection:
            return [production_of(row) for row in connection.execute(query).mappings()]

    def claim(self, production: Production, state: str) -> NotificationClaim | None:
        """Become the one who tells people; None where it was told, is being told, or is no longer how things stand.

        A change that led back to what was told last, as an unchanged manifest that is read again, counts as told.

        Args:
            production: As it was when its state was looked at.
            state: A hash of what there is to tell.
        """
        this_production = productions.c.production_id == production.production_id
        with self._database.exclusive() as connection:
            now = connection.execute(
                select(
                    productions.c.change_seq, productions.c.notified_seq, productions.c.notified_state
                ).where(this_production)
            ).one()
            if now.change_seq != production.change_seq or now.notified_seq >= production.change_seq:
                return None
            connection.execute(
                update(productions)
                .where(this_production)
                .values(notified_seq=production.change_seq, notified_state=state)
            )
        if now.notified_state == state:
            return None
        return NotificationClaim(
            production.production_id, production.change_seq, state, (now.notified_seq, now.notified_state)
        )

    def give_back(self, telling: NotificationClaim) -> None:
        """NotificationClaim failed: it is still to be told."""
        notified_seq, notified_state = telling.before
        with self._database.exclusive() as connection:
            connection.execute(
                update(productions)
                .where(
                    productions.c.production_id == telling.production_id,
                    productions.c.notified_seq == telling.change_seq,
                    productions.c.notified_state == telling.state,
                )
                .values(notified_seq=notified_seq, notified_state=notified_state)
            )

"""Cancelled clips: nothing further is submitted for them until a person asks for it; what was submitted is still fetched."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import ColumnElement, Connection, and_, func, or_, select, true, update

from sora_pipeline.ledger.counters import count_production, lock_productions
from sora_pipeline.ledger.database import Database, chunks, patient
from sora_pipeline.ledger.productions import mark_changed
from sora_pipeline.ledger.reservations import give_up_reservations
from sora_pipeline.ledger.schema import LIVE, attempts, clips
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.status import CANCELLED, ClipStatus

_ENDED = (ClipStatus.DELIVERED, ClipStatus.FAILED, CANCELLED)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """What became of a production's clips that were cancelled.

    Attributes:
        stopped: Clips for which nothing (more) is submitted.
        under_way: Clips that are at the provider, or may be, and are fetched all the same.
        under_way_micros: What those cost, in millionths of a US dollar.
        failed: Clips that were named and had failed already: a retry of all leaves them alone from now on.
    """

    stopped: int = 0
    under_way: int = 0
    under_way_micros: int = 0
    failed: int = 0

    @property
    def under_way_usd(self) -> Decimal:
        """What clips under way cost."""
        return Decimal(self.under_way_micros) / MICROS


class Cancellations:
    """Cancels clips."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def cancel(self, production_id: str, max_attempts: int, keys: Sequence[str] | None = None) -> Cancelled:
        """Cancel what a production still wants made: all of it, or only these clips.

        Clips that have failed keep what they failed with, unless they are named: then nobody wants them any more.
        Their reservations are given up in the same transaction, and a submit asks in its own whether its clip is cancelled.

        Args:
            production_id: The production.
            max_attempts: Attempts a clip may have by itself: what has none left has failed, and is not counted.
            keys: Only these clips; None: all.
        """
        parts = [true()] if keys is None else [clips.c.clip_key.in_(chunk) for chunk in chunks(list(keys))]
        named = keys is not None
        with self._database.exclusive() as connection:
            lock_productions(connection, [production_id])
            wanted = and_(clips.c.production_id == production_id, clips.c.active)
            done = [
                _cancel(connection, and_(wanted, part), max_attempts, self._now(), named=named)
                for part in parts
            ]
            count_production(connection, production_id)
            mark_changed(connection, production_id, self._now())
        return Cancelled(
            sum(each.stopped for each in done),
            sum(each.under_way for each in done),
            sum(each.under_way_micros for each in done),
            sum(each.failed for each in done),
        )


def _cancel(
    connection: Connection, these: ColumnElement[bool], max_attempts: int, now: datetime, *, named: bool
) -> Cancelled:
    ended = tuple(each for each in _ENDED if not (named and each is ClipStatus.FAILED))
    unmade = and_(these, clips.c.standing.not_in(ended))
    # Those that have no attempt left by the settings here may have one by those of a daemon: cancelled, and not counted.
    may_begin = or_(clips.c.standing != ClipStatus.PENDING, clips.c.tries == 0, clips.c.tries < max_attempts)
    has_failed = or_(clips.c.standing == ClipStatus.FAILED, ~may_begin)
    count = select(func.count()).select_from(clips)
    counted = connection.scalar(count.where(unmade, ~has_failed)) or 0
    failed = (connection.scalar(count.where(unmade, has_failed)) or 0) if named else 0
    connection.execute(update(clips).where(unmade).values(cancelled_round=clips.c.round, cancelled_at=now))
    of_clips = select(clips.c.clip_key).where(these, clips.c.cancelled_round == clips.c.round)
    live = and_(LIVE, attempts.c.clip_key.in_(of_clips))
    give_up_reservations(connection, attempts.c.clip_key.in_(of_clips))
    cost = func.coalesce(func.sum(attempts.c.cost_micros), 0)
    under_way, micros = connection.execute(select(func.count(), cost).where(live)).one()
    return Cancelled(max(0, counted - under_way), under_way, int(micros), failed)

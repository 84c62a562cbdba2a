"""Batches: the clips that one run owns, whether that run still works, and how often it had to be requested."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, delete, select, update

from sora_pipeline.ledger.clocks import is_over, over
from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.schema import batches

GENERATIONS, VIDEOS = "generations", "videos"
KEPT = timedelta(days=1)
"""How long batches are remembered that have ended."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Neighbouring clips that one run works on for as long as there is work.

    Attributes:
        batch_id: Its name: the tag of its runs; a person's run, and one that found it taken, has one by its own id.
        asset: What its run makes: ``generations`` or ``videos``.
        keys: Its clips, in the order of their partitions; of a run that is at work, those that it has not done with.
        wanted: How many of them its run would submit at once, by production; None: it has not said so far.
        created_at: When it was planned.
        run_id: The run that works on it; None: none has begun.
        lease_until: Until when that run, or its request, holds without a sign of life.
        begun_at: When a run began to work on it.
        told_to_leave: Whether its run is to end as soon as it can.
    """

    batch_id: str
    asset: str
    keys: tuple[str, ...]
    wanted: Mapping[str, int] | None
    created_at: datetime
    run_id: str | None
    lease_until: datetime | None
    begun_at: datetime | None
    told_to_leave: bool

    def is_held(self, now: datetime) -> bool:
        """Whether a run works on it, or was requested and may still begin."""
        return self.lease_until is not None and not is_over(self.lease_until, now)


class Batches:
    """Run keys deduplicate for ever, failed runs included, so each request of a run gets a try number."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def next_try(self, batch_id: str) -> int:
        """Count one more request of this batch's run and return its number, from 1."""
        with self._database.exclusive() as connection:
            number = self._tries(connection, batch_id) + 1
            self._put(connection, batch_id, submit_tries=number, submit_requested_at=self._now())
        return number

    @patient
    def tries(self, batch_id: str) -> int:
        """How often this batch's run was requested."""
        with self._database.read() as connection:
            return self._tries(connection, batch_id)

    @patient
    def plan(
        self,
        batch_id: str,
        *,
        pipeline: str,
        account: str,
        asset: str,
        keys: Sequence[str],
        lease_s: float,
    ) -> None:
        """Note which clips a run is requested for; nobody else plans them until the lease is over or the run has ended."""
        with self._database.exclusive() as connection:
            connection.execute(delete(batches).where(batches.c.ended_at < self._now() - KEPT))
            self._put(
                connection,
                batch_id,
                pipeline=pipeline,
                account=account,
                asset=asset,
                keys=list(keys),
                lease_until=self._now() + timedelta(seconds=lease_s),
                ended_at=None,
            )

    @patient
    def begin(
        self,
        batch_id: str,
        run_id: str,
        *,
        pipeline: str,
        account: str,
        asset: str,
        keys: Sequence[str],
        lease_s: float,
    ) -> str:
        """A run begins to work on clips of a batch; returns the name of the batch that they are kept under.

        That is one of the run's own, with its id, where another run works on this one: what was left of a batch may have been
        requested as several ranges. What a dead run has left behind, and is none of this run's, becomes a batch of the dead run's own:
        sensors have yet to look at it.
        """
        now = self._now()
        with self._database.exclusive() as connection:
            row = connection.execute(select(batches).where(batches.c.batch_id == batch_id)).first()
            if row is not None and row.run_id not in (None, run_id) and row.ended_at is None:
                held = row.lease_until is not None and not is_over(row.lease_until, now)
                if held:
                    batch_id = run_id
                elif rest := [key for key in row.keys or () if key not in set(keys)]:
                    self._put(
                        connection,
                        f"{batch_id[:55]}-{row.run_id[:8]}",
                        pipeline=row.pipeline,
                        account=row.account,
                        asset=row.asset,
                        keys=rest,
                        run_id=row.run_id,
                        begun_at=row.begun_at,
                        lease_until=row.lease_until,
                        ended_at=None,
                    )
            self._put(
                connection,
                batch_id,
                pipeline=pipeline,
                account=account,
                asset=asset,
                keys=list(keys),
                run_id=run_id,
                begun_at=now,
                lease_until=now + timedelta(seconds=lease_s),
                wanted=None,
                told_to_leave=False,
                ended_at=None,
            )
        return batch_id

    @patient
    def sign(
        self,
        batch_id: str,
        run_id: str,
        *,
        lease_s: float,
        keys: Sequence[str] | None = None,
        wanted: Mapping[str, int] | None = None,
    ) -> bool:
        """Give a sign of life; returns whether the run is to leave.

        Args:
            batch_id: The batch.
            run_id: The run that works on it.
            lease_s: Seconds for which this holds.
            keys: What it has not done with; None: as before.
            wanted: How many clips it would submit at once, by production; None: as before.
        """
        values: dict[str, Any] = {"lease_until": self._now() + timedelta(seconds=lease_s)}
        if keys is not None:
            values["keys"] = list(keys)
        if wanted is not None:
            values["wanted"] = dict(wanted)
        with self._database.write() as connection:
            row = connection.execute(
                update(batches)
                .where(batches.c.batch_id == batch_id, batches.c.run_id == run_id)
                .values(**values)
                .returning(batches.c.told_to_leave)
            ).first()
        return row is not None and bool(row.told_to_leave)

    @patient
    def extend(self, batch_id: str, lease_s: float) -> None:
        """Give a run that is still queued more time to begin."""
        with self._database.write() as connection:
            connection.execute(
                update(batches)
                .where(batches.c.batch_id == batch_id)
                .values(lease_until=self._now() + timedelta(seconds=lease_s))
            )

    @patient
    def end(self, batch_id: str, run_id: str | None = None) -> None:
        """Nobody works on it any more; where a run is named, only if it was that one's."""
        whose = [batches.c.batch_id == batch_id]
        if run_id is not None:
            whose.append(batches.c.run_id == run_id)
        with self._database.write() as connection:
            connection.execute(update(batches).where(*whose).values(ended_at=self._now(), wanted=None))

    @patient
    def tell_to_leave(self, batch_id: str) -> None:
        """Ask the run at work to end as soon as it can; what it leaves is planned again."""
        with self._database.write() as connection:
            connection.execute(
                update(batches).where(batches.c.batch_id == batch_id).values(told_to_leave=True)
            )

    @patient
    def unfinished(self, pipeline: str) -> list[Batch]:
        """Batches of a pipeline that have not ended, oldest first."""
        query = select(batches).where(batches.c.ended_at.is_(None), batches.c.pipeline == pipeline)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(batches.c.created_at)).all()
        return [_batch_of(row) for row in rows]

    @patient
    def last_ended(self, pipeline: str, asset: str, *, since: datetime) -> Batch | None:
        """The batch of a pipeline that ended last, of those for one asset; None: none has since then."""
        query = select(batches).where(
            batches.c.ended_at > since, batches.c.pipeline == pipeline, batches.c.asset == asset
        )
        with self._database.read() as connection:
            row = connection.execute(query.order_by(batches.c.ended_at.desc()).limit(1)).first()
        return None if row is None else _batch_of(row)

    @patient
    def get(self, batch_id: str) -> Batch | None:
        """One batch."""
        with self._database.read() as connection:
            row = connection.execute(select(batches).where(batches.c.batch_id == batch_id)).first()
        return None if row is None or row.asset is None else _batch_of(row)

    def _tries(self, connection: Connection, batch_id: str) -> int:
        tries = connection.scalar(select(batches.c.submit_tries).where(batches.c.batch_id == batch_id))
        return int(tries or 0)

    def _put(self, connection: Connection, batch_id: str, **values: Any) -> None:
        this = batches.c.batch_id == batch_id
        if connection.execute(update(batches).where(this).values(**values)).rowcount == 0:
            connection.execute(batches.insert().values(batch_id=batch_id, created_at=self._now(), **values))


def wanted_in(connection: Connection, account: str, now: datetime) -> dict[str, int]:
    """How many clips the runs at work would submit at once at an account, by production."""
    query = select(batches.c.wanted).where(
        batches.c.ended_at.is_(None),
        batches.c.account == account,
        batches.c.asset == GENERATIONS,
        ~over(batches.c.lease_until, now),
    )
    wanted: dict[str, int] = {}
    for row in connection.execute(query):
        for production_id, count in (row.wanted or {}).items():
            wanted[production_id] = wanted.get(production_id, 0) + count
    return wanted


def _batch_of(row: Any) -> Batch:
    return Batch(
        batch_id=row.batch_id,
        asset=row.asset or GENERATIONS,
        keys=tuple(row.keys or ()),
        wanted=None if row.wanted is None else dict(row.wanted),
        created_at=row.created_at,
        run_id=row.run_id,
        lease_until=row.lease_until,
        begun_at=row.begun_at,
        told_to_leave=bool(row.told_to_leave),
    )


def keys_of(planned: Iterable[Batch]) -> set[str]:
    """All clips of these batches."""
    return {key for batch in planned for key in batch.keys}

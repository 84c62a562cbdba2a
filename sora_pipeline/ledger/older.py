"""A ledger that was put back from a backup: nothing is submitted before a person says so, and it learns what was paid for since."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, delete, func, select, true, update

from sora_pipeline.ledger.counters import count_production, lock_productions
from sora_pipeline.ledger.database import Database
from sora_pipeline.ledger.reservations import give_up_reservations
from sora_pipeline.ledger.restore import LOST_END, LOST_KIND, LedgerContents, insert_contents
from sora_pipeline.ledger.rows import row_of
from sora_pipeline.ledger.schema import attempts, batches, clips, pipelines, productions
from sora_pipeline.ledger.types import LIVE_STATES, Attempt, AttemptState

AHEAD = 1_000_000
"""How far changes are counted on: further than the lost ledger can have counted since the backup."""


_IDENTITY = (
    attempts.c.attempt_id,
    attempts.c.clip_key,
    attempts.c.number,
    attempts.c.state,
    attempts.c.prediction_id,
    attempts.c.run_id,
)
"""By what attempts are compared: of a whole ledger, so no more than this is held."""


class Older:
    """What is done to a ledger that is older than what was paid for."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def is_of(self) -> datetime | None:
        """The last moment of which the ledger tells, also once it has learned what followed; None: nothing was made with it."""
        told = (productions.c.published_at, pipelines.c.seen_at)
        with self._database.read() as connection:
            moments = [connection.scalar(select(func.max(column))) for column in told]
        return max((moment for moment in moments if moment is not None), default=None)

    def learn(self, contents: LedgerContents, published: Mapping[str, int]) -> int:
        """Pause every production, and take in what was found of the time since, in one transaction.

        Args:
            contents: All that the outputs and Dagster tell; most of it is known.
            published: How far outputs say that changes were counted when they were published, by production.

        Returns:
            How many attempts were not known.
        """
        with self._database.exclusive() as connection:
            known = set(connection.scalars(select(productions.c.production_id)))
            lock_productions(connection, known)
            give_up_reservations(connection, true())
            learned = _learn_attempts(connection, _only(contents, known.__contains__), self._now())
            new = _only(contents, lambda production_id: production_id not in known)
            insert_contents(connection, new)
            self._pause_and_count_on(connection, published)
            for production_id in connection.scalars(select(productions.c.production_id)).all():
                count_production(connection, production_id)
        return learned + len(new.attempts)

    def _pause_and_count_on(self, connection: Connection, published: Mapping[str, int]) -> None:
        now = self._now()
        for row in connection.execute(select(productions)).all():
            seq = max(row.change_seq, published.get(row.production_id, 0)) + AHEAD
            connection.execute(
                update(productions)
                .where(productions.c.production_id == row.production_id)
                .values(
                    paused_at=row.paused_at or now,
                    change_seq=seq,
                    changed_at=now,
                    published_seq=seq - 1,
                    notified_seq=seq,  # people are not told once more of what they were told
                    publisher=None,
                    publisher_until=None,
                )
            )


def _only(contents: LedgerContents, these: Callable[[str], bool]) -> LedgerContents:
    """What was found of some of the productions."""
    return LedgerContents(
        [production for production in contents.productions if these(production.production_id)],
        [clip for clip in contents.clips if these(clip.production_id)],
        [attempt for attempt in contents.attempts if these(attempt.production_id)],
    )


def _learn_attempts(connection: Connection, found: LedgerContents, now: datetime) -> int:
    """Take in clips and attempts that are not known of productions that are."""
    rounds: dict[str, int] = {
        row.clip_key: row.round for row in connection.execute(select(clips.c.clip_key, clips.c.round))
    }
    new_clips = [clip for clip in found.clips if clip.key not in rounds]
    insert_contents(connection, LedgerContents((), new_clips, ()))
    rounds |= {clip.key: clip.round for clip in new_clips}
    known: dict[str, list[RowMapping]] = {}
    for row in connection.execute(select(*_IDENTITY)).mappings():
        known.setdefault(row["clip_key"], []).append(row)
    by_clip: dict[str, list[Attempt]] = {}
    for attempt in found.attempts:
        by_clip.setdefault(attempt.clip_key, []).append(attempt)
    # What a run did that had ended by then is known.
    ended = set(connection.scalars(select(batches.c.run_id).where(batches.c.ended_at.is_not(None))))
    learned = 0
    for key, told in by_clip.items():
        of_clip = _Clip(connection, known.get(key, []), ended, now)
        learned += of_clip.learn(told, rounds[key])
    return learned


class _Clip:
    """One clip's attempts as the ledger knows them."""

    def __init__(
        self, connection: Connection, known: Sequence[RowMapping], ended: set[str | None], now: datetime
    ) -> None:
        self._connection = connection
        self._known = known
        self._known_runs = (ended | {row["run_id"] for row in known}) - {None}
        self._now = now
        self._live = next((row for row in known if row["state"] in LIVE_STATES), None)

    def learn(self, told: Sequence[Attempt], round: int) -> int:
        """Take in what is told of the clip; returns how many attempts are new."""
        by_prediction = {row["prediction_id"]: row for row in self._known if row["prediction_id"]}
        new = [attempt for attempt in told if self._is_news(attempt, by_prediction)]
        for attempt in told:
            row = by_prediction.get(attempt.submission.prediction_id or "")
            if row is not None and row is self._live and attempt.state is AttemptState.COLLECTED:
                self._settle(row, attempt)
        if new:
            self._end_live({attempt.number for attempt in new})
        last = max((row["number"] for row in self._known), default=0)
        for attempt in new:
            last = max(attempt.number, last + 1)
            values = row_of(replace(attempt, number=last, round=round))
            self._connection.execute(attempts.insert().values(**values))
        return len(new)

    def _is_news(self, attempt: Attempt, by_prediction: Mapping[str, RowMapping]) -> bool:
        """Whether it was paid for, or may have been, and the ledger does not know it."""
        if attempt.submission.prediction_id:
            return attempt.submission.prediction_id not in by_prediction
        # What lives is polled, and what was delivered needs no other.
        settled = self._live is not None or any(row["state"] == AttemptState.COLLECTED for row in self._known)
        return (
            attempt.state is AttemptState.AMBIGUOUS and attempt.run_id not in self._known_runs and not settled
        )

    def _settle(self, row: RowMapping, attempt: Attempt) -> None:
        """The video of an attempt that lived at the time of the backup was stored since."""
        stays = {
            "number",
            "round",
            "batch_id",
            "reserved_at",
            "submitted_at",
            "accepted_at",
            "cost_micros",
            "request_summary",
        }
        values = {name: value for name, value in row_of(attempt).items() if name not in stays}
        self._change(row, values)
        self._live = None

    def _end_live(self, numbers: set[int]) -> None:
        """What lived at the time of the backup has ended, for another attempt followed; or is the one that is told of."""
        if self._live is None:
            return
        this = attempts.c.attempt_id == self._live["attempt_id"]
        if self._live["prediction_id"] is None and self._live["number"] in numbers:
            self._connection.execute(delete(attempts).where(this))
            self._known = [row for row in self._known if row is not self._live]
        else:
            self._change(
                self._live,
                {
                    "state": AttemptState.FAILED,
                    "error_kind": LOST_KIND,
                    "error_message": LOST_END,
                    "retryable": False,
                    "completed_at": self._now,
                    "reported_at": self._now,
                    "owner": None,
                    "lease_until": None,
                },
            )

    def _change(self, row: RowMapping, values: Mapping[str, Any]) -> None:
        self._connection.execute(
            update(attempts).where(attempts.c.attempt_id == row["attempt_id"]).values(**values)
        )

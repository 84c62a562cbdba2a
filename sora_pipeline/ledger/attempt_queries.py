"""Questions about attempts that sensors and runs ask; none changes anything."""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, or_, select

from sora_pipeline.ledger.clips import productions_of
from sora_pipeline.ledger.clocks import over
from sora_pipeline.ledger.database import Database, chunks, patient
from sora_pipeline.ledger.rows import attempt_of
from sora_pipeline.ledger.schema import LIVE, among_live, attempts, clips
from sora_pipeline.ledger.types import (
    SLOT_STATES,
    Account,
    Attempt,
    AttemptState,
    Failure,
    RenderEnd,
    RenderKind,
)

RESERVED, SUBMITTING = AttemptState.RESERVED, AttemptState.SUBMITTING
IN_FLIGHT, TIMED_OUT = AttemptState.IN_FLIGHT, AttemptState.TIMED_OUT
AMBIGUOUS = AttemptState.AMBIGUOUS
SUCCEEDED, COLLECTED, FAILED = AttemptState.SUCCEEDED, AttemptState.COLLECTED, AttemptState.FAILED


class AttemptQueries:
    """What is due, what has ended, what is known of a clip's attempts."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    def get(self, attempt_id: int) -> Attempt:
        """One attempt, as it stands now."""
        return self._fetch(select(attempts).where(attempts.c.attempt_id == attempt_id))[0]

    @patient
    def _row(self, attempt_id: int) -> RowMapping | None:
        """One attempt, as its columns have it; None: it was a reservation that was given up."""
        with self._database.read() as connection:
            query = select(attempts).where(attempts.c.attempt_id == attempt_id)
            return connection.execute(query).mappings().one_or_none()

    def live(self, *states: AttemptState, pipeline: str | None = None) -> list[Attempt]:
        """Attempts in these live states, oldest first; of one pipeline's productions, or of all."""
        query = select(attempts).where(LIVE, attempts.c.state.in_(states)).order_by(attempts.c.attempt_id)
        return self._fetch(_of(query, pipeline))

    def due(
        self, limit: int, *, account: str, pipeline: str | None = None, overdue_s: float = 0.0
    ) -> list[Attempt]:
        """An account's predictions to be polled now, the one due for longest first; since ``overdue_s`` at least."""
        query = (
            select(attempts)
            .where(LIVE, attempts.c.state == IN_FLIGHT, attempts.c.account == account)
            .where(due_at(self._now() - timedelta(seconds=overdue_s)))
            .order_by(attempts.c.next_poll_at)
            .limit(limit)
        )
        return self._fetch(_of(query, pipeline))

    @patient
    def next_due_s(self, account: str, pipeline: str) -> float | None:
        """Seconds until the next prediction is to be polled, 0 where one is due; None: none is in flight."""
        query = (
            select(attempts.c.next_poll_at)
            .where(LIVE, attempts.c.state == IN_FLIGHT, attempts.c.account == account)
            .order_by(attempts.c.next_poll_at)
            .limit(1)
        )
        if self.due(1, account=account, pipeline=pipeline):  # also one planned by a clock that ran ahead
            return 0.0
        with self._database.read() as connection:
            next_at = connection.scalar(_of(query, pipeline))
        return None if next_at is None else max(0.0, (next_at - self._now()).total_seconds())

    def overdue_elsewhere(self, account: str, pipeline: str, *, limit: int) -> list[Attempt]:
        """Some predictions past their deadline at accounts other than this one: nobody here can poll them."""
        query = select(attempts).where(
            LIVE,
            attempts.c.state == IN_FLIGHT,
            attempts.c.account != account,
            attempts.c.deadline_at < self._now(),
        )
        return self._fetch(_of(query, pipeline).order_by(attempts.c.attempt_id).limit(limit))

    def superseded(self, account: str, pipeline: str, *, limit: int) -> list[Attempt]:
        """Some attempts that stand in the way of a changed row: past their deadline, or rendered and not fetched any more."""
        stuck = or_(
            attempts.c.state == TIMED_OUT,
            and_(attempts.c.state == SUCCEEDED, attempts.c.reported_at.is_not(None)),
        )
        query = (
            select(attempts)
            .join(clips, clips.c.clip_key == attempts.c.clip_key)
            .where(LIVE, stuck, among_live(attempts.c.account) == account)
            .where(clips.c.active, clips.c.fingerprint != attempts.c.fingerprint)
            # In no order: some of which nothing is ever said must not keep others from being asked for.
            .order_by(func.random())
            .limit(limit)
        )
        return self._fetch(_of(query, pipeline))

    @patient
    def open_accounts(
        self, *, pipeline: str | None = None, production_id: str | None = None
    ) -> dict[Account, int]:
        """Accounts with predictions that only they can bring to an end, and how many those are."""
        conditions = [] if production_id is None else [among_live(attempts.c.production_id) == production_id]
        query = (
            select(attempts.c.account, attempts.c.provider, attempts.c.simulated, func.count().label("open"))
            .where(LIVE, attempts.c.state.in_([IN_FLIGHT, SUCCEEDED, TIMED_OUT]), *conditions)
            .group_by(attempts.c.account, attempts.c.provider, attempts.c.simulated)
        )
        with self._database.read() as connection:
            rows = connection.execute(_of(query, pipeline)).all()
        return {Account(row.account, row.provider, row.simulated): row.open for row in rows}

    def unreported(self, pipeline: str | None = None) -> list[Attempt]:
        """Accepted attempts that ended, of which no run has shown the end and for which none is on its way."""
        nobody = or_(attempts.c.lease_until.is_(None), over(attempts.c.lease_until, self._now()))
        # A failure that another attempt has followed is history, and nobody's to show; a lost video is to be fetched again.
        query = select(attempts).where(
            attempts.c.reported_at.is_(None),
            attempts.c.state.in_([SUCCEEDED, FAILED, TIMED_OUT]),
            or_(attempts.c.state == SUCCEEDED, and_(attempts.c.prediction_id.is_not(None), ~_followed())),
            nobody,
        )
        return self._fetch(_of(query, pipeline).order_by(attempts.c.attempt_id))

    def unshown_submits(self, pipeline: str) -> list[Attempt]:
        """Submits that were refused, or lost their answer, that no run has shown and for which none is on its way."""
        query = select(attempts).where(
            ~_followed(),
            attempts.c.reported_at.is_(None),
            attempts.c.state.in_([FAILED, AMBIGUOUS]),
            attempts.c.prediction_id.is_(None),
            or_(attempts.c.lease_until.is_(None), over(attempts.c.lease_until, self._now())),
        )
        return self._fetch(_of(query, pipeline).order_by(attempts.c.attempt_id))

    @patient
    def ended_ids(self, pipeline: str) -> dict[int, str]:
        """Keys of the clips whose accepted attempt has ended and was not shown yet, by attempt id."""
        query = select(attempts.c.attempt_id, attempts.c.clip_key).where(
            attempts.c.reported_at.is_(None),
            attempts.c.state.in_([SUCCEEDED, FAILED, TIMED_OUT]),
            or_(attempts.c.state == SUCCEEDED, attempts.c.prediction_id.is_not(None)),
        )
        with self._database.read() as connection:
            return {row.attempt_id: row.clip_key for row in connection.execute(_of(query, pipeline))}

    @patient
    def rendering(self, pipeline: str) -> list[str]:
        """Keys of clips that are, or soon will be, with a provider, or that are rendered and not given up."""
        query = select(attempts.c.clip_key).where(
            LIVE,
            or_(
                attempts.c.state.in_(SLOT_STATES),
                and_(attempts.c.state == SUCCEEDED, attempts.c.reported_at.is_(None)),
            ),
        )
        with self._database.read() as connection:
            return list(connection.scalars(_of(query, pipeline)))

    def of_ids(self, attempt_ids: Sequence[int]) -> list[Attempt]:
        """These attempts, as they stand now."""
        fetched: list[Attempt] = []
        for chunk in chunks(list(attempt_ids)):
            fetched += self._fetch(select(attempts).where(attempts.c.attempt_id.in_(chunk)))
        return fetched

    @patient
    def last_ends(self, account: str, most: int, *, since: datetime | None) -> list[Failure | None]:
        """How the newest attempts ended that were submitted and did, newest first: why it failed, or None for a video.

        Args:
            account: Whose attempts.
            most: How many at most.
            since: Only those that ended later; None: whenever.
        """
        query = (
            select(attempts.c.error_kind, attempts.c.error_message, attempts.c.retryable, attempts.c.state)
            .where(attempts.c.account == account, attempts.c.state.in_([SUCCEEDED, COLLECTED, FAILED]))
            .where(attempts.c.submitted_at.is_not(None))
            .where(attempts.c.completed_at > since if since else attempts.c.completed_at.is_not(None))
            .order_by(attempts.c.completed_at.desc())
            .limit(most)
        )
        with self._database.read() as connection:
            return [_failure_of(row) if row.state == FAILED else None for row in connection.execute(query)]

    @patient
    def render_ends(self, account: str, most: int) -> list[RenderEnd]:
        """How long the newest predictions took that have ended, with a video or without one, newest first.

        Args:
            account: Where they were rendered.
            most: Among how many ends of that account.
        """
        duration = attempts.c.request_summary["duration"].as_integer()
        size = attempts.c.request_summary["size"].as_string()
        query = (
            select(
                attempts.c.model,
                duration.label("duration"),
                size.label("size"),
                attempts.c.accepted_at,
                attempts.c.unfinished_at,
                attempts.c.completed_at,
                attempts.c.polls,
            )
            # No further conditions: what they leave out would not count, and all there ever was might be looked through.
            .where(attempts.c.account == account, attempts.c.completed_at.is_not(None))
            .order_by(attempts.c.completed_at.desc())
            .limit(most)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [_render_end_of(row) for row in rows if _tells_how_long(row)]

    @patient
    def last_submits(self, account: str, most: int, *, since: datetime | None) -> list[Failure | None]:
        """What came of the newest submits that were heard of, newest first: why there is no prediction, or None for one.

        Args:
            account: Whose submits.
            most: How many at most.
            since: Only those that were sent later; None: whenever.
        """
        query = (
            select(
                attempts.c.error_kind, attempts.c.error_message, attempts.c.retryable, attempts.c.accepted_at
            )
            .where(attempts.c.account == account, attempts.c.state.not_in([RESERVED, SUBMITTING]))
            .where(attempts.c.submitted_at > since if since else attempts.c.submitted_at.is_not(None))
            .order_by(attempts.c.submitted_at.desc())
            .limit(most)
        )
        with self._database.read() as connection:
            return [None if row.accepted_at else _failure_of(row) for row in connection.execute(query)]

    @patient
    def last_submit_at(self, account: str) -> datetime | None:
        """When a request was last sent to an account; None: never."""
        query = (
            select(attempts.c.submitted_at)
            .where(attempts.c.account == account, attempts.c.submitted_at.is_not(None))
            .order_by(attempts.c.submitted_at.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            last: datetime | None = connection.execute(query).scalar_one_or_none()
        return last

    def trouble(self, production_id: str, state: AttemptState) -> Attempt | None:
        """The newest of a production's live attempts in a state that is tried again.

        Args:
            production_id: The production.
            state: Reserved, for requests that were refused for now, or succeeded, for videos that could not be fetched.
        """
        query = (
            select(attempts)
            .where(LIVE, attempts.c.state == state, attempts.c.production_id == production_id)
            .where(attempts.c.error_message.is_not(None), attempts.c.reported_at.is_(None))
            .order_by(attempts.c.submitted_at.desc())
            .limit(1)
        )
        return next(iter(self._fetch(query)), None)

    def of_batches(self, batch_ids: Iterable[str]) -> list[Attempt]:
        """Every attempt of these batches."""
        query = select(attempts).where(attempts.c.batch_id.in_(list(batch_ids)))
        return self._fetch(query.order_by(attempts.c.attempt_id))

    def of_clips(self, keys: Sequence[str]) -> list[Attempt]:
        """Every attempt of these clips, oldest first."""
        fetched: list[Attempt] = []
        for chunk in chunks(list(keys)):
            fetched += self._fetch(
                select(attempts).where(attempts.c.clip_key.in_(chunk)).order_by(attempts.c.attempt_id)
            )
        return fetched

    def of_production(self, production_id: str) -> list[Attempt]:
        """Every attempt a production ever made."""
        query = select(attempts).where(attempts.c.production_id == production_id)
        return self._fetch(query.order_by(attempts.c.attempt_id))

    @patient
    def slots_taken(self, account: str) -> int:
        """Attempts that an account's provider is, or soon will be, busy with."""
        with self._database.read() as connection:
            return slots_taken_in(connection, account)

    @patient
    def _fetch(self, query: Any) -> list[Attempt]:
        with self._database.read() as connection:
            return [attempt_of(row) for row in connection.execute(query).mappings()]


def due_at(now: datetime) -> ColumnElement[bool]:
    """Whether a prediction is to be polled at a time."""
    return or_(attempts.c.next_poll_at == now, over(attempts.c.next_poll_at, now))


def _followed() -> ColumnElement[bool]:
    """Whether another attempt of its clip came after an attempt."""
    later = attempts.alias("later")
    return (
        select(1)
        .where(later.c.clip_key == attempts.c.clip_key, later.c.number > attempts.c.number)
        .correlate(attempts)
        .exists()
    )


def slots_by_production(connection: Connection, account: str) -> dict[str, int]:
    """How many of an account's concurrent jobs each production takes, within the caller's transaction."""
    query = (
        select(attempts.c.production_id, func.count(attempts.c.state))
        .where(LIVE, attempts.c.state.in_(SLOT_STATES))
        .where(among_live(attempts.c.account) == account)
        .group_by(attempts.c.production_id)
    )
    return {production_id: int(count) for production_id, count in connection.execute(query)}


def slots_taken_in(connection: Connection, account: str) -> int:
    """Attempts that take one of an account's concurrent jobs, within the caller's transaction."""
    taken = (
        select(func.count(attempts.c.state))
        .where(LIVE, attempts.c.state.in_(SLOT_STATES))
        .where(among_live(attempts.c.account) == account)
    )
    return int(connection.scalar(taken) or 0)


def _failure_of(row: Any) -> Failure:
    return Failure(row.error_kind or "", row.error_message or "", row.retryable)


def _tells_how_long(row: Any) -> bool:
    """Whether it is a prediction of which the request is known, and when a poll last found it unfinished, if any did."""
    if row.accepted_at is None or row.duration is None or row.size is None:
        return False
    return row.unfinished_at is not None or row.polls == 0  # earlier versions did not note it


def _render_end_of(row: Any) -> RenderEnd:
    unfinished_at = row.unfinished_at or row.accepted_at
    return RenderEnd(
        RenderKind(row.model, row.duration, row.size),
        (unfinished_at - row.accepted_at).total_seconds(),
        (row.completed_at - row.accepted_at).total_seconds(),
    )


def _of(query: Any, pipeline: str | None) -> Any:
    return query if pipeline is None else query.where(attempts.c.production_id.in_(productions_of(pipeline)))

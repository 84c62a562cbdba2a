"""Attempts: every transition of the state an attempt is in, each one transaction.

The database decides races: each transition names the states it may leave, and says whether it happened.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ClauseElement, ColumnElement, Connection, and_, case, func, or_, select, update

from sora_pipeline.clip import split_clip_key
from sora_pipeline.ledger.attempt_queries import AttemptQueries, due_at, slots_by_production
from sora_pipeline.ledger.batches import wanted_in
from sora_pipeline.ledger.clips import count_refusal, standings_in
from sora_pipeline.ledger.clocks import over
from sora_pipeline.ledger.counters import (
    charges_of,
    count_attempts,
    count_clips,
    lock_productions,
    lock_productions_of,
)
from sora_pipeline.ledger.database import chunks, patient
from sora_pipeline.ledger.paused import none_paused
from sora_pipeline.ledger.productions import mark_changed
from sora_pipeline.ledger.rows import attempt_of, video_columns
from sora_pipeline.ledger.schema import LIVE, attempts, clips, productions
from sora_pipeline.ledger.shares import fair_shares
from sora_pipeline.ledger.spending import RemainingBudgets
from sora_pipeline.ledger.types import (
    LIVE_STATES,
    WITHOUT_VIDEO,
    Account,
    Attempt,
    AttemptState,
    ClipStanding,
    Limits,
)
from sora_pipeline.video import StoredVideo

RESERVED, SUBMITTING, IN_FLIGHT = AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.IN_FLIGHT
SUCCEEDED, COLLECTED, FAILED = AttemptState.SUCCEEDED, AttemptState.COLLECTED, AttemptState.FAILED
AMBIGUOUS, TIMED_OUT = AttemptState.AMBIGUOUS, AttemptState.TIMED_OUT

LONG_UNSEEN = timedelta(minutes=5)
"""A poll that comes so much later than planned says that nothing was polled meanwhile."""


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a call of ``reserve`` got, by clip key.

    Attributes:
        reserved: New attempts, in the order asked for.
        no_budget: Clips that no longer fit their production's budget, or the day's.
        unwanted: Clips that the manifest no longer names, or that a person cancelled.
        elsewhere: Clips of productions that another account submits for, that were read for one of the other kind (real,
            simulated), or that a person has paused.
    """

    reserved: list[Attempt]
    no_budget: list[str]
    unwanted: list[str]
    elsewhere: list[str]


class Attempts(AttemptQueries):
    """Transitions of attempts; the questions about them are inherited."""

    # ---- planning

    @patient
    def reserve(
        self,
        costs_micros: Mapping[str, int],
        *,
        account: Account,
        batch_id: str,
        limits: Limits,
        lease_s: float,
        owner: str | None = None,
        force: bool = False,
    ) -> Reservation:
        """Begin attempts for these clips, as far as slots and budgets go, in one transaction.

        Clips that want no attempt (live, delivered, failed for good) are passed over, and so are those for which the
        account has no free slot now, or whose production has its share of the slots while runs wait to submit for others.

        Args:
            costs_micros: What each clip would cost, by key, in millionths of a US dollar; also the order.
            account: Who is to submit, poll and pay them.
            batch_id: The batch that the new attempts belong to.
            limits: Slots and attempts allowed.
            lease_s: Seconds until somebody else may take the reservation over.
            owner: The run that will submit; None where a run is still to be launched.
            force: Begin one although the clip is delivered or failed for good.
        """
        with self._database.exclusive() as connection:
            standings = standings_in(connection, list(costs_micros))
            free = _FreeSlots(connection, account.name, limits.max_in_flight, standings, self._now())
            served = _served_by(connection, account)
            budgets = RemainingBudgets(connection, limits.daily_micros, self._now())
            reservation = Reservation([], [], [], [])
            for key in (candidate for candidate in costs_micros if candidate in standings):
                standing = standings[key]
                if standing.latest and standing.latest.live:
                    continue
                if not standing.active or standing.cancelled:
                    reservation.unwanted.append(key)
                elif standing.production_id not in served or standing.clip.simulated != account.simulated:
                    reservation.elsewhere.append(key)
                elif not (force or standing.pending(limits.max_attempts)) or not free.has(
                    standing.production_id
                ):
                    continue
                elif not budgets.take(standing.production_id, account, costs_micros[key]):
                    reservation.no_budget.append(key)
                else:
                    free.take(standing.production_id)
                    new = _new_attempt(standing, costs_micros[key], account, batch_id, owner)
                    reservation.reserved.append(self._insert(connection, new, lease_s))
            if reservation.reserved:
                lock_productions(connection, {each.production_id for each in reservation.reserved})
                count_attempts(connection, [attempt.attempt_id for attempt in reservation.reserved])
        return reservation

    def _insert(self, connection: Connection, new: dict[str, Any], lease_s: float) -> Attempt:
        now = self._now()
        times = {"reserved_at": now, "lease_until": now + timedelta(seconds=lease_s)}
        row = connection.execute(attempts.insert().values(**new, **times).returning(attempts))
        return attempt_of(row.mappings().one())

    @patient
    def stop(
        self, costs_micros: Mapping[str, int], account: Account, *, batch_id: str, kind: str, message: str
    ) -> int:
        """End pending clips, of which nothing was sent, until a person says otherwise; how many those were.

        Args:
            costs_micros: What each would cost, by key.
            account: Who was to submit them.
            batch_id: The batch that they were planned in.
            kind: Why, in one word.
            message: For people.
        """
        stopped = 0
        with self._database.exclusive() as connection:
            lock_productions(connection, {split_clip_key(key)[0] for key in costs_micros})
            for standing in standings_in(connection, list(costs_micros)).values():
                if standing.delivered or (standing.latest and standing.latest.live) or not standing.active:
                    continue
                new = _new_attempt(standing, costs_micros[standing.key], account, batch_id, None)
                attempt = self._insert(connection, new, 0)
                self._ended(connection, attempt.attempt_id, kind, message)
                count_attempts(connection, [attempt.attempt_id])
                mark_changed(connection, standing.production_id, self._now())
                stopped += 1
        return stopped

    def _ended(self, connection: Connection, attempt_id: int, kind: str, message: str) -> None:
        now = self._now()
        connection.execute(
            update(attempts)
            .where(attempts.c.attempt_id == attempt_id)
            .values(
                state=FAILED,
                error_kind=kind,
                error_message=message,
                retryable=False,
                completed_at=now,
                reported_at=now,
                lease_until=None,
            )
        )

    # ---- submitting

    @patient
    def claim(self, attempt_ids: Iterable[int], owner: str, lease_s: float) -> None:
        """Take reservations over that no run_lock run holds."""
        with self._database.exclusive() as connection:
            connection.execute(
                update(attempts)
                .where(attempts.c.attempt_id.in_(list(attempt_ids)), attempts.c.state == RESERVED)
                .where(self._free_for(owner))
                .values(owner=owner, lease_until=self._lease(lease_s))
            )

    def heartbeat(self, owner: str, lease_s: float) -> None:
        """Say that the run which owns these attempts is alive."""

        def transact() -> bool:
            with self._database.exclusive() as connection:
                connection.execute(
                    update(attempts)
                    .where(
                        LIVE,
                        attempts.c.owner == owner,
                        attempts.c.state.in_([RESERVED, SUBMITTING, SUCCEEDED]),
                    )
                    .values(lease_until=self._lease(lease_s))
                )
            return True

        # One that failed for a lock would be the run's last, and a run_lock run taken for dead.
        self._database.surely(transact, landed=lambda: False)

    def begin_submit(
        self, attempt_id: int, owner: str, *, lease_s: float, request_summary: Mapping[str, Any]
    ) -> bool:
        """Commit the intent to send the request, before it is sent.

        False: somebody else has the attempt, or the manifest wants the clip no longer, or not as it was reserved, or a person has
        cancelled or paused it.
        """
        return self._move(
            attempt_id,
            [RESERVED],
            SUBMITTING,
            self._free_for(owner),
            _still_wanted(),
            owner=owner,
            lease_until=self._lease(lease_s),
            submitted_at=self._now(),
            request_summary=dict(request_summary),
            run_id=owner,
        )

    def withdraw(self, attempt_id: int, kind: str, message: str, *, counts: bool = True) -> bool:
        """The request was certainly not accepted: the attempt is as if it had not been sent, but says why.

        Args:
            attempt_id: The attempt.
            kind: The error kind, one word.
            message: For people.
            counts: Whether it is one of the few times that a clip's request may be refused; not where the account was.
        """
        return self._move(
            attempt_id, [SUBMITTING], RESERVED, refused=counts, error_kind=kind, error_message=message
        )

    @patient
    def release(self, attempt_id: int) -> bool:
        """Give a reservation up without a trace of failure: the clip is pending again."""
        with self._database.write() as connection:
            lock_productions_of(connection, [attempt_id])
            before = charges_of(connection, [attempt_id])
            gone = connection.execute(
                attempts.delete().where(attempts.c.attempt_id == attempt_id, attempts.c.state == RESERVED)
            )
            count_attempts(connection, [attempt_id], before)
        return gone.rowcount == 1

    def accept(
        self,
        attempt_id: int,
        *,
        prediction_id: str,
        poll_url: str | None,
        provider_status: str,
        model_returned: str | None,
        deadline_s: float,
        first_poll_s: float,
    ) -> bool:
        """The provider took it, and bills it. True even where the attempt was parked meanwhile."""
        now = self._now()
        return self._move(
            attempt_id,
            [SUBMITTING, AMBIGUOUS],
            IN_FLIGHT,
            prediction_id=prediction_id,
            poll_url=poll_url,
            provider_status=provider_status,
            model_returned=model_returned,
            accepted_at=now,
            deadline_at=now + timedelta(seconds=deadline_s),
            next_poll_at=now + timedelta(seconds=first_poll_s),
            error_kind=None,
            error_message=None,
            retryable=None,
            reported_at=None,
            owner=None,
            lease_until=None,
        )

    def park_ambiguous(self, attempt_id: int, kind: str, message: str) -> bool:
        """The answer was lost: it may have been billed, and is not sent again without a person's word."""
        return self._move(
            attempt_id,
            [SUBMITTING],
            AMBIGUOUS,
            error_kind=kind,
            error_message=message,
            retryable=False,
            possibly_billed=True,
            owner=None,
            lease_until=None,
        )

    def fail(
        self,
        attempt_id: int,
        kind: str,
        message: str,
        *,
        retryable: bool,
        reported: bool,
        possibly_billed: bool = False,
        leaving: Iterable[AttemptState] = LIVE_STATES,
    ) -> bool:
        """It ended without a video.

        Args:
            attempt_id: The attempt.
            kind: The error kind, one word.
            message: For people.
            retryable: Whether another attempt can succeed.
            reported: Whether a Dagster run shows the failure already (or will, in the step that says so).
            possibly_billed: Whether the provider may have accepted it unseen; once parked, it is so anyway.
            leaving: What it must still be at, where that was why: an answer may have come since.
        """
        return self._move(
            attempt_id,
            leaving,
            FAILED,
            error_kind=kind,
            error_message=message,
            retryable=retryable,
            possibly_billed=possibly_billed or attempts.c.possibly_billed,
            completed_at=self._now(),
            reported_at=self._now() if reported else None,
            owner=None,
            lease_until=None,
        )

    # ---- polling

    @patient
    def claim_due(
        self, limit: int, *, account: str, pipeline: str, for_s: float, overdue_s: float = 0.0
    ) -> list[Attempt]:
        """Take predictions that are to be polled, the one due for longest first; nobody else gets them meanwhile.

        Args:
            limit: How many at most.
            account: Whose key is at hand.
            pipeline: Whose productions.
            for_s: Seconds after which they are due again, should nothing come of the poll.
            overdue_s: Leave out what was due less than so many seconds ago: somebody else is about to take it.

        Returns:
            The attempts, as they were before: ``polling.next_at`` is when each was due.
        """
        due = self.due(limit, account=account, pipeline=pipeline, overdue_s=overdue_s)
        if not due:
            return []
        claimed: list[int] = []
        with self._database.write() as connection:
            for chunk in chunks([attempt.attempt_id for attempt in due]):
                claimed += connection.scalars(
                    update(attempts)
                    .where(attempts.c.attempt_id.in_(chunk), attempts.c.state == IN_FLIGHT)
                    .where(due_at(self._now()))
                    .values(next_poll_at=self._lease(for_s))
                    .returning(attempts.c.attempt_id)
                )
            # Here, and not only with the poll's answer: a claim that comes to nothing must not make a clip late.
            for attempt in due:
                unseen = self._now() - (attempt.polling.next_at or self._now())
                if attempt.polling.deadline_at is not None and unseen > LONG_UNSEEN:
                    connection.execute(
                        update(attempts)
                        .where(
                            attempts.c.attempt_id == attempt.attempt_id, attempts.c.attempt_id.in_(claimed)
                        )
                        .values(deadline_at=attempt.polling.deadline_at + unseen)
                    )
        mine = set(claimed)
        return [attempt for attempt in due if attempt.attempt_id in mine]

    @patient
    def give_back_polls(self, attempt_ids: Sequence[int]) -> None:
        """Let others poll at once what was claimed and not polled."""
        with self._database.write() as connection:
            for chunk in chunks(list(attempt_ids)):
                connection.execute(
                    update(attempts)
                    .where(attempts.c.attempt_id.in_(chunk), attempts.c.state == IN_FLIGHT)
                    .values(next_poll_at=self._now())
                )

    @patient
    def still_running(
        self,
        attempt_id: int,
        provider_status: str | None,
        next_poll_s: float,
        *,
        empty: bool = False,
        deadline_at: datetime | None = None,
    ) -> bool:
        """A poll found it unfinished (or ``empty``: completed, but without an output URL so far).

        Args:
            attempt_id: The attempt.
            provider_status: The provider's word, if it had one.
            next_poll_s: Seconds until it is polled again.
            empty: Whether it was completed without an output URL.
            deadline_at: Its deadline, where that is to be moved.
        """
        with self._database.write() as connection:
            done = connection.execute(
                update(attempts)
                .where(attempts.c.attempt_id == attempt_id, attempts.c.state == IN_FLIGHT)
                .values(
                    provider_status=provider_status or attempts.c.provider_status,
                    polls=attempts.c.polls + 1,
                    empty_polls=attempts.c.empty_polls + int(empty),
                    unfinished_at=attempts.c.unfinished_at
                    if empty or provider_status is None
                    else self._now(),
                    next_poll_at=self._lease(next_poll_s),
                    deadline_at=deadline_at or attempts.c.deadline_at,
                )
            )
        return done.rowcount == 1

    def succeed(
        self,
        attempt_id: int,
        *,
        output_url: str,
        expires_at: datetime | None,
        provider_status: str,
        model_returned: str | None,
    ) -> bool:
        """The video is rendered and can be fetched; also a fresh URL for one that could, which keeps what was wrong with fetching it."""
        fetchable = attempts.c.state == SUCCEEDED
        return self._move(
            attempt_id,
            [IN_FLIGHT, TIMED_OUT, SUCCEEDED],
            SUCCEEDED,
            output_url=output_url,
            output_expires_at=expires_at,
            provider_status=provider_status,
            model_returned=func.coalesce(model_returned, attempts.c.model_returned),
            completed_at=func.coalesce(attempts.c.completed_at, self._now()),
            # That it was late has been shown; that it came has not.
            reported_at=case((attempts.c.state == TIMED_OUT, None), else_=attempts.c.reported_at),
            error_kind=case((fetchable, attempts.c.error_kind), else_=None),
            error_message=case((fetchable, attempts.c.error_message), else_=None),
            retryable=case((fetchable, attempts.c.retryable), else_=None),
        )

    def time_out(self, attempt_id: int, message: str) -> bool:
        """Past our deadline; it keeps its prediction, and is polled before anything is paid again."""
        return self._move(
            attempt_id,
            [IN_FLIGHT],
            TIMED_OUT,
            error_kind="timed_out",
            error_message=message,
            retryable=True,
        )

    def resume(self, attempt_id: int, deadline_s: float) -> bool:
        """Wait for a timed-out prediction once more."""
        now = self._now()
        return self._move(
            attempt_id,
            [TIMED_OUT],
            IN_FLIGHT,
            deadline_at=now + timedelta(seconds=deadline_s),
            next_poll_at=now,
            reported_at=None,
            error_kind=None,
            error_message=None,
            retryable=None,
        )

    # ---- collecting

    def claim_collect(self, attempt_id: int, owner: str, lease_s: float) -> bool:
        """Become the only one who downloads this video."""
        return self._move(
            attempt_id,
            [SUCCEEDED],
            SUCCEEDED,
            self._free_for(owner),
            owner=owner,
            lease_until=self._lease(lease_s),
        )

    def release_collect(self, attempt_id: int, owner: str) -> None:
        """Let somebody else download it."""
        self._move(
            attempt_id, [SUCCEEDED], SUCCEEDED, attempts.c.owner == owner, owner=None, lease_until=None
        )

    def fetch_again(self, attempt_id: int) -> bool:
        """Let runs try once more to fetch a video that they had given up on."""
        return self._move(
            attempt_id,
            [SUCCEEDED],
            SUCCEEDED,
            reported_at=None,
            collect_tries=0,
            lease_until=None,
            error_kind=None,
            error_message=None,
            retryable=None,
        )

    def note_problem(self, attempt_id: int, kind: str, message: str) -> bool:
        """Fetching it did not work this time; the video is still there to be fetched."""
        return self._move(
            attempt_id, [SUCCEEDED], SUCCEEDED, error_kind=kind, error_message=message, retryable=True
        )

    def collect(self, attempt_id: int, video: StoredVideo, *, run_id: str) -> bool:
        """The video is stored and checked."""
        return self._move(
            attempt_id,
            [SUCCEEDED],
            COLLECTED,
            **video_columns(video),
            stored_at=self._now(),
            reported_at=self._now(),
            run_id=run_id,
            error_kind=None,
            error_message=None,
            retryable=None,
            owner=None,
            lease_until=None,
        )

    def keep_rejected(
        self, attempt_id: int, video: StoredVideo, *, run_id: str, kind: str, message: str
    ) -> bool:
        """The video is not what was asked for: kept as a file, since it is paid, but not delivered."""
        return self._move(
            attempt_id,
            [SUCCEEDED],
            FAILED,
            **video_columns(video),
            stored_at=self._now(),
            reported_at=self._now(),
            run_id=run_id,
            error_kind=kind,
            error_message=message,
            retryable=False,
            owner=None,
            lease_until=None,
        )

    def reject(self, attempt_id: int, message: str) -> bool:
        """A person does not want a video that was delivered: it stays a file, since it is paid, and its clip has none.

        Args:
            attempt_id: The attempt that made it.
            message: For people.
        """
        return self._move(
            attempt_id,
            [COLLECTED],
            FAILED,
            error_kind="rejected",
            error_message=message,
            retryable=False,
            reported_at=self._now(),
        )

    @patient
    def note_verified(self, attempt_ids: Sequence[int]) -> None:
        """The stored files of these were read back and are what was stored."""
        with self._database.exclusive() as connection:
            connection.execute(
                update(attempts).where(attempts.c.attempt_id.in_(attempt_ids)).values(verified_at=self._now())
            )

    def fetch_lost(self, attempt_id: int) -> bool:
        """The stored file is gone or damaged: it is paid for, and to be fetched once more; unless its clip is being made anew."""
        other = attempts.alias("other")
        made_anew = (
            select(1)
            .where(other.c.clip_key == attempts.c.clip_key, other.c.state.in_(LIVE_STATES))
            .correlate(attempts)
            .exists()
        )
        return self._move(
            attempt_id,
            [COLLECTED],
            SUCCEEDED,
            ~made_anew,
            alone=True,
            reported_at=None,
            collect_tries=0,
            lease_until=None,
            verified_at=None,
            file_name=None,
        )

    @patient
    def report(self, attempt_ids: Sequence[int]) -> None:
        """A Dagster run shows that these ended without a video; one that has gone on since is shown by whoever ends it."""
        with self._database.exclusive() as connection:
            connection.execute(
                update(attempts)
                .where(attempts.c.attempt_id.in_(attempt_ids), attempts.c.state.in_(WITHOUT_VIDEO))
                .values(reported_at=self._now())
            )

    @patient
    def give_up_fetching(self, attempt_ids: Sequence[int]) -> None:
        """No run fetches these videos by itself any more; ``fetch_again`` has runs try once more."""
        with self._database.exclusive() as connection:
            lock_productions_of(connection, attempt_ids)
            given_up = connection.execute(
                update(attempts)
                .where(attempts.c.attempt_id.in_(attempt_ids), attempts.c.state == SUCCEEDED)
                .values(reported_at=self._now())
                .returning(attempts.c.production_id, attempts.c.clip_key)
            ).all()
            # As far as the output manifest goes, they have failed.
            for production_id in {row.production_id for row in given_up}:
                mark_changed(connection, production_id, self._now())
            count_clips(connection, [row.clip_key for row in given_up])

    @patient
    def expect_collect(self, attempt_ids: Sequence[int], lease_s: float) -> None:
        """Note that a run was requested which will collect or report these."""
        with self._database.exclusive() as connection:
            connection.execute(
                update(attempts)
                .where(attempts.c.attempt_id.in_(attempt_ids))
                .values(
                    owner=self._owner_if_alive(),
                    lease_until=self._lease(lease_s),
                    collect_tries=attempts.c.collect_tries + 1,
                )
            )

    @patient
    def extend(self, attempt_ids: Sequence[int], lease_s: float) -> None:
        """Give runs that are still queued more time before somebody else takes over."""
        with self._database.exclusive() as connection:
            connection.execute(
                update(attempts)
                .where(attempts.c.attempt_id.in_(attempt_ids))
                .values(owner=self._owner_if_alive(), lease_until=self._lease(lease_s))
            )

    # ---- how it is done

    def _lease(self, seconds: float) -> datetime:
        return self._now() + timedelta(seconds=seconds)

    def _free_for(self, owner: str) -> ColumnElement[bool]:
        expired = over(attempts.c.lease_until, self._now())
        return or_(attempts.c.owner.is_(None), attempts.c.owner == owner, expired)

    def _owner_if_alive(self) -> ColumnElement[str | None]:
        """More time is for the next run, not for one that let its lease run out."""
        return case((over(attempts.c.lease_until, self._now()), None), else_=attempts.c.owner)

    def _move(
        self,
        attempt_id: int,
        leaving: Iterable[AttemptState],
        entering: AttemptState,
        *conditions: ColumnElement[bool],
        refused: bool = False,
        alone: bool = False,
        **values: Any,
    ) -> bool:
        """One transition; whether it happened. Outlasts an outage of the database: an accepted submit is paid for.

        Args:
            attempt_id: The attempt.
            leaving: The states that it may be at.
            entering: The state that it is at then.
            conditions: What must hold as well.
            refused: Whether it counts as a refusal of its clip.
            alone: Whether nobody may begin an attempt meanwhile.
            values: Further columns.
        """

        def transact() -> bool:
            with self._database.exclusive() if alone else self._database.write() as connection:
                lock_productions_of(connection, [attempt_id])
                before = charges_of(connection, [attempt_id])
                moved = connection.execute(
                    update(attempts)
                    .where(
                        attempts.c.attempt_id == attempt_id, attempts.c.state.in_(list(leaving)), *conditions
                    )
                    .values(state=entering, **values)
                    .returning(attempts.c.production_id, attempts.c.clip_key, attempts.c.number)
                ).first()
                if moved is not None:
                    mark_changed(connection, moved.production_id, self._now())
                    if refused:
                        count_refusal(connection, moved.clip_key)
                    if entering == IN_FLIGHT:
                        self._retire_earlier(connection, moved.clip_key, moved.number)
                    count_attempts(connection, [attempt_id], before)
            return moved is not None

        def landed() -> bool:
            row = self._row(attempt_id)
            plain = {name: value for name, value in values.items() if not isinstance(value, ClauseElement)}
            # A reservation may have been given up meanwhile.
            return (
                row is not None
                and row["state"] == entering
                and all(row[name] == value for name, value in plain.items())
            )

        return self._database.surely(transact, landed)

    def _retire_earlier(self, connection: Connection, key: str, number: int) -> None:
        """Failures that an accepted attempt has followed are nobody's to show, nor to be looked through for ever."""
        connection.execute(
            update(attempts)
            .where(attempts.c.clip_key == key, attempts.c.number < number)
            .where(attempts.c.reported_at.is_(None))
            .values(reported_at=self._now())
        )


class _FreeSlots:
    """An account's free slots as they may be taken now, each production's share of them first, within a transaction."""

    def __init__(
        self,
        connection: Connection,
        account: str,
        slots: int,
        wanted: Mapping[str, ClipStanding],
        now: datetime,
    ) -> None:
        self._taken = slots_by_production(connection, account)
        self._left = slots - sum(self._taken.values())
        waiting = wanted_in(connection, account, now)
        # Those that are asked for now may be none of what a run at work has said that it wants.
        for production_id, clips_now in Counter(each.production_id for each in wanted.values()).items():
            waiting[production_id] = max(waiting.get(production_id, 0), clips_now)
        demands = {
            key: self._taken.get(key, 0) + waiting.get(key, 0) for key in self._taken.keys() | waiting.keys()
        }
        self._shares = fair_shares(slots, demands)

    def has(self, production_id: str) -> bool:
        """Whether one more may be taken for a production."""
        return self._left > 0 and self._taken.get(production_id, 0) < self._shares.get(production_id, 0)

    def take(self, production_id: str) -> None:
        """Take one for it."""
        self._left -= 1
        self._taken[production_id] = self._taken.get(production_id, 0) + 1


def _still_wanted() -> ColumnElement[bool]:
    """Whether the manifest, as it was read last, asks for what was reserved, and no person has stopped it."""
    wanted = (
        select(1)
        .where(clips.c.clip_key == attempts.c.clip_key, clips.c.active)
        .where(clips.c.fingerprint == attempts.c.fingerprint)
        .where(clips.c.cancelled_round.is_distinct_from(clips.c.round))
        .correlate(attempts)
        .exists()
    )
    return and_(wanted, none_paused(attempts.c.account, attempts.c.production_id))


def _served_by(connection: Connection, account: Account) -> set[str]:
    """Productions that an account submits for now; simulated clips never reach a real one, nor the other way round."""
    served = select(productions.c.production_id).where(
        productions.c.account == account.name,
        productions.c.simulated == account.simulated,
        none_paused(account.name, productions.c.production_id),
    )
    return set(connection.scalars(served))


def _new_attempt(
    standing: ClipStanding, cost_micros: int, account: Account, batch_id: str, owner: str | None
) -> dict[str, Any]:
    return {
        "clip_key": standing.key,
        "production_id": standing.production_id,
        "number": standing.latest.number + 1 if standing.latest else 1,
        "round": standing.round,
        "fingerprint": standing.clip.fingerprint,
        "state": RESERVED,
        "batch_id": batch_id,
        "account": account.name,
        "provider": account.provider,
        "simulated": account.simulated,
        "model": standing.clip.model,
        "cost_micros": cost_micros,
        "owner": owner,
    }

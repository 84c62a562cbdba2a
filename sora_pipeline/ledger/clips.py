"""Clips: what the manifests ask for, and which of it still wants an attempt."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    case,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from sora_pipeline.clip import Clip
from sora_pipeline.ledger.database import Database, patient
from sora_pipeline.ledger.rows import attempt_of, clip_of, spec_of
from sora_pipeline.ledger.schema import DELIVERED, LIVE, OPEN, attempts, clips, productions
from sora_pipeline.ledger.types import Attempt, AttemptState, ClipCounts, ClipStanding, Outcome

_CHUNK = 500  # parameters of one IN list; every database takes that many


class Clips:
    """Questions and transitions about what is wanted."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def standings(self, clip_ids: Iterable[str]) -> dict[str, ClipStanding]:
        """How far each of these clips is; unknown ids are left out."""
        with self._database.read() as connection:
            return standings_in(connection, list(clip_ids))

    @patient
    def standings_of(self, production_id: str) -> dict[str, ClipStanding]:
        """How far each clip is that a production wants at present, in the manifest's order."""
        with self._database.read() as connection:
            wanted = and_(clips.c.production_id == production_id, clips.c.active)
            return _standings(connection, wanted)

    @patient
    def wanted(self) -> dict[str, ClipStanding]:
        """How far each clip is that still wants something: one not delivered, or being made once more."""
        with self._database.read() as connection:
            found = _standings(
                connection, and_(clips.c.active, clips.c.outcome.is_distinct_from(Outcome.DELIVERED))
            )
            under_way = connection.scalars(select(attempts.c.clip_id).where(LIVE)).all()
            again = standings_in(connection, [each for each in under_way if each not in found])
            return found | {clip_id: each for clip_id, each in again.items() if each.active}

    def specs(self, clip_ids: Sequence[str]) -> Iterator[list[Clip]]:
        """What the manifests ask for, some hundred clips at a time; unknown ids are left out."""
        for chunk in chunks(list(clip_ids)):
            yield self._specs(chunk)

    @patient
    def _specs(self, clip_ids: list[str]) -> list[Clip]:
        query = select(clips.c.clip_id, clips.c.spec).where(clips.c.clip_id.in_(clip_ids))
        with self._database.read() as connection:
            return [clip_of(row.clip_id, row.spec) for row in connection.execute(query)]

    @patient
    def pending(self, max_attempts: int, production_id: str | None = None) -> list[str]:
        """Clips that may begin an attempt now, by production and manifest order.

        Args:
            max_attempts: Attempts a clip may have by itself.
            production_id: Only this production's; None: everybody's.
        """
        query = _pending(max_attempts).order_by(clips.c.production_id, clips.c.position)
        if production_id is not None:
            query = query.where(clips.c.production_id == production_id)
        with self._database.read() as connection:
            return list(connection.scalars(query))

    @patient
    def counts(self, production_id: str, max_attempts: int) -> ClipCounts:
        """How many clips a production wants at present, by what they are at."""
        mine = and_(clips.c.production_id == production_id, clips.c.active)
        given_up = attempts.c.reported_at.is_not(None).label("given_up")
        live = (
            select(attempts.c.state, given_up, clips.c.outcome, func.count().label("clips"))
            .join(clips, clips.c.clip_id == attempts.c.clip_id)
            .where(LIVE, mine)
            .group_by(attempts.c.state, given_up, clips.c.outcome)
        )
        by_outcome = (
            select(clips.c.outcome, func.count().label("clips")).where(mine).group_by(clips.c.outcome)
        )
        pending = select(func.count()).select_from(
            _pending(max_attempts).where(clips.c.production_id == production_id).subquery()
        )
        with self._database.read() as connection:
            under_way = connection.execute(live).all()
            ended = Counter({row.outcome: row.clips for row in connection.execute(by_outcome)})
            waiting = connection.scalar(pending) or 0
        by_state: Counter[tuple[AttemptState, bool]] = Counter()
        for row in under_way:
            by_state[AttemptState(row.state), row.given_up] += row.clips
        # Some that are being made once more were delivered before.
        delivered = ended[Outcome.DELIVERED] - sum(
            row.clips for row in under_way if row.outcome == Outcome.DELIVERED
        )
        return ClipCounts(
            clips=ended.total(),
            live=by_state,
            delivered=delivered,
            pending=waiting,
            failed=ended.total() - by_state.total() - delivered - waiting,
        )

    @patient
    def new_round(self, clip_ids: Iterable[str]) -> None:
        """Let these clips be attempted anew, as a person asks for it after a failure."""
        with self._database.exclusive() as connection:
            for chunk in chunks(list(clip_ids)):
                connection.execute(
                    update(clips).where(clips.c.clip_id.in_(chunk)).values(round=clips.c.round + 1)
                )
                note_outcomes(connection, clips.c.clip_id.in_(chunk))


def register(connection: Connection, production_id: str, wanted: Sequence[Clip]) -> None:
    """Make these, in this order, the clips that a production wants, within the caller's transaction.

    A clip whose fingerprint changed begins a new round: its attempts count anew. Clips that the manifest no longer
    names stay known, with their attempts, but are not submitted any more.
    """
    rows = [
        {
            "clip_id": clip.clip_id,
            "production_id": production_id,
            "active": True,
            "position": position,
            "round": 1,
            "fingerprint": clip.fingerprint,
            "spec": spec_of(clip),
        }
        for position, clip in enumerate(wanted)
    ]
    connection.execute(update(clips).where(clips.c.production_id == production_id).values(active=False))
    if rows:
        connection.execute(_upsert(connection), rows)
    note_outcomes(connection, clips.c.production_id == production_id)


def note_outcomes(connection: Connection, whose: ColumnElement[bool]) -> None:
    """Note how these clips ended, or that they did not, within the transaction of the caller that changed it."""
    later = attempts.alias("later")
    mine = attempts.c.clip_id == clips.c.clip_id
    delivered = (
        select(1)
        .where(mine, DELIVERED, attempts.c.fingerprint == clips.c.fingerprint)
        .correlate(clips)
        .exists()
    )
    failed = (
        select(1)
        .where(mine, attempts.c.round == clips.c.round, attempts.c.state == AttemptState.FAILED)
        .where(attempts.c.retryable.is_not(True))
        .where(
            ~select(1)
            .where(later.c.clip_id == attempts.c.clip_id, later.c.number > attempts.c.number)
            .exists()
        )
        .correlate(clips)
        .exists()
    )
    outcome = case((delivered, Outcome.DELIVERED), (failed, Outcome.FAILED))
    connection.execute(
        update(clips).where(whose, clips.c.outcome.is_distinct_from(outcome)).values(outcome=outcome)
    )


def standings_in(connection: Connection, clip_ids: list[str]) -> dict[str, ClipStanding]:
    """How far each of these clips is, within the caller's transaction."""
    found: dict[str, ClipStanding] = {}
    for chunk in chunks(clip_ids):
        found |= _standings(connection, clips.c.clip_id.in_(chunk))
    return found


def _pending(max_attempts: int) -> Select[tuple[str]]:
    """Ids of clips that may begin an attempt now, the rule of ``ClipStanding.pending`` in SQL."""
    live = select(1).where(attempts.c.clip_id == clips.c.clip_id, LIVE).correlate(clips).exists()
    tried = attempts.alias("tried")
    in_round = and_(tried.c.clip_id == clips.c.clip_id, tried.c.round == clips.c.round)
    times = select(func.count()).select_from(tried).where(in_round).correlate(clips).scalar_subquery()
    newest = select(tried.c.retryable).where(in_round).order_by(tried.c.number.desc()).limit(1)
    may_again = newest.correlate(clips).scalar_subquery()
    return select(clips.c.clip_id).where(OPEN, ~live, or_(times == 0, and_(times < max_attempts, may_again)))


def _upsert(connection: Connection) -> Any:
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    statement = insert(clips)
    new = statement.excluded
    statement = statement.on_conflict_do_update(
        index_elements=[clips.c.clip_id],
        set_={
            "production_id": new.production_id,
            "active": new.active,
            "position": new.position,
            # Literals, since a statement of many rows can hold no parameter outside them.
            "round": clips.c.round
            + case((clips.c.fingerprint != new.fingerprint, literal_column("1")), else_=literal_column("0")),
            "fingerprint": new.fingerprint,
            "spec": new.spec,
        },
    )
    # psycopg2 sends many rows in one statement only where something is returned.
    return statement.returning(clips.c.clip_id) if connection.dialect.name == "postgresql" else statement


def _standings(connection: Connection, wanted: Any) -> dict[str, ClipStanding]:
    clip_rows = connection.execute(
        select(clips, productions.c.output_uri)
        .join(productions, productions.c.production_id == clips.c.production_id)
        .where(wanted)
        .order_by(clips.c.position)
    ).all()
    made: dict[str, list[Attempt]] = {}
    query = (
        select(attempts)
        .join(clips, clips.c.clip_id == attempts.c.clip_id)
        .where(wanted)
        .order_by(attempts.c.number)
    )
    for row in connection.execute(query).mappings():
        made.setdefault(row["clip_id"], []).append(attempt_of(row))
    return {row.clip_id: _standing(row, made.get(row.clip_id, [])) for row in clip_rows}


def _standing(row: Any, made: list[Attempt]) -> ClipStanding:
    delivered = [
        attempt
        for attempt in made
        if attempt.state is AttemptState.COLLECTED and attempt.fingerprint == row.fingerprint
    ]
    return ClipStanding(
        clip=clip_of(row.clip_id, row.spec),
        production_id=row.production_id,
        output_uri=row.output_uri,
        round=row.round,
        active=row.active,
        latest=made[-1] if made else None,
        delivered=delivered[-1] if delivered else None,
        attempts_in_round=sum(attempt.round == row.round for attempt in made),
        attempts=len(made),
    )


def chunks(items: list[str]) -> Iterator[list[str]]:
    """Slices short enough for one IN list."""
    for start in range(0, len(items), _CHUNK):
        yield items[start : start + _CHUNK]

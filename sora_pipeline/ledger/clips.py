"""Clips: what the manifests ask for, and which of it still wants an attempt."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    func,
    or_,
    select,
    update,
)

from sora_pipeline.clip import Clip, Size, clip_key, split_clip_key
from sora_pipeline.ledger.counters import BILLED, count_clips, lock_productions
from sora_pipeline.ledger.database import CHUNK, IN_STRETCHES, Database, chunks, patient
from sora_pipeline.ledger.rows import attempt_of, clip_of
from sora_pipeline.ledger.schema import (
    LIVE,
    WAITING,
    attempts,
    charges,
    clip_counts,
    clips,
    productions,
)
from sora_pipeline.ledger.types import (
    GIVEN_UP,
    Attempt,
    AttemptState,
    ClipCounts,
    ClipStanding,
    PendingClip,
    PendingKind,
)
from sora_pipeline.status import CANCELLED, ClipStatus
from sora_pipeline.streams import stretches

_ENDED = (ClipStatus.DELIVERED, ClipStatus.PENDING, ClipStatus.FAILED, CANCELLED)
"""How clips stand that have no live attempt."""

LONG_AGO = datetime.min.replace(tzinfo=UTC)
"""When a clip was cancelled of which that is not known."""
CARRIED_FROM = 50
"""Clips of a production that are asked for the columns its manifest carries through."""


class Clips:
    """Questions and transitions about what is wanted."""

    def __init__(self, database: Database, now: Callable[[], datetime]) -> None:
        self._database = database
        self._now = now

    @patient
    def standings(self, keys: Iterable[str]) -> dict[str, ClipStanding]:
        """How far each of these clips is, by key; unknown ones are left out."""
        with self._database.read() as connection:
            return standings_in(connection, list(keys))

    @patient
    def standings_of(self, production_id: str) -> dict[str, ClipStanding]:
        """How far each clip is that a production wants at present, in the manifest's order."""
        with self._database.read() as connection:
            return _standings(connection, _wanted_by(production_id))

    @patient
    def unsettled(self, production_id: str) -> dict[str, ClipStanding]:
        """How far each clip of a production is that is not delivered, or is being made once more."""
        with self._database.read() as connection:
            return _standings(
                connection, and_(_wanted_by(production_id), clips.c.standing != ClipStatus.DELIVERED)
            )

    @patient
    def of_production(self, production_id: str) -> list[Clip]:
        """What a production wants at present, in the manifest's order."""
        query = select(clips.c.clip_id, clips.c.spec).where(_wanted_by(production_id))
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(clips.c.position))
            return [clip_of(row.clip_id, row.spec) for row in rows]

    @patient
    def ever_wanted(self, production_id: str, take: Callable[[Clip], object]) -> None:
        """Hand over what a production wants, and what it wanted last under ids that its manifest no longer names.

        Args:
            production_id: The production.
            take: Takes each of them, some twice where the database went away in between.
        """
        query = select(clips.c.clip_id, clips.c.spec).where(clips.c.production_id == production_id)
        with self._database.read() as connection:
            for row in connection.execute(query, execution_options=IN_STRETCHES):
                take(clip_of(row.clip_id, row.spec))

    @patient
    def carried_columns(self, production_ids: Iterable[str]) -> list[str]:
        """Names of columns that manifests carry through, by the first clips of each of these productions."""
        names: dict[str, None] = {}
        with self._database.read() as connection:
            for production_id in production_ids:
                query = select(clips.c.spec["carried"]).where(_wanted_by(production_id))
                for (carried,) in connection.execute(query.order_by(clips.c.position).limit(CARRIED_FROM)):
                    names |= dict.fromkeys(carried or ())
        return sorted(names)

    @patient
    def named(self, clip_id: str, pipeline: str | None = None) -> list[str]:
        """Keys of the clips with this id, in whichever productions."""
        query = select(clips.c.clip_key).where(clips.c.clip_id == clip_id).order_by(clips.c.clip_key)
        if pipeline is not None:
            query = query.where(clips.c.production_id.in_(productions_of(pipeline)))
        with self._database.read() as connection:
            return list(connection.scalars(query))

    @patient
    def pending(
        self,
        max_attempts: int,
        production_id: str | None = None,
        *,
        pipeline: str | None = None,
        account: str | None = None,
    ) -> list[str]:
        """Keys of clips that may begin an attempt now, by production and manifest order.

        Args:
            max_attempts: Attempts a clip may have by itself.
            production_id: Only this production's; None: everybody's.
            pipeline: Only those of productions that this pipeline serves.
            account: Only those of productions that this account submits for.
        """
        query = _of(_pending(max_attempts), production_id, pipeline, account)
        with self._database.read() as connection:
            return list(connection.scalars(query))

    @patient
    def pending_clips(
        self,
        max_attempts: int,
        production_id: str | None = None,
        *,
        pipeline: str | None = None,
        account: str | None = None,
        limit: int | None = None,
    ) -> list[PendingClip]:
        """The same clips with what decides their price; the first ``limit`` of them, or all."""
        spec = clips.c.spec
        query = _pending(max_attempts).add_columns(
            clips.c.production_id,
            spec["model"].as_string().label("model"),
            spec["duration"].as_integer().label("duration"),
            spec["size"].as_string().label("size"),
        )
        with self._database.read() as connection:
            rows = connection.execute(_of(query, production_id, pipeline, account).limit(limit)).all()
        sizes = {text: Size.parse(text) for text in {row.size for row in rows}}
        return [
            PendingClip(row.clip_key, row.production_id, row.model, row.duration, sizes[row.size])
            for row in rows
        ]

    @patient
    def pending_among(self, keys: Iterable[str], max_attempts: int) -> list[str]:
        """Those of these clips that may begin an attempt now."""
        found: list[str] = []
        with self._database.read() as connection:
            for chunk in chunks(list(keys)):
                found += connection.scalars(_pending(max_attempts).where(clips.c.clip_key.in_(chunk)))
        return found

    @patient
    def productions_with_pending_clips(self, pipeline: str, account: str) -> list[str]:
        """Productions that have, or may have, pending clips for an account."""
        query = (
            select(clip_counts.c.production_id)
            .where(clip_counts.c.standing == ClipStatus.PENDING, clip_counts.c.clips > 0)
            .where(clip_counts.c.production_id.in_(productions_of(pipeline, account)))
            .distinct()
            .order_by(clip_counts.c.production_id)
        )
        with self._database.read() as connection:
            return list(connection.scalars(query))

    @patient
    def begun_as_asked(self, production_id: str, wanted: Sequence[Clip]) -> set[str]:
        """Ids of those among these clips for which, as they are here, something is delivered or under way."""
        latest: dict[str, Any] = {}
        delivered: set[str] = set()
        columns = (
            clips.c.clip_id,
            clips.c.fingerprint.label("wanted"),
            attempts.c.fingerprint,
            attempts.c.state,
        )
        with self._database.read() as connection:
            for chunk in chunks([clip_key(production_id, clip.clip_id) for clip in wanted]):
                query = select(*columns).join(attempts, attempts.c.clip_key == clips.c.clip_key)
                query = query.where(clips.c.clip_key.in_(chunk)).order_by(attempts.c.number)
                for row in connection.execute(query):
                    latest[row.clip_id] = row
                    if row.state == AttemptState.COLLECTED and row.fingerprint == row.wanted:
                        delivered.add(row.clip_id)
        as_asked: set[str] = set()
        for clip in wanted:
            last = latest.get(clip.clip_id)
            if last is None:
                continue
            fingerprint = clip.fingerprint
            is_delivered = clip.clip_id in delivered and last.wanted == fingerprint
            if is_delivered or (last.fingerprint == fingerprint and last.state != AttemptState.FAILED):
                as_asked.add(clip.clip_id)
        return as_asked

    @patient
    def ended_as_asked(
        self, production_id: str, wanted: Iterable[Clip], max_attempts: int
    ) -> dict[str, ClipStatus | str]:
        """Ids of those among these clips that, as they are here, nothing is begun for unless somebody asks: failed, or cancelled.

        Args:
            production_id: The production.
            wanted: The clips.
            max_attempts: Attempts a clip may have by itself.
        """
        asked = {clip_key(production_id, clip.clip_id): clip.fingerprint for clip in wanted}
        exhausted = and_(
            clips.c.standing == ClipStatus.PENDING, clips.c.tries > 0, clips.c.tries >= max_attempts
        )
        ended = or_(clips.c.standing.in_((ClipStatus.FAILED, CANCELLED)), exhausted)
        columns = (clips.c.clip_key, clips.c.clip_id, clips.c.fingerprint, clips.c.standing)
        found: dict[str, ClipStatus | str] = {}
        with self._database.read() as connection:
            for chunk in chunks(list(asked)):
                query = select(*columns).where(clips.c.clip_key.in_(chunk), ended)
                found |= {
                    row.clip_id: CANCELLED if row.standing == CANCELLED else ClipStatus.FAILED
                    for row in connection.execute(query)
                    if row.fingerprint == asked[row.clip_key]
                }
        return found

    @patient
    def has_attempts(self, production_id: str) -> bool:
        """Whether anything was ever begun for a production."""
        query = select(charges.c.day).where(charges.c.production_id == production_id).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).first() is not None

    @patient
    def paid_or_under_way(self, keys: Iterable[str]) -> bool:
        """Whether any of these clips is being made, or may have been billed."""
        with self._database.read() as connection:
            return any(
                connection.execute(
                    select(attempts.c.attempt_id)
                    .where(attempts.c.clip_key.in_(chunk), or_(LIVE, BILLED))
                    .limit(1)
                ).first()
                for chunk in chunks(list(keys))
            )

    @patient
    def wanted_among(self, production_id: str, clip_ids: Iterable[str]) -> dict[str, Clip]:
        """Those of these clips that a production wants at present, by id."""
        found: dict[str, Clip] = {}
        keys = [clip_key(production_id, clip_id) for clip_id in clip_ids]
        with self._database.read() as connection:
            for chunk in chunks(keys):
                query = select(clips.c.clip_id, clips.c.spec).where(
                    clips.c.clip_key.in_(chunk), clips.c.active
                )
                found |= {row.clip_id: clip_of(row.clip_id, row.spec) for row in connection.execute(query)}
        return found

    @patient
    def standings_without(self, production_id: str, clip_ids: Iterable[str]) -> Counter[str]:
        """How the clips stand that a production wants at present, these left out: how many there are of each standing.

        Args:
            production_id: The production; the ledger need not know it.
            clip_ids: Ids, each once; those that it does not want count for nothing.
        """
        by_standing = select(clips.c.standing, func.count().label("clips")).group_by(clips.c.standing)
        wanted = and_(clips.c.production_id == production_id, clips.c.active)
        with self._database.read() as connection:
            rest = Counter({row.standing: row.clips for row in connection.execute(by_standing.where(wanted))})
            for stretch in stretches(clip_ids, CHUNK) if rest else ():
                keys = [clip_key(production_id, clip_id) for clip_id in stretch]
                of_these = by_standing.where(clips.c.clip_key.in_(keys), clips.c.active)
                rest -= Counter({row.standing: row.clips for row in connection.execute(of_these)})
        return rest

    @patient
    def pending_kinds(self, production_id: str, max_attempts: int) -> list[PendingKind]:
        """How many clips of a production may begin an attempt now, by what decides their price; the most frequent first."""
        count = func.sum(clip_counts.c.clips).label("clips")
        kind = (clip_counts.c.model, clip_counts.c.duration, clip_counts.c.size)
        query = (
            select(*kind, count)
            .where(clip_counts.c.production_id == production_id)
            .where(clip_counts.c.standing == ClipStatus.PENDING, clip_counts.c.clips > 0)
            .where(or_(clip_counts.c.tries == 0, clip_counts.c.tries < max_attempts))
            .group_by(*kind)
            .order_by(count.desc(), *kind)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        return [PendingKind(row.model, row.duration, Size.parse(row.size), int(row.clips)) for row in rows]

    @patient
    def counts(self, production_id: str, max_attempts: int) -> ClipCounts:
        """How many clips a production wants at present, by what they are at."""
        query = (
            select(clip_counts.c.standing, clip_counts.c.tries, func.sum(clip_counts.c.clips).label("clips"))
            .where(clip_counts.c.production_id == production_id)
            .group_by(clip_counts.c.standing, clip_counts.c.tries)
        )
        live: Counter[tuple[AttemptState, bool]] = Counter()
        ended: Counter[str] = Counter()
        with self._database.read() as connection:
            for row in connection.execute(query):
                clips_so = int(row.clips)
                if row.standing == ClipStatus.PENDING and row.tries and row.tries >= max_attempts:
                    ended[ClipStatus.FAILED] += clips_so
                elif row.standing in _ENDED:
                    ended[row.standing] += clips_so
                elif clips_so:
                    given_up = row.standing == GIVEN_UP
                    state = AttemptState.SUCCEEDED if given_up else AttemptState(row.standing)
                    live[state, given_up] += clips_so
        return ClipCounts(
            clips=live.total() + ended.total(),
            live=live,
            delivered=ended[ClipStatus.DELIVERED],
            pending=ended[ClipStatus.PENDING],
            failed=ended[ClipStatus.FAILED] + ended[CANCELLED],
        )

    @patient
    def new_round(self, keys: Iterable[str]) -> None:
        """Let these clips be attempted anew, as a person asks for it after a failure."""
        wanted = list(keys)
        with self._database.exclusive() as connection:
            lock_productions(connection, {split_clip_key(key)[0] for key in wanted})
            for chunk in chunks(wanted):
                connection.execute(
                    update(clips)
                    .where(clips.c.clip_key.in_(chunk))
                    .values(round=clips.c.round + 1, refusals=0)
                )
                count_clips(connection, chunk)


def productions_of(pipeline: str, account: str | None = None) -> Select[tuple[str]]:
    """Ids of the productions that a pipeline serves, or of those among them that an account submits for."""
    query = select(productions.c.production_id).where(productions.c.pipeline == pipeline)
    return query if account is None else query.where(productions.c.account == account)


def _wanted_by(production_id: str) -> ColumnElement[bool]:
    return and_(clips.c.production_id == production_id, clips.c.active)


def standings_in(connection: Connection, keys: list[str]) -> dict[str, ClipStanding]:
    """How far each of these clips is, within the caller's transaction."""
    standings: dict[str, ClipStanding] = {}
    for chunk in chunks(keys):
        standings |= _standings(connection, clips.c.clip_key.in_(chunk))
    return standings


def _pending(max_attempts: int) -> Select[tuple[str]]:
    """Keys of clips that may begin an attempt now, the rule of ``ClipStanding.pending`` in SQL."""
    return select(clips.c.clip_key).where(WAITING, or_(clips.c.tries == 0, clips.c.tries < max_attempts))


def _of(
    pending: Select[Any], production_id: str | None, pipeline: str | None, account: str | None
) -> Select[Any]:
    """Those of one production, or of a pipeline's that an account submits for, by production and manifest order."""
    query = pending.order_by(clips.c.production_id, clips.c.position)
    if production_id is not None:
        query = query.where(clips.c.production_id == production_id)
    if pipeline is not None:
        query = query.where(clips.c.production_id.in_(productions_of(pipeline, account)))
    return query


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
        .join(clips, clips.c.clip_key == attempts.c.clip_key)
        .where(wanted)
        .order_by(attempts.c.number)
    )
    for row in connection.execute(query).mappings():
        made.setdefault(row["clip_key"], []).append(attempt_of(row))
    return {row.clip_key: _standing(row, made.get(row.clip_key, [])) for row in clip_rows}


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
        # A delivered video that was lost is fetched again, whatever ended after it.
        latest=next((attempt for attempt in made if attempt.live), made[-1]) if made else None,
        delivered=delivered[-1] if delivered else None,
        attempts_in_round=sum(attempt.round == row.round for attempt in made),
        attempts=len(made),
        refusals=row.refusals,
        cancelled_at=(row.cancelled_at or LONG_AGO) if row.cancelled_round == row.round else None,
    )


def count_refusal(connection: Connection, key: str) -> None:
    """Note, within the caller's transaction, that a clip's submit was refused for now."""
    connection.execute(update(clips).where(clips.c.clip_key == key).values(refusals=clips.c.refusals + 1))

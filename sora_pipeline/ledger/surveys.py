"""All clips of a production with what became of them, as they are at one moment, a stretch at a time: however many there are.

For whoever tells of all of them. Attempts are as short as telling of them needs.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, and_, select

from sora_pipeline.clip import Clip
from sora_pipeline.ledger.database import Database, chunks
from sora_pipeline.ledger.rows import clip_of, failure_of
from sora_pipeline.ledger.schema import DELIVERED, attempts, clips
from sora_pipeline.ledger.types import AttemptState, Failure
from sora_pipeline.video import StoredVideo, VideoFacts

STRETCH = 5000
"""Clips that are held at a time."""


class Made(NamedTuple):
    """An attempt, as far as its clip's outcome tells of it."""

    state: str
    fingerprint: str
    account: str
    provider: str
    simulated: bool
    cost_micros: int
    possibly_billed: bool
    reserved_at: datetime
    submitted_at: datetime | None
    accepted_at: datetime | None
    completed_at: datetime | None
    stored_at: datetime | None
    prediction_id: str | None
    provider_status: str | None
    model_returned: str | None
    error_kind: str | None
    error_message: str | None
    retryable: bool | None
    run_id: str | None
    file_name: str | None
    poster_path: str | None
    bytes: int | None
    sha256: str | None
    width: int | None
    height: int | None
    fps: float | None
    frames: int | None
    duration_s: float | None
    video_codec: str | None
    has_audio: bool | None
    c2pa: bool | None

    @property
    def billed(self) -> bool:
        """Whether the provider accepted it, or may have: it counts as spent, whatever became of it."""
        return self.accepted_at is not None or self.possibly_billed

    @property
    def failure(self) -> Failure | None:
        """Why it failed, or did not get on the last time."""
        return failure_of(self.error_kind, self.error_message, self.retryable)

    @property
    def facts(self) -> VideoFacts | None:
        """What the stored video is; None: there is none."""
        known: tuple[Any, ...] = self[_FACTS:]
        return None if self.file_name is None or self.sha256 is None else VideoFacts(*known)

    def delivers(self, fingerprint: str) -> bool:
        """Whether its video is what a clip of this fingerprint asks for."""
        return self.state == AttemptState.COLLECTED and self.fingerprint == fingerprint


_FACTS = Made._fields.index("bytes")


class SurveyedClip(NamedTuple):
    """A clip that a production wants, and how far it is.

    Attributes:
        clip: What it asks for.
        fingerprint: Of that.
        standing: How it stands, as it is counted.
        tries: How many attempts of its present round it has.
        made: All its attempts, oldest first.
    """

    clip: Clip
    fingerprint: str
    standing: str
    tries: int
    made: list[Made]


_OF_CLIP = (
    clips.c.clip_key,
    clips.c.clip_id,
    clips.c.spec,
    clips.c.fingerprint,
    clips.c.standing,
    clips.c.tries,
)
_OF_ATTEMPT = tuple(attempts.c[name] for name in Made._fields)


class Moment:
    """A production as it is at one moment, whatever others do meanwhile.

    Args:
        connection: Of a transaction that sees one state of the ledger.
        production_id: The production.
    """

    def __init__(self, connection: Connection, production_id: str) -> None:
        self._connection = connection
        self._wanted = and_(clips.c.production_id == production_id, clips.c.active)

    def carried(self) -> Iterator[list[tuple[str, Mapping[str, Any]]]]:
        """Ids and carried cells of the clips that it wants, in the manifest's order, a stretch at a time."""
        query = select(clips.c.clip_id, clips.c.spec["carried"]).where(self._wanted)
        for rows in self._stretches(query.order_by(clips.c.position, clips.c.clip_key)):
            yield [(clip_id, carried or {}) for clip_id, carried in rows]

    def clips(self) -> Iterator[list[SurveyedClip]]:
        """The clips that it wants, in the manifest's order, a stretch at a time."""
        query = (
            select(*_OF_CLIP, *_OF_ATTEMPT)
            .outerjoin(attempts, attempts.c.clip_key == clips.c.clip_key)
            .where(self._wanted)
            .order_by(clips.c.position, clips.c.clip_key, attempts.c.number)
        )
        left: list[Any] = []
        for rows in self._stretches(query):
            rows = left + rows if left else rows
            last_key, end = rows[-1][0], len(rows)
            while end and rows[end - 1][0] == last_key:  # more of its attempts may follow
                end -= 1
            left = rows[end:]
            if end:
                yield _surveyed(rows[:end])
        if left:
            yield _surveyed(left)

    def wanted_among(self, clip_ids: Iterable[str]) -> set[str]:
        """Those of these ids that are clips which it wants."""
        found: set[str] = set()
        for chunk in chunks(list(clip_ids)):
            query = select(clips.c.clip_id).where(self._wanted, clips.c.clip_id.in_(chunk))
            found.update(self._connection.scalars(query))
        return found

    def delivered_elsewhere(self, output_uri: str) -> Iterator[StoredVideo]:
        """Videos of clips that it wants which lie in another output than this one."""
        later = attempts.alias("later")
        made_again = (
            select(1)
            .where(later.c.clip_key == clips.c.clip_key, later.c.state == AttemptState.COLLECTED)
            .where(later.c.fingerprint == clips.c.fingerprint, later.c.number > attempts.c.number)
            .exists()
        )
        facts = [attempts.c[name] for name in Made._fields[_FACTS:]]
        query = (
            select(attempts.c.output_uri, attempts.c.file_name, attempts.c.poster_path, *facts)
            .join(clips, clips.c.clip_key == attempts.c.clip_key)
            .where(self._wanted, DELIVERED, attempts.c.fingerprint == clips.c.fingerprint, ~made_again)
            .where(attempts.c.output_uri != output_uri, attempts.c.file_name.is_not(None))
            .where(attempts.c.sha256.is_not(None))
        )
        for rows in self._stretches(query):
            for uri, file_name, poster_path, *known in rows:
                yield StoredVideo(uri, file_name, poster_path, VideoFacts(*known))

    def _stretches(self, query: Select[Any]) -> Iterator[list[Any]]:
        with self._connection.execution_options(yield_per=STRETCH).execute(query) as result:
            for rows in result.partitions():
                yield list(rows)


class Surveys:
    """Looks at whole productions."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @contextmanager
    def at_one_moment(self, production_id: str) -> Iterator[Moment]:
        """A production as it is now, for as long as it is looked at; takes no lock."""
        with self._database.read() as connection:
            yield Moment(connection, production_id)


def _surveyed(rows: list[Any]) -> list[SurveyedClip]:
    own = len(_OF_CLIP)
    surveyed = []
    for _, of_clip in groupby(rows, key=itemgetter(0)):
        first, *others = of_clip
        made = [Made._make(row[own:]) for row in (first, *others) if row[own] is not None]
        _, clip_id, spec, fingerprint, standing, tries = first[:own]
        surveyed.append(SurveyedClip(clip_of(clip_id, spec), fingerprint, standing, tries, made))
    return surveyed

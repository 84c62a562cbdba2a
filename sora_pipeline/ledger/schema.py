"""The tables of the ledger. A change here goes with a new revision in ``migrations/versions``."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Date,
    DateTime,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    false,
    text,
    true,
)

from sora_pipeline.ledger.types import LIVE_STATES, AttemptState
from sora_pipeline.status import ClipStatus
from sora_pipeline.uris import Uri, shown_uri


class UtcDateTime(TypeDecorator[datetime]):
    """Aware datetimes in Python, naive UTC in every database alike."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Any) -> datetime | None:
        """Refuse naive values instead of guessing their zone."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"{value!r} has no time zone")
        return value.astimezone(UTC).replace(tzinfo=None)

    def result_processor(self, dialect: Any, coltype: Any) -> Callable[[Any], datetime | None]:
        """Reads as UTC. Not ``process_result_value``: of one survey there are half a million of them."""
        read = self.impl_instance.result_processor(dialect, coltype)

        def aware(value: Any) -> datetime | None:
            if value is None:
                return None
            moment: Any = value if read is None else read(value)
            aware_moment: datetime = moment.replace(tzinfo=UTC)
            return aware_moment

        return aware


class FullUri(TypeDecorator[Uri]):
    """Addresses that are opened later, with their secrets: in here, and nowhere else."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """The full address."""
        return None if value is None else Uri(value).reveal()

    def process_result_value(self, value: str | None, dialect: Any) -> Uri | None:
        """As a type that shows none of its secrets."""
        return None if value is None else Uri(value)


class ShownUri(TypeDecorator[str]):
    """Addresses of outputs, which hold no secrets; those that earlier versions wrote are read without theirs."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Any) -> str | None:
        """Without secrets."""
        return None if value is None else shown_uri(value)

    def process_result_value(self, value: str | None, dialect: Any) -> str | None:
        """Without secrets."""
        return None if value is None else shown_uri(value)


VERSION_TABLE = "sora_ledger_version"
"""Not alembic's own name: Dagster's storage keeps that one, and may share the database."""

metadata = MetaData()
_AutoId = BigInteger().with_variant(Integer, "sqlite")  # SQLite counts only INTEGER keys up by itself

about = Table(
    "ledger_about",
    metadata,
    Column("ledger_id", String(36), primary_key=True),
)
"""One row: the name of this ledger, which every output that it owns repeats."""

pipelines = Table(
    "pipelines",
    metadata,
    Column("pipeline", String(64), primary_key=True),
    Column("settings", JSON, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
)
"""With which settings the daemon of each pipeline works; secrets as salted digests."""

accounts = Table(
    "accounts",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("provider", String(64), nullable=False),
    Column("address", Text, nullable=False),
)
"""Where each account was last."""

productions = Table(
    "productions",
    metadata,
    Column("production_id", String(64), primary_key=True),
    Column("pipeline", String(64), nullable=False),
    Column("named", Boolean, nullable=False, default=True, server_default=true()),
    Column("manifest_uri", FullUri, nullable=False),
    Column("output_uri", ShownUri, nullable=False),
    Column("account", String(64)),
    Column("simulated", Boolean, nullable=False),
    Column("budget_micros", BigInteger),
    Column("budget_given", Boolean, nullable=False, default=False),
    Column("requested_at", UtcDateTime),
    Column("requested_manifest", FullUri),
    Column("read_at", UtcDateTime),
    Column("snapshot_path", Text),
    Column("snapshot_began_at", UtcDateTime),
    Column("manifest_sha256", String(64)),
    Column("snapshot_sha256", String(64)),
    Column("change_seq", Integer, nullable=False, default=0),
    Column("changed_at", UtcDateTime),
    Column("published_seq", Integer, nullable=False, default=0),
    Column("published_at", UtcDateTime),
    Column("publisher", String(64)),
    Column("publisher_until", UtcDateTime),
    Column("error", Text),
    # Since when a person lets nothing be submitted for it; null: submits go on.
    Column("paused_at", UtcDateTime),
    Column("notified_seq", Integer, nullable=False, default=0),
    Column("notified_state", String(64)),
)

_WAITING = f"active AND standing = '{ClipStatus.PENDING}'"

clips = Table(
    "clips",
    metadata,
    Column("clip_key", String(256), primary_key=True),
    Column("production_id", ForeignKey("productions.production_id"), nullable=False),
    Column("clip_id", String(128), nullable=False),
    Column("active", Boolean, nullable=False),
    Column("position", Integer, nullable=False),
    Column("round", Integer, nullable=False, default=1),
    Column("fingerprint", String(64), nullable=False),
    Column("spec", JSON, nullable=False),
    # How far it is, and its attempts of this round: written with whatever changes that (counters.py), so that neither
    # counting clips nor finding those that may begin an attempt means looking at every attempt there ever was.
    Column("standing", String(16), nullable=False, default=ClipStatus.PENDING, server_default="pending"),
    Column("tries", Integer, nullable=False, default=0, server_default="0"),
    # Beside the round, and not with an attempt: a reservation that is given up takes its row along.
    Column("refusals", Integer, nullable=False, default=0, server_default="0"),
    # The round that a person cancelled: whatever begins another one has it made after all.
    Column("cancelled_round", Integer),
    Column("cancelled_at", UtcDateTime),
    Index("clips_by_production", "production_id", "active", "position"),
    Index("clips_by_id", "clip_id"),
    Index(
        "waiting_clips",
        "production_id",
        "position",
        sqlite_where=text(_WAITING),
        postgresql_where=text(_WAITING),
    ),
)

clip_counts = Table(
    "clip_counts",
    metadata,
    Column("production_id", ForeignKey("productions.production_id"), primary_key=True),
    Column("standing", String(16), primary_key=True),
    Column("tries", Integer, primary_key=True, autoincrement=False),
    Column("model", String(128), primary_key=True),
    Column("duration", Integer, primary_key=True, autoincrement=False),
    Column("size", Text, primary_key=True),
    Column("clips", BigInteger, nullable=False),
)
"""How many clips of each production that are wanted stand how, by what decides their price."""

amendments = Table(
    "amendments",
    metadata,
    Column("clip_key", String(256), primary_key=True),
    Column("production_id", ForeignKey("productions.production_id"), nullable=False),
    Column("manifest_uri", FullUri, nullable=False),
    Column("amended_at", UtcDateTime, nullable=False),
    # Of the campaign's own row as it was then; null: not known, the next reading notes it.
    Column("row_hash", String(64)),
    Column("spec", JSON, nullable=False),
    Index("amendments_by_production", "production_id"),
)
"""Rows that a person mended in ``failed.csv``: each stands until the campaign's own row changes."""

_LIVE = "state IN ({})".format(", ".join(f"'{state}'" for state in LIVE_STATES))
_DELIVERED = f"state = '{AttemptState.COLLECTED}'"

attempts = Table(
    "attempts",
    metadata,
    Column("attempt_id", _AutoId, primary_key=True),
    Column("clip_key", ForeignKey("clips.clip_key"), nullable=False),
    Column("production_id", ForeignKey("productions.production_id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("round", Integer, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("state", String(16), nullable=False),
    Column("batch_id", String(64), nullable=False),
    Column("account", String(64), nullable=False),
    Column("provider", String(64), nullable=False),
    Column("simulated", Boolean, nullable=False),
    Column("model", String(128), nullable=False),
    Column("cost_micros", BigInteger, nullable=False),
    Column("reserved_at", UtcDateTime, nullable=False),
    Column("owner", String(64)),
    Column("lease_until", UtcDateTime),
    Column("submitted_at", UtcDateTime),
    Column("accepted_at", UtcDateTime),
    Column("completed_at", UtcDateTime),
    Column("stored_at", UtcDateTime),
    Column("reported_at", UtcDateTime),
    Column("deadline_at", UtcDateTime),
    Column("next_poll_at", UtcDateTime),
    Column("unfinished_at", UtcDateTime),
    Column("polls", Integer, nullable=False, default=0),
    Column("empty_polls", Integer, nullable=False, default=0),
    Column("collect_tries", Integer, nullable=False, default=0),
    Column("prediction_id", String(256)),
    Column("poll_url", Text),
    Column("provider_status", String(64)),
    Column("model_returned", String(128)),
    Column("request_summary", JSON),
    Column("error_kind", String(32)),
    Column("error_message", Text),
    Column("retryable", Boolean),
    Column("possibly_billed", Boolean, nullable=False, default=False),
    Column("output_url", Text),
    Column("output_expires_at", UtcDateTime),
    Column("file_name", Text),
    Column("bytes", BigInteger),
    Column("sha256", String(64)),
    Column("width", Integer),
    Column("height", Integer),
    Column("fps", Float),
    Column("frames", Integer),
    Column("duration_s", Float),
    Column("video_codec", String(32)),
    Column("has_audio", Boolean),
    Column("c2pa", Boolean),
    Column("poster_path", Text),
    Column("output_uri", ShownUri),
    Column("run_id", String(64)),
    Column("verified_at", UtcDateTime),
    UniqueConstraint("clip_key", "number", name="attempt_number"),
    # At most one attempt of a clip can be paid for at a time, and the database sees to it.
    Index(
        "one_live_attempt", "clip_key", unique=True, sqlite_where=text(_LIVE), postgresql_where=text(_LIVE)
    ),
    # Only unsettled attempts are ever looked for by state, so the index stays small for ever.
    Index("live_by_state", "state", "next_poll_at", sqlite_where=text(_LIVE), postgresql_where=text(_LIVE)),
    Index(
        "delivered_fingerprints",
        "clip_key",
        "fingerprint",
        sqlite_where=text(_DELIVERED),
        postgresql_where=text(_DELIVERED),
    ),
    Index(
        "unreported_attempts",
        "state",
        sqlite_where=text("reported_at IS NULL"),
        postgresql_where=text("reported_at IS NULL"),
    ),
    Index("attempts_by_batch", "batch_id"),
    Index("attempts_by_production", "production_id"),
    Index("attempts_by_submit", "account", "submitted_at"),
    Index("attempts_by_end", "account", "completed_at"),
    # The id of a reservation that was given up must never come back as another clip's.
    sqlite_autoincrement=True,
)

charges = Table(
    "charges",
    metadata,
    Column("production_id", ForeignKey("productions.production_id"), primary_key=True),
    Column("account", String(64), primary_key=True),
    Column("simulated", Boolean, primary_key=True),
    # Of the submit, in UTC; the first day there is: it was not sent, or is to be sent once more.
    Column("day", Date, primary_key=True),
    Column("reserved_micros", BigInteger, nullable=False),
    # Sent, and under way or billed.
    Column("sent_micros", BigInteger, nullable=False),
    Column("billed_micros", BigInteger, nullable=False),
    Index("charges_by_day", "account", "day"),
)
"""What the attempts of each production come to, by day."""

LIVE = text(f"attempts.{_LIVE}")
"""The live states as the indexes spell them: SQLite takes a partial index for nothing but its own words."""
DELIVERED = text(f"attempts.{_DELIVERED}")
WAITING = text(f"clips.active AND clips.standing = '{ClipStatus.PENDING}'")


def among_live(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """A text column in a condition on live attempts: no index by it is to be used, for it holds all that ever were.

    Without statistics SQLite takes an index by account for narrower than the one of the few that live.
    """
    return column.concat("")


batches = Table(
    "batches",
    metadata,
    Column("batch_id", String(64), primary_key=True),
    Column("created_at", UtcDateTime, nullable=False),
    Column("submit_tries", Integer, nullable=False, default=0),
    Column("submit_requested_at", UtcDateTime),
    # Null in batches of earlier versions, and where a reservation knows no more of its batch than the name.
    Column("pipeline", String(64)),
    Column("account", String(64)),
    Column("asset", String(16)),
    Column("keys", JSON),
    Column("wanted", JSON),
    Column("run_id", String(64)),
    Column("begun_at", UtcDateTime),
    Column("lease_until", UtcDateTime),
    Column("told_to_leave", Boolean, nullable=False, default=False, server_default=false()),
    Column("ended_at", UtcDateTime),
    Index(
        "unfinished_batches",
        "pipeline",
        sqlite_where=text("ended_at IS NULL"),
        postgresql_where=text("ended_at IS NULL"),
    ),
    Index(
        "ended_batches",
        "ended_at",
        sqlite_where=text("ended_at IS NOT NULL"),
        postgresql_where=text("ended_at IS NOT NULL"),
    ),
)

breakers = Table(
    "breakers",
    metadata,
    Column("account", String(64), primary_key=True),
    # Empty: of the whole account.
    Column("model", String(128), primary_key=True),
    Column("kind", String(32), nullable=False),
    Column("message", Text, nullable=False),
    Column("opened_at", UtcDateTime, nullable=False),
    Column("closed_at", UtcDateTime),
    Column("probes", Integer, nullable=False, default=0),
    Column("probe_at", UtcDateTime),
    Column("probe_batch", String(64)),
    Column("probe_key", String(256)),
)

paused_accounts = Table(
    "paused_accounts",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("paused_at", UtcDateTime, nullable=False),
)
"""Accounts to which a person lets nothing be submitted."""

turns = Table(
    "turns",
    metadata,
    Column("account", String(64), primary_key=True),
    Column("next_at", UtcDateTime, nullable=False),
)
"""When the next submit to an account may leave."""

pauses = Table(
    "pauses",
    metadata,
    Column("account", String(64), primary_key=True),
    # Who asked for it: the provider (empty), or a command that stops.
    Column("owner", String(64), primary_key=True),
    Column("until", UtcDateTime, nullable=False),
)
"""Until when nothing is submitted to an account that has said so."""

verdicts = Table(
    "verdicts",
    metadata,
    Column("production_id", ForeignKey("productions.production_id"), primary_key=True),
    Column("name", String(64), primary_key=True),
    Column("healthy", Boolean, nullable=False),
    Column("serious", Boolean, nullable=False),
    Column("sentence", Text, nullable=False),
    Column("looked_at", UtcDateTime, nullable=False),
)
"""What the last look at each published production found."""

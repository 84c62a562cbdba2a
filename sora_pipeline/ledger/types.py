"""The typed values that go into and come out of the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sora_pipeline.clip import Clip

MICROS = 1_000_000


class AttemptState(StrEnum):
    """Where an attempt stands.

    ``reserved → submitting → in_flight → succeeded → collected``, or ``failed``, ``ambiguous``, ``timed_out``.
    """

    RESERVED = "reserved"  # planned and budgeted; nothing was sent
    SUBMITTING = "submitting"  # committed before the request leaves
    IN_FLIGHT = "in_flight"  # accepted, rendering
    SUCCEEDED = "succeeded"  # rendered, not yet fetched
    COLLECTED = "collected"  # the video is stored and checked
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"  # the answer to the submit was lost; it may have been billed
    TIMED_OUT = "timed_out"  # past our deadline; keeps its prediction


LIVE_STATES = (
    AttemptState.RESERVED,
    AttemptState.SUBMITTING,
    AttemptState.IN_FLIGHT,
    AttemptState.SUCCEEDED,
    AttemptState.AMBIGUOUS,
    AttemptState.TIMED_OUT,
)
SLOT_STATES = (AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.IN_FLIGHT)
"""States that take one of the provider's concurrent jobs."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one clip: at most one submit that was accepted, so at most one bill."""

    attempt_id: int
    clip_id: str
    production_id: str
    number: int
    round: int
    fingerprint: str
    state: AttemptState
    batch_id: str
    provider: str
    model: str
    cost_micros: int
    reserved_at: datetime
    owner: str | None = None
    lease_until: datetime | None = None
    submitted_at: datetime | None = None
    accepted_at: datetime | None = None
    completed_at: datetime | None = None
    stored_at: datetime | None = None
    reported_at: datetime | None = None
    deadline_at: datetime | None = None
    next_poll_at: datetime | None = None
    polls: int = 0
    empty_polls: int = 0
    collect_tries: int = 0
    prediction_id: str | None = None
    poll_url: str | None = None
    provider_status: str | None = None
    model_returned: str | None = None
    request_summary: Mapping[str, Any] | None = None
    error_kind: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    possibly_billed: bool = False  # its answer was lost once: counts as spent, whatever became of it
    output_url: str | None = None
    output_expires_at: datetime | None = None
    file_name: str | None = None
    bytes: int | None = None
    sha256: str | None = None
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    frames: int | None = None
    duration_s: float | None = None
    video_codec: str | None = None
    has_audio: bool | None = None
    c2pa: bool | None = None
    poster_path: str | None = None
    output_uri: str | None = None
    run_id: str | None = None
    verified_at: datetime | None = None

    @property
    def cost_usd(self) -> Decimal:
        """What the provider bills for it, by the catalogue."""
        return Decimal(self.cost_micros) / MICROS

    @property
    def billed(self) -> bool:
        """Whether the provider accepted it, or may have: it counts as spent, whatever became of it."""
        return self.accepted_at is not None or self.possibly_billed

    @property
    def live(self) -> bool:
        """Whether it stands in the way of a further attempt."""
        return self.state in LIVE_STATES


@dataclass(frozen=True, slots=True)
class StoredVideo:
    """What is known of a video file once it is in the output store."""

    file_name: str  # relative to the output
    bytes: int
    sha256: str
    width: int
    height: int
    fps: float
    frames: int
    duration_s: float
    video_codec: str
    has_audio: bool
    c2pa: bool
    poster_path: str | None  # relative to the output
    output_uri: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for every reservation, in the same transaction as the reservation.

    Attributes:
        max_in_flight: Clips that may be with the provider at once.
        max_attempts: Attempts a clip may have by itself.
        daily_micros: What a day (UTC) may cost at one provider, in millionths of a US dollar; None: no limit.
    """

    max_in_flight: int
    max_attempts: int
    daily_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Production:
    """One manifest being produced into one output."""

    production_id: str
    manifest_uri: str
    output_uri: str
    budget_micros: int | None
    requested_at: datetime | None
    read_at: datetime | None
    snapshot_path: str | None
    manifest_sha256: str | None
    snapshot_sha256: str | None
    sequence: int
    change_seq: int
    changed_at: datetime | None
    published_seq: int
    published_at: datetime | None
    publisher: str | None
    publisher_until: datetime | None
    error: str | None
    told_seq: int
    told_state: str | None

    @property
    def budget_usd(self) -> Decimal | None:
        """The most that this production may cost."""
        return None if self.budget_micros is None else Decimal(self.budget_micros) / MICROS


class Outcome(StrEnum):
    """How a clip ended, as it is wanted at present; a clip without one may still begin an attempt."""

    DELIVERED = "delivered"  # collected with the clip's present fingerprint
    FAILED = "failed"  # the newest attempt of its round failed for good


@dataclass(frozen=True, slots=True)
class ClipCounts:
    """How many clips of a production are at what; the numbers add up.

    Attributes:
        clips: All that its manifest wants.
        live: Those with a live attempt, by its state and whether a run has reported its end (or given up on it).
        delivered: Those delivered, and not just being made once more.
        pending: Those that may begin an attempt without anybody asking again.
        failed: The rest: nothing becomes of them by itself.
    """

    clips: int
    live: Mapping[tuple[AttemptState, bool], int]
    delivered: int
    pending: int
    failed: int


@dataclass(frozen=True, slots=True)
class ClipStanding:
    """A clip, what the manifest wants of it, and how far it is."""

    clip: Clip
    production_id: str
    output_uri: str
    round: int
    active: bool
    latest: Attempt | None
    delivered: Attempt | None  # collected with the clip's present fingerprint
    attempts_in_round: int
    attempts: int

    def pending(self, max_attempts: int) -> bool:
        """Whether an attempt may begin without anybody asking again."""
        if not self.active or self.delivered or (self.latest and self.latest.live):
            return False
        if self.latest is None or self.latest.round != self.round:
            return True
        return bool(self.latest.retryable) and self.attempts_in_round < max_attempts

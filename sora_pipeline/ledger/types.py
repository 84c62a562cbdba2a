"""The typed values that go into and come out of the ledger."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from sora_pipeline.clip import Clip, Size, clip_key, split_clip_key
from sora_pipeline.status import CANCELLED, ClipStatus
from sora_pipeline.uris import Uri
from sora_pipeline.video import StoredVideo

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
WITHOUT_VIDEO = (AttemptState.FAILED, AttemptState.AMBIGUOUS, AttemptState.TIMED_OUT)
"""States in which an attempt has ended, as far as anybody knows, and there is nothing to fetch."""
GIVEN_UP = "given_up"
"""How a clip stands whose video is rendered, and which no run fetches by itself any more."""
SLOT_STATES = (AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.IN_FLIGHT)
"""States that take one of the account's concurrent jobs."""

_STATUS = {
    AttemptState.RESERVED: ClipStatus.PENDING,
    AttemptState.SUBMITTING: ClipStatus.IN_FLIGHT,
    AttemptState.IN_FLIGHT: ClipStatus.IN_FLIGHT,
    AttemptState.SUCCEEDED: ClipStatus.IN_FLIGHT,
    AttemptState.COLLECTED: ClipStatus.DELIVERED,
    AttemptState.FAILED: ClipStatus.FAILED,
    AttemptState.AMBIGUOUS: ClipStatus.AMBIGUOUS,
    AttemptState.TIMED_OUT: ClipStatus.FAILED,
}


def status_of_live(state: AttemptState, *, reported: bool) -> ClipStatus:
    """How a clip stands whose newest attempt is in this live state.

    Args:
        state: The state.
        reported: Whether a run has shown its end: a rendered video that nobody will fetch by himself has failed.
    """
    if state is AttemptState.SUCCEEDED and reported:
        return ClipStatus.FAILED
    return _STATUS[state]


def status_of_standing(standing: str, tries: int, max_attempts: int) -> ClipStatus:
    """How a clip stands, by what is kept with it.

    Args:
        standing: What its live attempt is at, else how it ended; pending is also what has no attempt left.
        tries: How many attempts its present round has.
        max_attempts: How many it may have by itself.
    """
    if standing == ClipStatus.PENDING:
        return ClipStatus.FAILED if tries and tries >= max_attempts else ClipStatus.PENDING
    if standing == CANCELLED:
        return ClipStatus.FAILED
    if standing in (ClipStatus.DELIVERED, ClipStatus.FAILED):
        return ClipStatus(standing)
    given_up = standing == GIVEN_UP
    return status_of_live(AttemptState.SUCCEEDED if given_up else AttemptState(standing), reported=given_up)


@dataclass(frozen=True, slots=True)
class Account:
    """A provider's address with a key, as it is billed: what slots, rate, pauses, breaker and the day's budget belong to.

    Attributes:
        name: Its name in this ledger.
        provider: The wire format spoken.
        simulated: Whether nothing there is real: neither videos nor dollars.
    """

    name: str
    provider: str
    simulated: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """Who works on an attempt, and until when that holds without a sign of life."""

    owner: str | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Submission:
    """What was sent, and what the provider made of it.

    Attributes:
        submitted_at: When the request was sent (or was about to be).
        accepted_at: When the provider took it, and billed it.
        prediction_id: The provider's id.
        poll_url: Where the provider wants it polled.
        model_returned: The model the provider says it used.
        request: What of the request is worth remembering.
    """

    submitted_at: datetime | None = None
    accepted_at: datetime | None = None
    prediction_id: str | None = None
    poll_url: str | None = None
    model_returned: str | None = None
    request: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Polling:
    """How the prediction is watched.

    Attributes:
        provider_status: The provider's own word.
        deadline_at: When it counts as timed out.
        next_at: When it is polled next.
        unfinished_at: When a poll last found it unfinished.
        polls: How often it was.
        empty_polls: How often it was completed without an output URL.
    """

    provider_status: str | None = None
    deadline_at: datetime | None = None
    next_at: datetime | None = None
    unfinished_at: datetime | None = None
    polls: int = 0
    empty_polls: int = 0


class RenderKind(NamedTuple):
    """What decides how long a render takes, beside the account it is rendered at."""

    model: str
    duration: int  # seconds of video
    size: str


@dataclass(frozen=True, slots=True)
class RenderEnd:
    """How long a prediction took, as far as polls tell.

    Attributes:
        kind: Of what.
        after_s: Seconds after it was accepted when a poll last found it unfinished; 0: none did.
        until_s: Seconds after it was accepted when a poll found that it had ended.
    """

    kind: RenderKind
    after_s: float
    until_s: float


@dataclass(frozen=True, slots=True)
class Failure:
    """Why an attempt failed, or did not get on the last time.

    Attributes:
        kind: In one word: the ``error_kind`` column.
        message: For people.
        retryable: Whether another attempt can succeed; None: it goes on by itself.
    """

    kind: str
    message: str
    retryable: bool | None = None

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of it.

    Attributes:
        completed_at: When the provider was done.
        output_url: Where it can be fetched.
        expires_at: When that URL ends.
        video: What was stored.
        stored_at: When that was.
        verified_at: When the stored file was last read back.
        collect_tries: How many runs were requested to fetch it.
    """

    completed_at: datetime | None = None
    output_url: str | None = None
    expires_at: datetime | None = None
    video: StoredVideo | None = None
    stored_at: datetime | None = None
    verified_at: datetime | None = None
    collect_tries: int = 0


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at one clip: at most one submit that was accepted, so at most one bill.

    Attributes:
        attempt_id: Its number in the ledger.
        clip_key: Of the clip.
        number: Its number among the clip's attempts, from 1.
        round: The clip's round that it belongs to.
        fingerprint: Of what was asked for.
        state: Where it stands.
        batch_id: The clips that one run submits together.
        account: Who submits, polls and pays it.
        model: The model asked for.
        cost_micros: What the provider bills for it, in millionths of a US dollar.
        reserved_at: When it was begun.
        lease: Who works on it.
        submission: What was sent.
        polling: How it is watched.
        failure: Why it failed, or did not get on the last time.
        result: What came of it.
        reported_at: When a Dagster run showed how it ended.
        possibly_billed: Whether an answer was lost once: it counts as spent, whatever became of it.
        run_id: The Dagster run that worked on it last.
    """

    attempt_id: int
    clip_key: str
    number: int
    round: int
    fingerprint: str
    state: AttemptState
    batch_id: str
    account: Account
    model: str
    cost_micros: int
    reserved_at: datetime
    lease: Lease = Lease()
    submission: Submission = Submission()
    polling: Polling = Polling()
    failure: Failure | None = None
    result: Result = Result()
    reported_at: datetime | None = None
    possibly_billed: bool = False
    run_id: str | None = None

    @property
    def production_id(self) -> str:
        """The production that pays for it."""
        return split_clip_key(self.clip_key)[0]

    @property
    def clip_id(self) -> str:
        """The clip's id within its production."""
        return split_clip_key(self.clip_key)[1]

    @property
    def cost_usd(self) -> Decimal:
        """What the provider bills for it, by the catalogue."""
        return Decimal(self.cost_micros) / MICROS

    @property
    def billed(self) -> bool:
        """Whether the provider accepted it, or may have: it counts as spent, whatever became of it."""
        return self.submission.accepted_at is not None or self.possibly_billed

    @property
    def live(self) -> bool:
        """Whether it stands in the way of a further attempt."""
        return self.state in LIVE_STATES

    @property
    def why(self) -> str:
        """Why it failed, for people."""
        return str(self.failure) if self.failure else "no reason was recorded"


@dataclass(frozen=True, slots=True)
class Limits:
    """What holds for every reservation, in the same transaction as the reservation.

    Attributes:
        max_in_flight: Clips that may be with the account's provider at once.
        max_attempts: Attempts a clip may have by itself.
        daily_micros: What a day (UTC) may cost at the account, in millionths of a US dollar; None: no limit.
    """

    max_in_flight: int
    max_attempts: int
    daily_micros: int | None = None


@dataclass(frozen=True, slots=True)
class Production:
    """One manifest made into one output.

    Attributes:
        production_id: Its name.
        pipeline: The pipeline that serves it.
        manifest_uri: The campaign's manifest, as it is opened.
        output_uri: Where its videos and tables go.
        account: The account that its pending clips are submitted with; None: no manifest was read so far.
        simulated: Whether an emulator is to make it: its dollars are not real.
        budget_micros: What it may cost; None: no limit.
        budget_given: Whether a person set that for this production; else it is the settings'.
        requested_at: When it was last asked for.
        requested_manifest: Which file was then to be read: the campaign's, or rows of it that were mended.
        read_at: When a manifest was last read for it.
        snapshot_path: The canonical form of what was read, relative to the output.
        snapshot_began_at: When that reading began; None: not known.
        manifest_sha256: Hash of the manifest's bytes.
        snapshot_sha256: Hash of what it asked for.
        change_seq: Counts up with every change.
        changed_at: When the last one was.
        published_seq: The change that the output manifest shows.
        published_at: When it was written.
        publisher: Who writes it at the moment.
        publisher_until: Until when that holds.
        error: Why its manifest could not be read the last time.
        paused_at: Since when a person lets nothing be submitted for it; None: it is not paused.
        notified_seq: The change that people were told of.
        notified_state: Hash of what they were told.
        named: Whether a person gave it its name, and not its manifest's file.
    """

    production_id: str
    pipeline: str
    manifest_uri: Uri
    output_uri: str
    account: str | None
    simulated: bool
    budget_micros: int | None
    budget_given: bool = False
    requested_at: datetime | None = None
    requested_manifest: Uri | None = None
    read_at: datetime | None = None
    snapshot_path: str | None = None
    snapshot_began_at: datetime | None = None
    manifest_sha256: str | None = None
    snapshot_sha256: str | None = None
    change_seq: int = 0
    changed_at: datetime | None = None
    published_seq: int = 0
    published_at: datetime | None = None
    publisher: str | None = None
    publisher_until: datetime | None = None
    error: str | None = None
    paused_at: datetime | None = None
    notified_seq: int = 0
    notified_state: str | None = None
    named: bool = True

    @property
    def budget_usd(self) -> Decimal | None:
        """The most that this production may cost."""
        return None if self.budget_micros is None else Decimal(self.budget_micros) / MICROS


@dataclass(frozen=True, slots=True)
class ClipCounts:
    """How many clips of a production are at what; the numbers add up.

    Attributes:
        clips: All that its manifest wants.
        live: Those with a live attempt, by its state and whether runs have given up on fetching its video.
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
class PendingKind:
    """Clips of one price that may begin an attempt now.

    Attributes:
        model: The provider's model name.
        duration: Seconds.
        size: Pixels.
        clips: How many.
    """

    model: str
    duration: int
    size: Size
    clips: int


@dataclass(frozen=True, slots=True)
class PendingClip:
    """A clip that may begin an attempt now, as far as planning needs to know it.

    Attributes:
        key: The clip's key.
        production_id: The production that pays for it.
        model: The provider's model name.
        duration: Seconds.
        size: Pixels.
    """

    key: str
    production_id: str
    model: str
    duration: int
    size: Size


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
    refusals: int = 0  # submits of this round that the provider refused for now
    cancelled_at: datetime | None = None  # by a person; what is at the provider all the same is fetched

    @property
    def key(self) -> str:
        """The clip's key."""
        return clip_key(self.production_id, self.clip.clip_id)

    @property
    def cancelled(self) -> bool:
        """Whether a person cancelled it."""
        return self.cancelled_at is not None

    def pending(self, max_attempts: int) -> bool:
        """Whether an attempt may begin without anybody asking again."""
        if not self.active or self.cancelled or self.delivered or (self.latest and self.latest.live):
            return False
        if self.latest is None or self.latest.round != self.round:
            return True
        retryable = self.latest.failure is not None and self.latest.failure.retryable
        return bool(retryable) and self.attempts_in_round < max_attempts

    def status(self, max_attempts: int) -> ClipStatus:
        """How the clip stands. Of one that is made once more, the video that is there counts."""
        if self.delivered:
            return ClipStatus.DELIVERED
        if self.pending(max_attempts) or (self.latest is None and not self.cancelled):
            return ClipStatus.PENDING
        if self.latest is not None and self.latest.live:
            return status_of_live(self.latest.state, reported=self.latest.reported_at is not None)
        return ClipStatus.FAILED

"""What is left of attempts where their ledger was lost: traces in Dagster's event log and in the outputs.

Plain values, made by those who read the one or the other; what they mean together is decided in ``rebuilding``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from sora_pipeline.ledger import StoredVideo

LONG_AGO = datetime.fromtimestamp(0, UTC)


class TraceKind(Enum):
    """What a trace proves. The later of these outweighs the earlier, for the same attempt."""

    PERHAPS_SENT = 1  # a run that may have submitted it left no word about how that went
    AMBIGUOUS = 2  # the answer to the submit was lost
    ACCEPTED = 3  # it has a prediction; whether that has ended a poll can tell
    FAILED = 4
    STORED = 5  # its video was stored and is what was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """One thing that is known of one attempt; None: not known from here.

    Attributes:
        clip_id: The clip.
        kind: What it proves.
        at: When that was.
        number: The attempt's number.
        provider: The wire format it went to.
        model: The model asked for.
        fingerprint: Of what was asked for.
        cost_usd: What the provider bills for it.
        prediction_id: The provider's id, which also proves that it was accepted.
        poll_url: Where to poll it.
        provider_status: The provider's word.
        model_returned: The model the provider says it used.
        request: What was remembered of the request.
        error_kind: Why it failed, in a word.
        error_message: For people.
        retryable: Whether another attempt can succeed.
        possibly_billed: Whether its answer was lost once.
        video: The video that was stored, delivered or not.
        submitted_at: When it was sent.
        completed_at: When the provider was done.
        stored_at: When its video was stored.
        run_id: The Dagster run.
        new_attempt: Whether that run was there to begin an attempt; a person's ensures one, and may have found one.
    """

    clip_id: str
    kind: TraceKind
    at: datetime
    number: int | None = None
    provider: str | None = None
    model: str | None = None
    fingerprint: str | None = None
    cost_usd: Decimal | None = None
    prediction_id: str | None = None
    poll_url: str | None = None
    provider_status: str | None = None
    model_returned: str | None = None
    request: Mapping[str, Any] | None = None
    error_kind: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    possibly_billed: bool = False
    video: StoredVideo | None = None
    submitted_at: datetime | None = None
    completed_at: datetime | None = None
    stored_at: datetime | None = None
    run_id: str | None = None
    new_attempt: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """A manifest was read for a production.

    Attributes:
        manifest_uri: The manifest.
        output_uri: Where its videos go.
        manifest_sha256: Hash of the file.
        snapshot_sha256: Hash of what it asked for; names the snapshot.
        at: When.
        budget_usd: What it may cost, where that was given with it.
    """

    manifest_uri: str
    output_uri: str
    manifest_sha256: str
    snapshot_sha256: str
    at: datetime
    budget_usd: Decimal | None = None


@dataclass(frozen=True, slots=True)
class History:
    """What Dagster remembers.

    Attributes:
        readings: Every reading of a manifest, oldest first.
        traces: Everything about attempts.
    """

    readings: Sequence[Reading]
    traces: Sequence[Trace]

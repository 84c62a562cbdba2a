"""What is left of attempts where their ledger was lost: evidence in Dagster's event log and in the outputs.

Plain values, made by those who read the one or the other; what they mean together is decided in ``rebuild``.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any

from sora_pipeline.ledger import Account
from sora_pipeline.provider.registry import BrokenProviderError, ProviderNotInstalledError, find
from sora_pipeline.video import StoredVideo

LONG_AGO = datetime.fromtimestamp(0, UTC)
MENDED = "failed"
"""How the files begin that rows are mended in, while they lie in the output that they were written into."""


class EvidenceKind(Enum):
    """What a piece of evidence proves. The later of these outweighs the earlier, for the same attempt."""

    PERHAPS_SENT = 1  # a run that may have submitted it left no word about how that went
    AMBIGUOUS = 2  # the answer to the submit was lost
    ACCEPTED = 3  # it has a prediction; whether that has ended a poll can tell
    FAILED = 4
    STORED = 5  # its video was stored and is what was asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One thing that is known of one attempt; None: not known from here.

    Attributes:
        clip_id: The clip.
        kind: What it proves.
        at: When that was.
        production_id: The clip's production; None: from before productions had names.
        number: The attempt's number.
        account: Where it was submitted.
        model: The model asked for.
        fingerprint: Of what was asked for, as the version of that time wrote it.
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
    kind: EvidenceKind
    at: datetime
    production_id: str | None = None
    number: int | None = None
    account: Account | None = None
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ManifestReading:
    """A manifest was read for a production.

    Attributes:
        manifest_uri: The manifest.
        output_uri: Where its videos go.
        manifest_sha256: Hash of the file.
        snapshot_sha256: Hash of what it asked for; names the snapshot.
        at: When.
        production_id: The production; None: from before productions had names.
        pipeline: The pipeline that serves it.
        account: Who was to submit its clips.
        amends: Whether the file only mended rows of the production's manifest.
        budget_usd: What it may cost, where that is known.
        budget_given: Whether somebody said so for this production.
        ledger_id: The ledger that was told.
    """

    manifest_uri: str
    output_uri: str
    manifest_sha256: str = ""
    snapshot_sha256: str = ""
    at: datetime = LONG_AGO
    production_id: str | None = None
    pipeline: str = ""
    account: str | None = None
    amends: bool = False
    budget_usd: Decimal | None = None
    budget_given: bool = False
    ledger_id: str | None = None

    @property
    def mends(self) -> bool:
        """Whether it was of a file that only mends rows: one said to, or a ``failed.csv`` in its own output."""
        folder, _, name = self.manifest_uri.rpartition("/")
        in_its_output = folder == self.output_uri.rstrip("/") and name.endswith(".csv")
        return self.amends or (in_its_output and name.startswith(MENDED))


@dataclass(frozen=True, slots=True)
class History:
    """What Dagster remembers.

    Attributes:
        readings: Every reading of a manifest, oldest first.
        evidence: Everything about attempts.
    """

    readings: Sequence[ManifestReading]
    evidence: Sequence[Evidence]

    @classmethod
    def of_all(cls, histories: Iterable["History"]) -> "History":
        """What Dagster remembers of several pipelines."""
        readings: list[ManifestReading] = []
        evidence: list[Evidence] = []
        for history in histories:
            readings += history.readings
            evidence += history.evidence
        return cls(sorted(readings, key=lambda reading: reading.at), evidence)


def account_in(facts: Mapping[str, Any]) -> Account | None:
    """The account that metadata, a sidecar or a row names; before there were any, the wire format stood for it."""
    provider = facts.get("provider")
    if not provider:
        return None
    simulated = facts.get("simulated")
    return Account(
        facts.get("account") or provider,
        provider,
        is_simulated(provider) if simulated is None else bool(simulated),
    )


def is_simulated(provider: str) -> bool:
    """Whether nothing that a provider makes is real."""
    try:
        return find(provider).simulated
    except (ProviderNotInstalledError, BrokenProviderError):
        return provider == "sandbox"

"""How a clip ended, for the output manifest: from what the ledger knows of it."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime

from sora_pipeline.clip import Clip
from sora_pipeline.ledger.surveys import Made, SurveyedClip
from sora_pipeline.ledger.types import MICROS, Failure, status_of_standing
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import CANCELLED, ClipStatus

CANCELLED_BY_A_PERSON = "a person cancelled it before it was made"
WAITS_AGAIN = "it is submitted once more"


def outcome_of(
    surveyed: SurveyedClip,
    *,
    output_uri: str,
    max_attempts: int,
    hold_of: Callable[[Clip], Failure | None],
) -> ClipOutcome:
    """One clip's outcome.

    Args:
        surveyed: The clip, and what was made of it.
        output_uri: Where its production goes.
        max_attempts: Attempts a clip may have by itself.
        hold_of: What keeps a pending clip from being submitted, as people read it.
    """
    clip, fingerprint, standing, tries, made = surveyed
    delivered = next((each for each in reversed(made) if each.delivers(fingerprint)), None)
    # Of one that is made once more, the video that is there counts.
    status = ClipStatus.DELIVERED if delivered else status_of_standing(standing, tries, max_attempts)
    pending = status is ClipStatus.PENDING
    hold = hold_of(clip) if pending and standing == ClipStatus.PENDING else None
    shown = delivered or (made[-1] if made else None)
    if standing == CANCELLED:
        before = made[-1].failure if made else None
        why = f"{CANCELLED_BY_A_PERSON}; before that: {before.message}" if before else CANCELLED_BY_A_PERSON
        hold = Failure(CANCELLED, why, retryable=True)
    if shown is None or (pending and shown.fingerprint != fingerprint):
        return ClipOutcome(
            clip_id=clip.clip_id,
            status=status,
            attempts=len(made),
            cost_usd=_cost(made, clip.simulated),
            fingerprint=fingerprint,
            error_kind=hold.kind if hold else None,
            error_message=hold.message if hold else None,
            retryable=hold.retryable if hold else None,
        )
    failure, facts = hold or shown.failure, shown.facts
    if failure is not None and hold is None and pending and standing == ClipStatus.PENDING:
        failure = replace(failure, message=f"{WAITS_AGAIN}; before that: {failure.message}")
    video = shown.file_name if delivered and facts else None
    return ClipOutcome(
        clip_id=clip.clip_id,
        status=status,
        file_name=video,
        video_path=f"{output_uri.rstrip('/')}/{video}" if video else None,
        account=shown.account,
        provider=shown.provider,
        model_returned=shown.model_returned,
        prediction_id=shown.prediction_id,
        provider_status=shown.provider_status,
        attempts=len(made),
        error_kind=failure.kind if failure else None,
        error_message=failure.message if failure else None,
        retryable=failure.retryable if failure else None,
        submitted_at=shown.submitted_at,
        completed_at=shown.completed_at,
        stored_at=shown.stored_at,
        queue_s=_seconds(shown.reserved_at, shown.accepted_at),
        render_s=_seconds(shown.accepted_at, shown.completed_at),
        cost_usd=_cost(made, clip.simulated),
        facts=facts,
        poster_path=shown.poster_path if facts else None,
        fingerprint=shown.fingerprint,
        run_id=shown.run_id,
    )


def _cost(made: Iterable[Made], simulated: bool) -> float | None:
    """US dollars that providers bill for a clip: every attempt that was accepted, or may have been, and is as real as it."""
    billed = [each.cost_micros for each in made if each.billed and each.simulated == simulated]
    return sum(billed) / MICROS if billed else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)

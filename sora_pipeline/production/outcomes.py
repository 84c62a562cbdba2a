"""How each clip of a production stands, in the words of the output manifest."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sora_pipeline.ledger import Attempt, ClipStanding
from sora_pipeline.ledger.types import MICROS, Failure
from sora_pipeline.outcome import ClipOutcome
from sora_pipeline.status import ClipStatus


def outcome_of(
    standing: ClipStanding,
    made: Sequence[Attempt],
    *,
    status: ClipStatus,
    hold: Failure | None,
) -> ClipOutcome:
    """One clip's outcome.

    Args:
        standing: How far the clip is.
        made: All its attempts, oldest first.
        status: How it stands.
        hold: What keeps a pending clip from being submitted, as people read it.
    """
    clip, shown = standing.clip, standing.delivered or standing.latest
    pending = status is ClipStatus.PENDING
    if shown is None or (pending and shown.fingerprint != clip.fingerprint):
        return ClipOutcome(
            clip_id=clip.clip_id,
            status=ClipStatus.PENDING,
            attempts=len(made),
            cost_usd=_cost(made, clip.simulated),
            fingerprint=clip.fingerprint,
            error_kind=hold.kind if hold else None,
            error_message=hold.message if hold else None,
            retryable=hold.retryable if hold else None,
        )
    video = shown.result.video
    delivered = video if status is ClipStatus.DELIVERED else None
    failure = hold if hold is not None and pending else shown.failure
    return ClipOutcome(
        clip_id=clip.clip_id,
        status=status,
        file_name=delivered.file_name if delivered else None,
        video_path=f"{standing.output_uri.rstrip('/')}/{delivered.file_name}" if delivered else None,
        account=shown.account.name,
        provider=shown.account.provider,
        model_returned=shown.submission.model_returned,
        prediction_id=shown.submission.prediction_id,
        provider_status=shown.polling.provider_status,
        attempts=len(made),
        error_kind=failure.kind if failure else None,
        error_message=failure.message if failure else None,
        retryable=failure.retryable if failure else None,
        submitted_at=shown.submission.submitted_at,
        completed_at=shown.result.completed_at,
        stored_at=shown.result.stored_at,
        queue_s=_seconds(shown.reserved_at, shown.submission.accepted_at),
        render_s=_seconds(shown.submission.accepted_at, shown.result.completed_at),
        cost_usd=_cost(made, clip.simulated),
        facts=video.facts if video else None,
        poster_path=video.poster_path if video else None,
        fingerprint=shown.fingerprint,
        run_id=shown.run_id,
    )


def _cost(made: Iterable[Attempt], simulated: bool) -> float | None:
    """US dollars that providers bill for a clip: every attempt that was accepted, or may have been, and is as real as it."""
    billed = [a.cost_micros for a in made if a.billed and a.account.simulated == simulated]
    return sum(billed) / MICROS if billed else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)

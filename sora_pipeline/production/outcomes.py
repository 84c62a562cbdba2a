"""How each clip of a production stands, in the words of the output manifest."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt, AttemptState
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.outcome import ClipOutcome, ClipStatus
from sora_pipeline.production.holding import Hold

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


def outcome_of(
    clip: Clip, made: Sequence[Attempt], *, output_uri: str, pending: bool, hold: Hold | None
) -> ClipOutcome:
    """One clip's outcome.

    Args:
        clip: The clip as the snapshot asks for it.
        made: All its attempts, oldest first.
        output_uri: Where the production's videos go; file names are relative to it.
        pending: Whether the ledger would begin an(other) attempt by itself.
        hold: What keeps it from doing so.
    """
    delivered = [a for a in made if a.state is AttemptState.COLLECTED and a.fingerprint == clip.fingerprint]
    shown = delivered[-1] if delivered else next(iter(reversed(made)), None)
    status = ClipStatus.PENDING if shown is None else _status(shown, bool(delivered), pending)
    if shown is None or (status is ClipStatus.PENDING and shown.fingerprint != clip.fingerprint):
        return ClipOutcome(
            clip_id=clip.clip_id,
            status=ClipStatus.PENDING,
            attempts=len(made),
            cost_usd=_cost(made),
            fingerprint=clip.fingerprint,
            error_kind=hold.kind if hold else None,
            error_message=hold.sentence if hold else None,
            retryable=True if hold else None,
        )
    stored = shown if status is ClipStatus.DELIVERED else None
    held = hold if status is ClipStatus.PENDING else None
    return ClipOutcome(
        clip_id=clip.clip_id,
        status=status,
        file_name=stored.file_name if stored else None,
        video_path=f"{output_uri.rstrip('/')}/{stored.file_name}" if stored else None,
        model_returned=shown.model_returned,
        prediction_id=shown.prediction_id,
        provider_status=shown.provider_status,
        attempts=len(made),
        error_kind=held.kind if held else shown.error_kind,
        error_message=held.sentence if held else shown.error_message,
        retryable=True if held else shown.retryable,
        submitted_at=shown.submitted_at,
        completed_at=shown.completed_at,
        stored_at=shown.stored_at,
        queue_s=_seconds(shown.reserved_at, shown.accepted_at),
        render_s=_seconds(shown.accepted_at, shown.completed_at),
        cost_usd=_cost(made),
        bytes=shown.bytes,
        sha256=shown.sha256,
        width=shown.width,
        height=shown.height,
        fps=shown.fps,
        frames=shown.frames,
        duration_s=shown.duration_s,
        video_codec=shown.video_codec,
        has_audio=shown.has_audio,
        c2pa=shown.c2pa,
        poster_path=shown.poster_path,
        fingerprint=shown.fingerprint,
        run_id=shown.run_id,
    )


def _status(shown: Attempt, delivered: bool, pending: bool) -> ClipStatus:
    if delivered:
        return ClipStatus.DELIVERED
    if pending:
        return ClipStatus.PENDING
    given_up = shown.state is AttemptState.SUCCEEDED and shown.reported_at is not None
    return ClipStatus.FAILED if given_up else _STATUS[shown.state]


def _cost(made: Iterable[Attempt]) -> float | None:
    """US dollars that the provider bills for a clip: every attempt that it accepted, or may have."""
    billed = [a.cost_micros for a in made if a.billed]
    return sum(billed) / MICROS if billed else None


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    return None if start is None or end is None else round((end - start).total_seconds(), 3)

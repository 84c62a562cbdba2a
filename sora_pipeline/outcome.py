"""The plain row type that says how one clip ended: what the output manifest reports beside the clip itself.

Made from the ledger and the store by whoever publishes; knows neither of them.
"""

from dataclasses import dataclass
from datetime import datetime

from sora_pipeline.status import ClipStatus
from sora_pipeline.video import VideoFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOutcome:
    """How one clip stands. Everything but the id and the status may be unknown.

    Attributes:
        clip_id: The clip it is about.
        status: Where the clip stands.
        file_name: The video relative to the output folder, ``videos/<clip_id>/<name>.mp4``.
        video_path: The same video as an absolute path or URI.
        account: The account of the last attempt.
        provider: The wire format spoken there.
        model_returned: The model the provider says it used.
        prediction_id: The provider's id of the last attempt.
        provider_status: The provider's own word for how that attempt stands.
        attempts: How many times the clip was begun.
        error_kind: Short machine word for what went wrong.
        error_message: A sentence for people.
        retryable: Whether the same row may succeed when it is tried again.
        submitted_at: When the provider was asked; aware, like the two below.
        completed_at: When the provider was done.
        stored_at: When the checked file was in place.
        queue_s: Seconds the provider kept it waiting.
        render_s: Seconds it rendered.
        cost_usd: What the clip cost so far, all attempts together.
        facts: What the stored video is, as decoded.
        poster_path: Preview picture, relative to the output folder.
        fingerprint: Fingerprint of what was generated; the clip's own where None.
        run_id: The Dagster run that delivered it or failed last.
    """

    clip_id: str
    status: ClipStatus
    file_name: str | None = None
    video_path: str | None = None
    account: str | None = None
    provider: str | None = None
    model_returned: str | None = None
    prediction_id: str | None = None
    provider_status: str | None = None
    attempts: int = 0
    error_kind: str | None = None
    error_message: str | None = None
    retryable: bool | None = None
    submitted_at: datetime | None = None
    completed_at: datetime | None = None
    stored_at: datetime | None = None
    queue_s: float | None = None
    render_s: float | None = None
    cost_usd: float | None = None
    facts: VideoFacts | None = None
    poster_path: str | None = None
    fingerprint: str | None = None
    run_id: str | None = None

    def __post_init__(self) -> None:
        for moment in (self.submitted_at, self.completed_at, self.stored_at):
            if moment is not None and moment.tzinfo is None:
                (name, *_) = (
                    name
                    for name in ("submitted_at", "completed_at", "stored_at")
                    if getattr(self, name) is moment
                )
                raise ValueError(f"{name} of {self.clip_id} has no time zone; pass an aware datetime")

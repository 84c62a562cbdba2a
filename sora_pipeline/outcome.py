"""The plain row type that says how one clip ended: what the output manifest reports beside the clip itself.

Made from the ledger and the store by whoever publishes; knows neither of them.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ClipStatus(StrEnum):
    """Where a clip stands, in the words of the output manifest."""

    DELIVERED = "delivered"
    FAILED = "failed"
    AMBIGUOUS = "ambiguous"
    IN_FLIGHT = "in_flight"
    PENDING = "pending"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipOutcome:
    """How one clip stands. Everything but the id and the status may be unknown.

    Attributes:
        clip_id: The clip it is about.
        status: Where the clip stands.
        file_name: The video relative to the output folder, ``videos/<clip_id>/<name>.mp4``.
        video_path: The same video as an absolute path or URI.
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
        bytes: Size of the file.
        sha256: Hex hash of the file.
        width: Of the video, as decoded; so the next six.
        height: Pixels.
        fps: Frames per second.
        frames: Number of frames that decode.
        duration_s: Seconds of video.
        video_codec: For example ``h264``.
        has_audio: Whether there is a sound track.
        c2pa: Whether the file carries C2PA provenance.
        poster_path: Preview picture, relative to the output folder.
        fingerprint: Fingerprint of what was generated; the clip's own where None.
        run_id: The Dagster run that delivered it or failed last.
    """

    clip_id: str
    status: ClipStatus
    file_name: str | None = None
    video_path: str | None = None
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
    fingerprint: str | None = None
    run_id: str | None = None

    def __post_init__(self) -> None:
        for name in ("submitted_at", "completed_at", "stored_at"):
            moment: datetime | None = getattr(self, name)
            if moment is not None and moment.utcoffset() is None:
                raise ValueError(f"{name} of {self.clip_id} has no time zone; pass an aware datetime")

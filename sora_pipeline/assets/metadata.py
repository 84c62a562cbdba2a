"""What Dagster shows of one clip in each of its two assets."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import dagster as dg

from sora_pipeline.ledger import Attempt
from sora_pipeline.media.poster import data_uri

NEVER_BEGUN = "never begun"
"""The state of a clip without any attempt."""


@dataclass(frozen=True, slots=True)
class Done:
    """What is to be logged for one clip that is as it should be."""

    metadata: Mapping[str, Any]
    data_version: str


def generation(attempt: Attempt, *, fresh: bool) -> Done:
    """A clip that has a prediction; ``fresh``: the run at hand submitted it."""
    metadata: dict[str, Any] = {
        "prediction_id": attempt.prediction_id or "",
        "provider": attempt.provider,
        "model": attempt.model,
        "model_returned": attempt.model_returned or "",
        "cost_usd": float(attempt.cost_usd),
        "attempt": attempt.number,
        "provider_status": attempt.provider_status or "",
        "request": dg.MetadataValue.json(dict(attempt.request_summary or {})),
        "fingerprint": attempt.fingerprint,
        "submitted_by_this_run": fresh,
    }
    if attempt.poll_url is not None:
        metadata["poll_url"] = attempt.poll_url
    return Done(metadata, attempt.fingerprint)


def video(attempt: Attempt, poster: bytes | None) -> Done:
    """A clip whose video is stored; ``poster``: JPEG bytes of a frame, where at hand."""
    metadata: dict[str, Any] = {}
    if poster is not None:
        metadata["poster"] = dg.MetadataValue.md(f"![poster frame]({data_uri(poster)})")
    metadata |= {
        "video": dg.MetadataValue.path(f"{(attempt.output_uri or '').rstrip('/')}/{attempt.file_name}"),
        "prediction_id": attempt.prediction_id or "",
        "provider": attempt.provider,
        "model": attempt.model,
        "model_returned": attempt.model_returned or "",
        "fingerprint": attempt.fingerprint,
        "cost_usd": float(attempt.cost_usd),
        "bytes": attempt.bytes or 0,
        "sha256": attempt.sha256 or "",
        "width": attempt.width or 0,
        "height": attempt.height or 0,
        "frames": attempt.frames or 0,
        "fps": float(attempt.fps or 0),
        "duration_s": float(attempt.duration_s or 0),
        "video_codec": attempt.video_codec or "",
        "has_audio": bool(attempt.has_audio),
        "c2pa": bool(attempt.c2pa),
        "attempt": attempt.number,
    }
    if attempt.accepted_at and attempt.completed_at:
        metadata["render_s"] = (attempt.completed_at - attempt.accepted_at).total_seconds()
    return Done(metadata, attempt.sha256 or attempt.fingerprint)


def ended(attempt: Attempt | None) -> dict[str, Any]:
    """What is known of an attempt without a video: enough to write it into a ledger again, should that be lost."""
    if attempt is None:
        return {"state": NEVER_BEGUN}
    facts = {
        "attempt": attempt.number,
        "state": str(attempt.state),
        "error_kind": attempt.error_kind,
        "error_message": attempt.error_message,
        "retryable": attempt.retryable,
        "possibly_billed": attempt.possibly_billed,
        "provider": attempt.provider,
        "model": attempt.model,
        "fingerprint": attempt.fingerprint,
        "cost_usd": float(attempt.cost_usd),
        "prediction_id": attempt.prediction_id,
        "poll_url": attempt.poll_url,
    }
    return {name: value for name, value in facts.items() if value is not None}

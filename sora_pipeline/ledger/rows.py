"""Between SQL rows and typed values."""

from collections.abc import Mapping
from dataclasses import asdict, fields
from functools import lru_cache
from typing import Any

from sqlalchemy import RowMapping

from sora_pipeline.clip import Clip, Size
from sora_pipeline.ledger.types import (
    Account,
    Attempt,
    AttemptState,
    Failure,
    Lease,
    Polling,
    Production,
    Result,
    Submission,
)
from sora_pipeline.uris import Uri
from sora_pipeline.video import StoredVideo, VideoFacts

_FACTS = tuple(field.name for field in fields(VideoFacts))


def spec_of(clip: Clip) -> dict[str, Any]:
    """A clip as the JSON that the ledger keeps: the image's full address, since it is opened when the clip is submitted."""
    spec = {
        "row_number": clip.row_number,
        "prompt": clip.prompt,
        "image": clip.image and clip.image.reveal(),
        "image_sha256": clip.image_sha256,
        "model": clip.model,
        "simulated": clip.simulated,
        "duration": clip.duration,
        "size": str(clip.size),
        "take": clip.take,
        "carried": dict(clip.carried),
    }
    return spec | {"parameters": dict(clip.parameters)} if clip.parameters else spec


def clip_of(clip_id: str, spec: Mapping[str, Any]) -> Clip:
    """The clip that ``spec_of`` wrote."""
    image = spec["image"] and Uri(spec["image"])
    return Clip(
        clip_id,
        spec["row_number"],
        spec["prompt"],
        image,
        spec["image_sha256"],
        spec["model"],
        spec["simulated"],
        spec["duration"],
        _size(spec["size"]),
        spec.get("take", 1),
        spec.get("carried") or {},
        spec.get("parameters") or {},
    )


@lru_cache(maxsize=256)
def _size(text: str) -> Size:
    """Of a handful of sizes there are very many clips."""
    return Size.parse(text)


def attempt_of(row: RowMapping) -> Attempt:
    """A row of ``attempts``."""
    return Attempt(
        attempt_id=row["attempt_id"],
        clip_key=row["clip_key"],
        number=row["number"],
        round=row["round"],
        fingerprint=row["fingerprint"],
        state=AttemptState(row["state"]),
        batch_id=row["batch_id"],
        account=Account(row["account"], row["provider"], row["simulated"]),
        model=row["model"],
        cost_micros=row["cost_micros"],
        reserved_at=row["reserved_at"],
        lease=Lease(row["owner"], row["lease_until"]),
        submission=Submission(
            submitted_at=row["submitted_at"],
            accepted_at=row["accepted_at"],
            prediction_id=row["prediction_id"],
            poll_url=row["poll_url"],
            model_returned=row["model_returned"],
            request=row["request_summary"],
        ),
        polling=Polling(
            provider_status=row["provider_status"],
            deadline_at=row["deadline_at"],
            next_at=row["next_poll_at"],
            unfinished_at=row["unfinished_at"],
            polls=row["polls"],
            empty_polls=row["empty_polls"],
        ),
        failure=failure_of(row["error_kind"], row["error_message"], row["retryable"]),
        result=Result(
            completed_at=row["completed_at"],
            output_url=row["output_url"],
            expires_at=row["output_expires_at"],
            video=_video(row),
            stored_at=row["stored_at"],
            verified_at=row["verified_at"],
            collect_tries=row["collect_tries"],
        ),
        reported_at=row["reported_at"],
        possibly_billed=row["possibly_billed"],
        run_id=row["run_id"],
    )


def failure_of(kind: str | None, message: str | None, retryable: bool | None) -> Failure | None:
    """Why an attempt failed, as its columns say it; None: it did not."""
    if kind is None and message is None and retryable is None:
        return None
    return Failure(kind or "", message or "", retryable)


def _video(row: RowMapping) -> StoredVideo | None:
    if row["file_name"] is None or row["sha256"] is None:
        return None
    facts = VideoFacts(**{name: row[name] for name in _FACTS})
    return StoredVideo(row["output_uri"] or "", row["file_name"], row["poster_path"], facts)


def row_of(attempt: Attempt) -> dict[str, Any]:
    """The columns of an attempt, but for the id that the ledger gives it."""
    failure = attempt.failure or Failure("", "")
    return {
        "clip_key": attempt.clip_key,
        "production_id": attempt.production_id,
        "number": attempt.number,
        "round": attempt.round,
        "fingerprint": attempt.fingerprint,
        "state": attempt.state,
        "batch_id": attempt.batch_id,
        "account": attempt.account.name,
        "provider": attempt.account.provider,
        "simulated": attempt.account.simulated,
        "model": attempt.model,
        "cost_micros": attempt.cost_micros,
        "reserved_at": attempt.reserved_at,
        "owner": attempt.lease.owner,
        "lease_until": attempt.lease.until,
        "submitted_at": attempt.submission.submitted_at,
        "accepted_at": attempt.submission.accepted_at,
        "prediction_id": attempt.submission.prediction_id,
        "poll_url": attempt.submission.poll_url,
        "model_returned": attempt.submission.model_returned,
        "request_summary": attempt.submission.request,
        "provider_status": attempt.polling.provider_status,
        "deadline_at": attempt.polling.deadline_at,
        "next_poll_at": attempt.polling.next_at,
        "unfinished_at": attempt.polling.unfinished_at,
        "polls": attempt.polling.polls,
        "empty_polls": attempt.polling.empty_polls,
        "error_kind": failure.kind or None,
        "error_message": failure.message or None,
        "retryable": failure.retryable,
        "completed_at": attempt.result.completed_at,
        "output_url": attempt.result.output_url,
        "output_expires_at": attempt.result.expires_at,
        "stored_at": attempt.result.stored_at,
        "verified_at": attempt.result.verified_at,
        "collect_tries": attempt.result.collect_tries,
        "reported_at": attempt.reported_at,
        "possibly_billed": attempt.possibly_billed,
        "run_id": attempt.run_id,
        **video_columns(attempt.result.video),
    }


def video_columns(video: StoredVideo | None) -> dict[str, Any]:
    """The columns that a stored video fills."""
    if video is None:
        return dict.fromkeys((*_FACTS, "output_uri", "file_name", "poster_path"))
    return {
        **asdict(video.facts),
        "output_uri": video.output_uri,
        "file_name": video.file_name,
        "poster_path": video.poster_path,
    }


def production_of(row: RowMapping) -> Production:
    """A row of ``productions``."""
    return Production(**row)

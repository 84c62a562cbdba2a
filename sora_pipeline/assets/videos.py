"""The asset ``videos``: every clip's video is stored and checked."""

from typing import Any

import dagster as dg

from sora_pipeline.assets.clips import (
    ClipsConfig,
    Done,
    Order,
    clip_asset,
    failure,
    materializations,
    observations,
)
from sora_pipeline.assets.generations import generations
from sora_pipeline.ledger import Attempt, AttemptState
from sora_pipeline.media.poster import data_uri
from sora_pipeline.production.collecting import Collected, collect_videos
from sora_pipeline.production.submitting import Ensured, ensure_predictions, fail_transient
from sora_pipeline.resources import DeskResource


@clip_asset(kind="video", after=generations)
async def videos(
    context: dg.AssetExecutionContext, config: ClipsConfig, desk: DeskResource
) -> Any:  # Dagster reads the annotation of an async generator as an output type
    """A checked MP4 file for every clip. A person who materializes it begins a new attempt where none is left."""
    order = Order.of(context)
    async with desk.open(context.run.run_id, context.log.info) as tools:
        ensured = Ensured()
        if order.by_person:
            ensured = await ensure_predictions(
                tools, order.clip_ids, batch_id=order.batch_id, may_begin=True, force=config.force
            )
            fail_transient(tools, ensured)
        wanted = [clip_id for clip_id in order.clip_ids if clip_id not in ensured.failed]
        collected = await collect_videos(tools, wanted, resume_timed_out=order.by_person)
        _report(tools.ledger.attempts.report, collected)
    for clip_id, reason in {**collected.waiting, **ensured.waiting}.items():
        context.log.warning(f"{clip_id} has no video yet: {reason}")
    done = {
        clip_id: _done(attempt, collected.posters.get(clip_id))
        for clip_id, attempt in collected.delivered.items()
    }
    for event in materializations(context, done):
        yield event
    failed = ensured.failed | {clip_id: reason for clip_id, (_, reason) in collected.failed.items()}
    if failed:
        for observation in observations(context, failed):
            yield observation
        raise failure("clips have no video", failed)
    if ensured.stopped:
        raise dg.Failure(ensured.stopped, allow_retries=False)


def _report(report: Any, collected: Collected) -> None:
    """What is still to be fetched stays unreported: another run tries again."""
    ended = (AttemptState.FAILED, AttemptState.TIMED_OUT)
    shown = [attempt.attempt_id for attempt, _ in collected.failed.values() if attempt.state in ended]
    if shown:
        report(shown)


def _done(attempt: Attempt, poster: bytes | None) -> Done:
    metadata: dict[str, Any] = {
        "video": dg.MetadataValue.path(f"{(attempt.output_uri or '').rstrip('/')}/{attempt.file_name}"),
        "prediction_id": attempt.prediction_id or "",
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
    if poster is not None:
        metadata = {"poster": dg.MetadataValue.md(f"![poster frame]({data_uri(poster)})"), **metadata}
    return Done(metadata, attempt.sha256 or attempt.fingerprint)

"""The asset ``videos``: every clip's video is stored and checked."""

from typing import Any

import dagster as dg

from sora_pipeline.assets import metadata
from sora_pipeline.assets.clips import (
    ClipsConfig,
    Order,
    clip_asset,
    failure,
    materializations,
    observations,
    waits,
)
from sora_pipeline.assets.generations import generations
from sora_pipeline.ledger import AttemptState
from sora_pipeline.production.collecting import Collected, collect_videos
from sora_pipeline.production.ensured import Ensured
from sora_pipeline.production.submitting import ensure_predictions, fail_transient
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
    waiting = {**collected.waiting, **ensured.waiting}
    for clip_id, reason in waiting.items():
        context.log.warning(f"{clip_id} has no video yet: {reason}")
    for observation in waits(context, waiting):
        yield observation
    done = {
        clip_id: metadata.video(attempt, collected.posters.get(clip_id))
        for clip_id, attempt in collected.delivered.items()
    }
    for event in materializations(context, done):
        yield event
    failed = ensured.failed | {clip_id: reason for clip_id, (_, reason) in collected.failed.items()}
    if failed:
        for observation in observations(context, desk.ledger.open(), failed):
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

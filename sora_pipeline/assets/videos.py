"""The asset ``videos``: every clip's video is stored and checked."""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from sora_pipeline.assets import metadata
from sora_pipeline.assets.clips import (
    ClipsConfig,
    Order,
    failure,
    materializations,
    observations,
    waits,
)
from sora_pipeline.assets.decorators import clip_asset
from sora_pipeline.ledger import AttemptState
from sora_pipeline.production.collecting import Collected, collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.submit_results import SubmitResults
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.runtime import PipelineRuntime


def build_videos(runtime: PipelineRuntime, options: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The asset of a pipeline that stores its videos."""
    names = runtime.names

    @clip_asset(names, names.videos, options=options)
    async def videos(
        context: dg.AssetExecutionContext, config: ClipsConfig
    ) -> Any:  # Dagster reads the annotation of an async generator as an output type
        """A checked MP4 file for every clip. A person who materializes it begins a new attempt where none is left."""
        async with runtime.open(context.run.run_id, context.log.info) as run_context:
            submits, collected = await _fetch(context, config, run_context)
        waiting = {**collected.waiting, **submits.waiting}
        for key, reason in waiting.items():
            context.log.warning(f"{key} has no video yet: {reason}")
        for observation in waits(context, waiting):
            yield observation
        done = {
            key: metadata.video(attempt, collected.posters.get(key))
            for key, attempt in collected.delivered.items()
        }
        for event in materializations(context, done):
            yield event
        failed = submits.failed | {key: reason for key, (_, reason) in collected.failed.items()}
        if failed:
            for observation in observations(context, runtime.ledger, failed):
                yield observation
            raise failure("clips have no video", failed)
        if submits.stopped:
            raise dg.Failure(submits.stopped, allow_retries=False)

    return videos


async def _fetch(
    context: dg.AssetExecutionContext, config: ClipsConfig, run_context: RunContext
) -> tuple[SubmitResults, Collected]:
    """Submit first where a person asks for a video that nothing was submitted for, then collect."""
    order, submits = Order.of(context, config), SubmitResults()
    if order.by_person:
        submits = await ensure_predictions(
            run_context, order.keys, batch_id=order.batch_id, may_begin=True, force=config.force
        )
    wanted = [key for key in order.keys if key not in submits.failed]
    collected = await collect_videos(run_context, wanted, resume_timed_out=order.by_person)
    _report(run_context.ledger.attempts.report, collected)
    return submits, collected


def _report(report: Any, collected: Collected) -> None:
    """What is still to be fetched stays unreported: another run tries again."""
    ended = (AttemptState.FAILED, AttemptState.TIMED_OUT)
    shown = [attempt.attempt_id for attempt, _ in collected.failed.values() if attempt.state in ended]
    if shown:
        report(shown)

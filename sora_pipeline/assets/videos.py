"""The asset ``videos``: every clip's video is stored and checked."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from sora_pipeline.amounts import counted
from sora_pipeline.assets.background import BackgroundWork
from sora_pipeline.assets.clip_pages import ClipPages
from sora_pipeline.assets.clips import (
    ClipsConfig,
    Order,
    failure,
    is_alone,
    materialization,
    materializations,
    observations,
    waits,
    whole_batch,
)
from sora_pipeline.assets.decorators import clip_asset
from sora_pipeline.assets.metadata import Done
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.production.collecting import Collected, collect_videos
from sora_pipeline.production.context import Leave
from sora_pipeline.production.publishing_meanwhile import PublishingMeanwhile
from sora_pipeline.production.submit_results import SubmitResults
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.runtime import PipelineRuntime


def build_videos(runtime: PipelineRuntime, options: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The asset of a pipeline that stores its videos."""
    names = runtime.names

    @clip_asset(names, names.videos, options=options)
    def videos(
        context: dg.AssetExecutionContext, config: ClipsConfig
    ) -> Any:  # Dagster reads the annotation of a generator as an output type
        """A checked MP4 file for every clip. A person who materializes it begins a new attempt where none is left."""
        order, submits, collected = Order.of(context, config), SubmitResults(), Collected()
        pages = ClipPages(runtime)
        with whole_batch(runtime, order, context.run.run_id):
            for key in _fetch(context, config, runtime, order, submits, collected):
                if key in collected.failed:
                    yield from observations(context, runtime.ledger, {key: collected.failed[key][1]})
                elif key in collected.delivered and is_alone(context):
                    yield materialization(context.asset_key, key, _done(pages, collected, key))
                    collected.unshown.pop(key, None)
            waiting = {**collected.waiting, **submits.waiting}
            if order.by_person:
                yield from waits(context, waiting)
            if not is_alone(context):
                yield from materializations(
                    context, {key: _done(pages, collected, key) for key in collected.delivered}
                )
            failed = submits.failed | {key: reason for key, (_, reason) in collected.failed.items()}
            if failed and (order.by_person or not waiting):
                yield from observations(context, runtime.ledger, submits.failed)
                _report(runtime.ledger, collected, submits)
                raise failure(counted(len(failed), "clip has no video", "clips have no video"), failed)
            if submits.stopped:
                raise dg.Failure(submits.stopped, allow_retries=False)
            _say_what_is_left(context, waiting, failed)

    return videos


def _fetch(
    context: dg.AssetExecutionContext,
    config: ClipsConfig,
    runtime: PipelineRuntime,
    order: Order,
    submits: SubmitResults,
    collected: Collected,
) -> Iterator[str]:
    """Submit first where a person asks for a video that nothing was submitted for, then collect; yields keys as they settle."""
    leave = Leave()

    async def fetch(work: BackgroundWork[Collected]) -> Collected:
        async with runtime.open(context.run.run_id, work.say, leave=leave) as run_context:
            with PublishingMeanwhile(run_context):
                if order.by_person:
                    await ensure_predictions(
                        run_context,
                        order.keys,
                        batch_id=order.batch_id,
                        may_begin=True,
                        force=config.force,
                        asked_at=order.asked_at,
                        results=submits,
                    )
                return await collect_videos(
                    run_context,
                    [key for key in order.keys if key not in submits.failed],
                    resume_timed_out=order.by_person,
                    batch_id=order.batch_id,
                    collected=collected,
                    settled=work.settled,
                )

    yield from BackgroundWork(fetch, leave=leave, log=context.log.info).keys()


def _done(pages: ClipPages, collected: Collected, key: str) -> Done:
    # Shown once, and no longer kept: there may be hundreds.
    return pages.video(collected.delivered[key], collected.posters.pop(key, None))


def _report(ledger: Ledger, collected: Collected, submits: SubmitResults) -> None:
    """What is still to be fetched stays unreported: another run tries again."""
    ended = (AttemptState.FAILED, AttemptState.TIMED_OUT)
    shown = [attempt.attempt_id for attempt, _ in collected.failed.values() if attempt.state in ended]
    newest = {attempt.clip_key: attempt for attempt in ledger.attempts.of_clips(list(submits.failed))}
    shown += [attempt.attempt_id for attempt in newest.values()]
    if shown:
        ledger.attempts.report(shown)


def _say_what_is_left(
    context: dg.AssetExecutionContext, waiting: Mapping[str, str], failed: Mapping[str, str]
) -> None:
    if waiting:
        key, reason = next(iter(waiting.items()))
        context.log.warning(
            f"{counted(len(waiting), 'clip has', 'clips have')} no video yet ({key}, …): {reason}"
        )
    if failed:
        context.log.warning(
            f"{counted(len(failed), 'clip has', 'clips have')} none; a run of their own shows them as failed, since Dagster would show all that this "
            "one has left as failed too"
        )

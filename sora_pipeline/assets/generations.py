"""The asset ``generations``: every clip has a prediction at the provider, paid for once."""

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
    selected,
    waits,
    whole_batch,
)
from sora_pipeline.assets.decorators import clip_asset
from sora_pipeline.assets.metadata import Done
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.production.context import Leave
from sora_pipeline.production.publishing_meanwhile import PublishingMeanwhile
from sora_pipeline.production.submit_results import SubmitResults
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.runtime import PipelineRuntime


def build_generations(runtime: PipelineRuntime, options: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The asset of a pipeline that submits its clips."""
    names = runtime.names

    @clip_asset(names, names.generations, options=options)
    def generations(
        context: dg.AssetExecutionContext, config: ClipsConfig
    ) -> Any:  # Dagster reads the annotation of a generator as an output type
        """A prediction for every clip: submitted once, or found where one exists already."""
        order, results, pages = Order.of(context, config), SubmitResults(), ClipPages(runtime)
        with whole_batch(runtime, order, context.run.run_id):
            for key in _submit(context, config, runtime, order, results):
                if key in results.failed:
                    yield from observations(context, runtime.ledger, {key: results.failed[key]})
                elif key in results.ready and is_alone(context):
                    yield materialization(context.asset_key, key, _done(pages, results, key))
            if order.by_person:
                yield from waits(context, results.waiting)
            if not is_alone(context):
                yield from materializations(
                    context, {key: _done(pages, results, key) for key in results.ready}
                )
            if results.failed and (order.by_person or not results.waiting):
                yield from _delivered_already(context, names.videos, results, pages)
                _report(runtime.ledger, results)
                raise failure(
                    counted(len(results.failed), "clip") + " could not be submitted", results.failed
                )
            if results.stopped and order.by_person:
                raise dg.Failure(results.stopped, allow_retries=False)
            _say_what_is_left(context, results)

    return generations


def _submit(
    context: dg.AssetExecutionContext,
    config: ClipsConfig,
    runtime: PipelineRuntime,
    order: Order,
    results: SubmitResults,
) -> Iterator[str]:
    """Submit what has no prediction; yields keys as it becomes known what becomes of them."""
    leave = Leave()

    async def submit(work: BackgroundWork[SubmitResults]) -> SubmitResults:
        async with runtime.open(context.run.run_id, work.say, leave=leave) as run_context:
            with PublishingMeanwhile(run_context):
                return await ensure_predictions(
                    run_context,
                    order.keys,
                    batch_id=order.batch_id,
                    may_begin=order.by_person,
                    force=config.force,
                    asked_at=order.asked_at,
                    results=results,
                    settled=work.settled,
                )

    yield from BackgroundWork(submit, leave=leave, log=context.log.info).keys()


def _done(pages: ClipPages, results: SubmitResults, key: str) -> Done:
    attempt = results.ready[key]
    return pages.generation(attempt, fresh=attempt.attempt_id in results.fresh)


def _report(ledger: Ledger, results: SubmitResults) -> None:
    """This run shows these failures, by failing: no other one has to."""
    newest = {attempt.clip_key: attempt for attempt in ledger.attempts.of_clips(list(results.failed))}
    ledger.attempts.report([attempt.attempt_id for attempt in newest.values()])


def _say_what_is_left(context: dg.AssetExecutionContext, results: SubmitResults) -> None:
    """One line for each reason: a run may leave hundreds of clips to the next."""
    for reason, keys in results.waiting_by_reason().items():
        context.log.warning(
            f"{counted(len(keys), 'clip was', 'clips were')} not submitted ({keys[0]}, …): {reason}"
        )
    if results.failed:
        context.log.warning(
            f"{counted(len(results.failed), 'clip')} could not be submitted; a run of their own shows them as failed, since Dagster would "
            "show all that this one has left as failed too"
        )


def _delivered_already(
    context: dg.AssetExecutionContext, videos: dg.AssetKey, submits: SubmitResults, pages: ClipPages
) -> Iterator[dg.AssetMaterialization]:
    """Where ``videos`` was to follow in a run that fails here, its delivered clips would turn red for no reason."""
    if videos not in selected(context):
        return
    for key, attempt in submits.ready.items():
        if attempt.state is AttemptState.COLLECTED:
            yield materialization(videos, key, pages.video(attempt))

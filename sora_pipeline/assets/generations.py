"""The asset ``generations``: every clip has a prediction at the provider, paid for once."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg

from sora_pipeline.assets import metadata
from sora_pipeline.assets.clips import (
    ClipsConfig,
    Order,
    failure,
    materialization,
    materializations,
    observations,
    selected,
    waits,
)
from sora_pipeline.assets.decorators import clip_asset
from sora_pipeline.ledger import AttemptState
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.submit_results import SubmitResults
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.runtime import PipelineRuntime


def build_generations(runtime: PipelineRuntime, options: Mapping[str, Any]) -> dg.AssetsDefinition:
    """The asset of a pipeline that submits its clips."""
    names = runtime.names

    @clip_asset(names, names.generations, options=options)
    async def generations(
        context: dg.AssetExecutionContext, config: ClipsConfig
    ) -> Any:  # Dagster reads the annotation of an async generator as an output type
        """A prediction for every clip: submitted once, or found where one exists already."""
        async with runtime.open(context.run.run_id, context.log.info) as run_context:
            submits = await _submit(context, config, run_context)
        for key, reason in submits.waiting.items():
            context.log.warning(f"{key} was not submitted: {reason}")
        for observation in waits(context, submits.waiting):
            yield observation
        done = {
            key: metadata.generation(attempt, fresh=attempt.attempt_id in submits.fresh)
            for key, attempt in submits.ready.items()
        }
        for event in materializations(context, done):
            yield event
        if submits.failed:
            for observation in observations(context, runtime.ledger, submits.failed):
                yield observation
            for event in _delivered_already(context, names.videos, submits):
                yield event
            raise failure("clips could not be submitted", submits.failed)
        if submits.stopped:
            raise dg.Failure(submits.stopped, allow_retries=False)

    return generations


async def _submit(
    context: dg.AssetExecutionContext, config: ClipsConfig, run_context: RunContext
) -> SubmitResults:
    """Submit what has no prediction."""
    order = Order.of(context, config)
    return await ensure_predictions(
        run_context, order.keys, batch_id=order.batch_id, may_begin=order.by_person, force=config.force
    )


def _delivered_already(
    context: dg.AssetExecutionContext, videos: dg.AssetKey, submits: SubmitResults
) -> Iterator[dg.AssetMaterialization]:
    """Where ``videos`` was to follow in a run that fails here, its delivered clips would turn red for no reason."""
    if videos not in selected(context):
        return
    for key, attempt in submits.ready.items():
        if attempt.state is AttemptState.COLLECTED:
            yield materialization(videos, key, metadata.video(attempt, None))

"""The asset ``generations``: every clip has a prediction at the provider, paid for once."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from sora_pipeline.assets import metadata
from sora_pipeline.assets.clips import (
    RETRIES,
    ClipsConfig,
    Order,
    clip_asset,
    failure,
    materialization,
    materializations,
    observations,
    selected,
    waits,
)
from sora_pipeline.assets.prompt_manifest import prompt_manifest
from sora_pipeline.ledger import AttemptState
from sora_pipeline.production.ensured import Ensured
from sora_pipeline.production.submitting import ensure_predictions, fail_transient, retry_wait_s
from sora_pipeline.resources import DeskResource

VIDEOS = dg.AssetKey("videos")


@clip_asset(kind="python", after=prompt_manifest)
async def generations(
    context: dg.AssetExecutionContext, config: ClipsConfig, desk: DeskResource
) -> Any:  # Dagster reads the annotation of an async generator as an output type
    """A prediction for every clip: submitted once, or found where one exists already."""
    order = Order.of(context)
    async with desk.open(context.run.run_id, context.log.info) as tools:
        ensured = await ensure_predictions(
            tools,
            order.clip_ids,
            batch_id=order.batch_id,
            may_begin=order.by_person,
            force=config.force,
        )
        if ensured.transient and context.retry_number < RETRIES:
            raise dg.RetryRequested(max_retries=RETRIES, seconds_to_wait=retry_wait_s(tools, ensured))
        fail_transient(tools, ensured)
    for clip_id, reason in ensured.waiting.items():
        context.log.warning(f"{clip_id} was not submitted: {reason}")
    for observation in waits(context, ensured.waiting):
        yield observation
    done = {
        clip_id: metadata.generation(attempt, fresh=attempt.attempt_id in ensured.fresh)
        for clip_id, attempt in ensured.ready.items()
    }
    for event in materializations(context, done):
        yield event
    if ensured.failed:
        for observation in observations(context, desk.ledger.open(), ensured.failed):
            yield observation
        for event in _delivered_already(context, ensured):
            yield event
        raise failure("clips could not be submitted", ensured.failed)
    if ensured.stopped:
        raise dg.Failure(ensured.stopped, allow_retries=False)


def _delivered_already(
    context: dg.AssetExecutionContext, ensured: Ensured
) -> Iterator[dg.AssetMaterialization]:
    """Where ``videos`` was to follow in a run that fails here, its delivered clips would turn red for no reason."""
    if VIDEOS not in selected(context):
        return
    for clip_id, attempt in ensured.ready.items():
        if attempt.state is AttemptState.COLLECTED:
            yield materialization(VIDEOS, clip_id, metadata.video(attempt, None))

"""The asset ``generations``: every clip has a prediction at the provider, paid for once."""

from typing import Any

import dagster as dg

from sora_pipeline.assets.clips import (
    RETRIES,
    ClipsConfig,
    Done,
    Order,
    clip_asset,
    failure,
    materializations,
    observations,
)
from sora_pipeline.assets.prompt_manifest import prompt_manifest
from sora_pipeline.ledger import Attempt
from sora_pipeline.production.submitting import Ensured, ensure_predictions, fail_transient, retry_wait_s
from sora_pipeline.resources import DeskResource


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
    done = {clip_id: _done(ensured, attempt) for clip_id, attempt in ensured.ready.items()}
    for event in materializations(context, done):
        yield event
    if ensured.failed:
        for observation in observations(context, ensured.failed):
            yield observation
        raise failure("clips could not be submitted", ensured.failed)
    if ensured.stopped:
        raise dg.Failure(ensured.stopped, allow_retries=False)


def _done(ensured: Ensured, attempt: Attempt) -> Done:
    fresh = attempt.attempt_id in ensured.fresh
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
    return Done(metadata, attempt.fingerprint)

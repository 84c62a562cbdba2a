"""What the two assets that have a partition for every clip share."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import dagster as dg
from pydantic import Field
from sqlalchemy.exc import DBAPIError

from sora_pipeline.assets.metadata import Done, ended
from sora_pipeline.ledger import Ledger
from sora_pipeline.names import (
    BATCH_TAG,
    PARENT_RUN_TAG,
    REQUESTED_BY_TAG,
    RETRY_NUMBER_TAG,
    ROOT_RUN_TAG,
)
from sora_pipeline.runtime import PipelineRuntime

MOST_NAMED = 20
"""Clips whose reasons a failed run's sentence has."""


class ClipsConfig(dg.Config):
    """How to treat clips that are done already."""

    force: bool = Field(
        default=False,
        description="Generate a clip once more although it is delivered and nothing about it changed. It costs again.",
    )


@dataclass(frozen=True, slots=True)
class Order:
    """What a run was asked to do.

    Attributes:
        keys: Its partitions, which are clip keys, in the definition's order.
        batch_id: The batch whose reservations it may use. One that is forced shares it with all its re-executions, so that
            they are worth one new attempt together.
        by_person: Whether a person asked, and not a sensor: only then it may begin attempts by itself.
        asked_at: When the person did; None: a sensor did.
    """

    keys: Sequence[str]
    batch_id: str
    by_person: bool
    asked_at: datetime | None

    @classmethod
    def of(cls, context: dg.AssetExecutionContext, config: ClipsConfig) -> "Order":
        """Read the run's tags and config."""
        tags, run_id = context.run.tags, context.run.run_id
        by_person = requested_by_person(tags)
        if config.force:
            batch_id = f"forced-{tags.get(ROOT_RUN_TAG, run_id)}"
        else:
            batch_id = run_id if by_person else tags.get(BATCH_TAG, run_id)
        asked_at = _created_at(context) if by_person else None
        return cls(context.partition_keys, batch_id, by_person, asked_at)


@contextmanager
def whole_batch(runtime: PipelineRuntime, order: Order, run_id: str) -> Iterator[None]:
    """End a run's batch once Dagster was told of all that has become of it; what else is left of it, sensors find and go on with."""
    try:
        yield
    except dg.Failure:
        _end(runtime, order, run_id)
        raise
    _end(runtime, order, run_id)


def _end(runtime: PipelineRuntime, order: Order, run_id: str) -> None:
    with suppress(DBAPIError):  # sensors find that the run has ended
        for batch_id in {order.batch_id, run_id}:  # it has one of its own where another run had the batch
            runtime.ledger.batches.end(batch_id, run_id)


def _created_at(context: dg.AssetExecutionContext) -> datetime | None:
    """When a run came into being: it may have waited in the queue since."""
    record = context.instance.get_run_record_by_id(context.run.run_id)
    if record is None:
        return None
    created: datetime = record.create_timestamp
    return created if created.tzinfo else created.replace(tzinfo=UTC)


def requested_by_person(tags: Mapping[str, str]) -> bool:
    """Whether a run with these tags was asked for by a person, and not by a sensor.

    A sensor's run that a person re-executes in the UI carries the sensor's tags all the same; one that the daemon
    starts over, after a crash, is numbered.
    """
    re_executed = PARENT_RUN_TAG in tags and RETRY_NUMBER_TAG not in tags
    return re_executed or REQUESTED_BY_TAG not in tags


def materializations(
    context: dg.AssetExecutionContext, done: Mapping[str, Done]
) -> Iterator[dg.AssetMaterialization | dg.MaterializeResult[None]]:
    """One materialization a clip, with its own metadata.

    A step that yields no output makes its dependents in the same run skip, so where all went well and others depend
    on it, Dagster logs the materializations itself; the data version is then one for the whole range.
    """
    everything = set(done) == set(context.partition_keys)
    if everything and len(selected(context)) > 1:
        for key, clip in done.items():
            context.add_asset_metadata(dict(clip.metadata), partition_key=key)
        yield dg.MaterializeResult()
        return
    for key, clip in done.items():
        yield materialization(context.asset_key, key, clip)


def materialization(asset: dg.AssetKey, partition: str, done: Done) -> dg.AssetMaterialization:
    """One clip's materialization, with a data version of its own."""
    return dg.AssetMaterialization(
        asset,
        partition=partition,
        metadata=dict(done.metadata),
        tags={"dagster/data_version": done.data_version, "dagster/data_version_is_user_provided": "true"},
    )


def selected(context: dg.AssetExecutionContext) -> frozenset[dg.AssetKey]:
    """The assets that the run at hand materializes."""
    # A run names its assets where a person chose some; one of a whole job, or of dg.materialize, does not.
    return frozenset(context.run.asset_selection or context.job_def.asset_layer.executable_asset_keys)


def is_alone(context: dg.AssetExecutionContext) -> bool:
    """Whether the run at hand materializes this asset only: then each clip can be shown as soon as it is done."""
    return selected(context) == {context.asset_key}


def observations(
    context: dg.AssetExecutionContext, ledger: Ledger, failed: Mapping[str, str]
) -> Iterator[dg.AssetObservation]:
    """Why each clip failed, where people look: among the events of its own partition."""
    newest = {attempt.clip_key: attempt for attempt in ledger.attempts.of_clips(list(failed))}
    for key, reason in failed.items():
        facts = {"failed": reason, **ended(newest.get(key))}
        yield dg.AssetObservation(context.asset_key, partition=key, description=reason, metadata=facts)


def waits(context: dg.AssetExecutionContext, waiting: Mapping[str, str]) -> Iterator[dg.AssetObservation]:
    """Why each clip was left to a later run; also says for ever that this one did not submit it."""
    for key, reason in waiting.items():
        yield dg.AssetObservation(
            context.asset_key, partition=key, description=reason, metadata={"waiting": reason}
        )


def failure(what: str, failed: Mapping[str, str]) -> dg.Failure:
    """The end of a run in which clips failed: their partitions turn red, all others stay as they are."""
    table = "\n".join(f"| {key} | {_cell(reason)} |" for key, reason in failed.items())
    # The page of a red partition leads to this sentence first: each clip is to be found in it.
    shown = "\n".join(f"{key}: {reason}" for key, reason in list(failed.items())[:MOST_NAMED])
    more = f"\nand {len(failed) - MOST_NAMED} more, see the metadata" if len(failed) > MOST_NAMED else ""
    return dg.Failure(
        description=f"{what}: {shown}{more}",
        metadata={
            "failed_clips": dg.MetadataValue.md(f"| clip | reason |\n|---|---|\n{table}"),
            "failed": len(failed),
        },
        allow_retries=False,
    )


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")

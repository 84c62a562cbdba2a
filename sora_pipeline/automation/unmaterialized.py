"""Clips that are done, and whose run died before Dagster was told: a run over just those materializes them, for nothing."""

import uuid
from collections.abc import Iterator, Sequence

import dagster as dg

from sora_pipeline.amounts import counted, listed
from sora_pipeline.assets.decorators import clip_partitions
from sora_pipeline.automation.at_work import Abandoned, goes_on
from sora_pipeline.automation.planning import contiguous_ranges
from sora_pipeline.automation.requests import partition_order, range_request, requested_lease_s
from sora_pipeline.ledger import ClipStanding
from sora_pipeline.ledger.batches import GENERATIONS, VIDEOS, Batch
from sora_pipeline.names import BATCH_TAG
from sora_pipeline.production.decisions import HAS_PREDICTION
from sora_pipeline.runtime import PipelineRuntime

MOST_TRIES = 3
PREFIX = "materialize"
"""Begins the names of batches of such runs; the number of the try follows."""


def end_abandoned(
    instance: dg.DagsterInstance,
    runtime: PipelineRuntime,
    abandoned: Sequence[Abandoned],
    asset: str,
    sensor: str,
) -> Iterator[dg.RunRequest]:
    """End the batches of one asset that were left behind, and request runs over what is done of them and not materialized.

    Args:
        instance: Where the runs are.
        runtime: Of the pipeline.
        abandoned: Batches of any asset.
        asset: ``generations`` or ``videos``.
        sensor: Which asks for the runs.
    """
    for each in abandoned:
        # While Dagster takes the run for one that goes on, it shows its partitions as being made.
        if each.batch.asset == asset and not goes_on(instance, runtime, each.batch):
            yield from _requests(instance, runtime, each.batch, sensor)
            runtime.ledger.batches.end(each.batch.batch_id)


def _requests(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, batch: Batch, sensor: str
) -> Iterator[dg.RunRequest]:
    tries = _tries(batch.batch_id)
    names, ledger = runtime.names, runtime.ledger
    standings = ledger.clips.standings(batch.keys)
    done = [key for key, standing in standings.items() if _is_done(standing, batch.asset)]
    if not done:
        return
    # First of all: Dagster knows nothing of a partition that it does not have.
    order = partition_order(instance, names, done)
    missing = _missing(instance, runtime, batch.asset, done)
    if tries >= MOST_TRIES:
        if missing:
            dg.get_dagster_logger().warning(_nobody_tells(missing, batch.asset))
        return
    job_name = {GENERATIONS: names.generations_job, VIDEOS: names.videos_job}[batch.asset]
    for partitions in contiguous_ranges(missing, order, runtime.settings.batch_size):
        batch_id = f"{PREFIX}-{tries + 1}-{uuid.uuid4().hex[:12]}"
        ledger.batches.plan(
            batch_id,
            pipeline=names.name,
            account=runtime.account.name,
            asset=batch.asset,
            keys=partitions.keys,
            lease_s=requested_lease_s(runtime.settings),
        )
        yield range_request(
            partitions, job_name=job_name, run_key=batch_id, sensor=sensor, tags={BATCH_TAG: batch_id}
        )


def _nobody_tells(missing: Sequence[str], asset: str) -> str:
    """What a person can do where each run ends before Dagster is told."""
    are = counted(len(missing), "clip is", "clips are")
    return (
        f"{are} done, and not materialized in Dagster: the last {MOST_TRIES} runs that were to tell it ended before. Look at their logs, then "
        f"materialize {asset} of {listed(missing)} in the Dagster UI, which costs nothing"
    )


def _missing(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, asset: str, done: Sequence[str]
) -> list[str]:
    """Those of the clips that are done in the ledger that are neither green in Dagster nor about to be."""
    names = runtime.names
    key_of_asset = names.generations if asset == GENERATIONS else names.videos
    statuses = instance.get_status_by_partition(key_of_asset, done, clip_partitions(names)) or {}
    shown = {"MATERIALIZED", "IN_PROGRESS"}
    return [key for key in done if (status := statuses.get(key)) is None or status.value not in shown]


def _is_done(standing: ClipStanding, asset: str) -> bool:
    """Whether a clip is to be green."""
    latest = standing.latest
    if latest is None or not latest.live:
        return standing.delivered is not None
    return asset == GENERATIONS and latest.state in HAS_PREDICTION


def _tries(batch_id: str) -> int:
    """Which try a batch was."""
    prefix, _, rest = batch_id.partition("-")
    number = rest.partition("-")[0]
    return int(number) if prefix == PREFIX and number.isdecimal() else 0

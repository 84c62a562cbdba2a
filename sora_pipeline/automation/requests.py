"""Run requests and the runs they became: one place for the tags of range runs."""

import time
from collections.abc import Iterable, Mapping

import dagster as dg

from sora_pipeline.automation.planning import PartitionRange
from sora_pipeline.names import (
    CLIPS_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REQUESTED_BY_TAG,
    PipelineNames,
)
from sora_pipeline.run_locks import RunProcess, forget, locked_runs, process_of
from sora_pipeline.runtime import PipelineRuntime
from sora_pipeline.settings import Settings

START_S = 30.0
"""Seconds that a run may take from being requested to its first sign of life, beside the lease."""

NOT_STARTED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
]


def requested_lease_s(settings: Settings) -> float:
    """Seconds for which clips are left to a run that was requested, before another is."""
    return settings.lease_s + START_S


def partition_order(
    instance: dg.DagsterInstance, names: PipelineNames, wanted: Iterable[str]
) -> dict[str, int]:
    """Position of every live partition key of a pipeline; ranges mean this order.

    Args:
        instance: Where the partitions are.
        names: Of the pipeline.
        wanted: Clips that are to be worked on. Those of a ledger that was migrated, rebuilt or adopted have no partition
            yet, and get one.
    """
    known = instance.get_dynamic_partitions(names.clips)
    missing = sorted(set(wanted) - set(known))
    if missing:
        instance.add_dynamic_partitions(names.clips, missing)
        known = instance.get_dynamic_partitions(names.clips)
    return {key: at for at, key in enumerate(known)}


def range_request(
    partitions: PartitionRange, *, job_name: str, run_key: str, sensor: str, tags: Mapping[str, str]
) -> dg.RunRequest:
    """A run over neighbouring partitions."""
    shown = (
        partitions.first
        if len(partitions.keys) == 1
        else f"{partitions.first} … {partitions.last} ({len(partitions.keys)})"
    )
    return dg.RunRequest(
        run_key=run_key,
        job_name=job_name,
        tags={
            RANGE_START_TAG: partitions.first,
            RANGE_END_TAG: partitions.last,
            REQUESTED_BY_TAG: sensor,
            CLIPS_TAG: shown,
            **tags,
        },
    )


def waiting_runs(instance: dg.DagsterInstance, job_name: str, tag: str, value: str) -> bool:
    """Whether a requested run has still to begin."""
    filters = dg.RunsFilter(job_name=job_name, tags={tag: value}, statuses=NOT_STARTED)
    return bool(instance.get_runs(filters=filters, limit=1))


def under_way(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, job_name: str, tag: str, value: str
) -> bool:
    """Whether a requested run has still to begin, or is known to work."""
    if waiting_runs(instance, job_name, tag, value):
        return True
    filters = dg.RunsFilter(job_name=job_name, tags={tag: value}, statuses=[dg.DagsterRunStatus.STARTED])
    locks = runtime.run_locks
    return any(
        process_of(locks, run.run_id) is RunProcess.LIVES for run in instance.get_runs(filters=filters)
    )


def waiting_clips(instance: dg.DagsterInstance, job_name: str, order: Mapping[str, int]) -> set[str]:
    """Clips of requested runs that have still to begin.

    Args:
        instance: Where the runs are.
        job_name: Of the runs.
        order: Position of every live partition key.
    """
    keys = list(order)
    waiting: set[str] = set()
    for run in instance.get_runs(filters=dg.RunsFilter(job_name=job_name, statuses=NOT_STARTED)):
        first, last = (order.get(run.tags.get(tag, "")) for tag in (RANGE_START_TAG, RANGE_END_TAG))
        if first is not None and last is not None:
            waiting.update(keys[first : last + 1])
    return waiting


def fail_expired_runs(instance: dg.DagsterInstance, runtime: PipelineRuntime, tag: str, value: str) -> None:
    """Mark started submitting runs failed that let their claims expire: their processes are gone, as far as anybody can see.

    A run that is known to live was only thought dead, because a clock was set; it goes on.
    """
    job_name = runtime.names.generations_job
    filters = dg.RunsFilter(job_name=job_name, tags={tag: value}, statuses=[dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(filters=filters):
        if process_of(runtime.run_locks, run.run_id) is not RunProcess.LIVES:
            _fail_run(instance, run, "it let its claims in the ledger expire")


def fail_killed_runs(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, location: str | None = None
) -> None:
    """Mark runs of this pipeline failed whose process on this machine was killed.

    The code server that launched a run says so too, if it outlives the run. Where both died nothing else ever would,
    and the run would hold a place in the queue for ever.

    Args:
        instance: Where the runs are.
        runtime: Of the pipeline.
        location: The code location that it is in; jobs of another one may have the same names.
    """
    locks = runtime.run_locks
    for run_id, process in locked_runs(locks).items():
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished and process is RunProcess.KILLED:
            _fail_run(instance, run, "it was killed, or the machine went down")
        if run is None or run.is_finished or process is RunProcess.KILLED:
            forget(locks, run_id)
    if instance.run_launcher.supports_check_run_worker_health:
        return  # Dagster asks it, and its workers may show themselves on other machines
    started = dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])
    for record in instance.get_run_records(filters=started):
        run = record.dagster_run
        # Killed after Dagster had noted its start, and before it could show itself.
        long_ago = record.start_time is not None and time.time() - record.start_time > START_S
        ours = run.job_name in runtime.names.jobs and _may_be_in(run, location)
        if ours and long_ago and process_of(locks, run.run_id) is RunProcess.UNKNOWN:
            _fail_run(instance, run, "it was killed before it did anything")


def _may_be_in(run: dg.DagsterRun, location: str | None) -> bool:
    """Whether a run is of this code location, as far as is known."""
    if location is None or run.remote_job_origin is None:
        return True
    return run.remote_job_origin.repository_origin.code_location_origin.location_name == location


def _fail_run(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    instance.report_run_failed(run, f"The run's process is gone: {why}. Another run goes on.")

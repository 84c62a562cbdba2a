"""Run requests and the runs they became: one place for the tags of range runs."""

import time
from collections.abc import Iterable, Mapping, Sequence

import dagster as dg

from sora_pipeline.automation.planning import PartitionRange
from sora_pipeline.ledger import Attempt
from sora_pipeline.names import (
    BATCH_TAG,
    CLIPS_TAG,
    PARTITION_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REQUESTED_BY_TAG,
    RUN_KEY_TAG,
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
    return clips_of(instance.get_runs(filters=dg.RunsFilter(job_name=job_name, statuses=NOT_STARTED)), order)


def clips_of(runs: Iterable[dg.DagsterRun], order: Mapping[str, int]) -> set[str]:
    """Clips that runs were requested for, whether as a range or one by one.

    Args:
        runs: The runs.
        order: Position of every live partition key.
    """
    keys = list(order)
    clips: set[str] = set()
    for run in runs:
        first, last = (order.get(run.tags.get(tag, "")) for tag in (RANGE_START_TAG, RANGE_END_TAG))
        if first is not None and last is not None:
            clips.update(keys[first : last + 1])
        elif (key := run.tags.get(PARTITION_TAG)) is not None:
            clips.add(key)
    return clips


def runs_of_batch(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, reserved: Sequence[Attempt]
) -> list[dg.DagsterRun]:
    """The runs that were to submit reservations of one batch: those that sensors requested for it, and a person's own."""
    tags = {BATCH_TAG: reserved[0].batch_id}
    runs = list(instance.get_runs(filters=dg.RunsFilter(job_name=runtime.names.generations_job, tags=tags)))
    owners = {attempt.lease.owner for attempt in reserved} - {run.run_id for run in runs}
    owned = (instance.get_run_by_id(owner) for owner in owners if owner)
    return runs + [run for run in owned if run is not None]


def terminated(
    runs: Iterable[dg.DagsterRun], reserved: Sequence[Attempt], order: Mapping[str, int]
) -> list[Attempt]:
    """Those reservations whose run a person ended: Dagster calls only such runs canceled.

    Args:
        runs: The runs of their batch.
        reserved: The reservations.
        order: Position of every live partition key.
    """
    canceled = {run.run_id: run for run in runs if run.status is dg.DagsterRunStatus.CANCELED}
    keys = clips_of(canceled.values(), order)
    return [attempt for attempt in reserved if attempt.lease.owner in canceled or attempt.clip_key in keys]


def requested_tries(runs: Iterable[dg.DagsterRun]) -> set[str]:
    """The numbers under which runs of a batch were requested: one number a time, however many runs that were."""
    keys = (run.tags.get(RUN_KEY_TAG, "").split(":", 3) for run in runs)
    return {parts[2] for parts in keys if len(parts) == 4}


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
        elif run is not None and run.status in NOT_STARTED and process is RunProcess.ENDED:
            _fail_run(instance, run, "it was stopped before the run began")
        ended = process is not RunProcess.LIVES if run is None else run.is_finished  # or is about to be made
        if ended or process is RunProcess.KILLED:
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

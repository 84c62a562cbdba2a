"""Run requests and the runs they became: one place for the tags of range runs."""

import time
from collections.abc import Mapping

import dagster as dg

from sora_pipeline.automation.planning import Stretch
from sora_pipeline.living import Life, forget, life_of, shown_runs
from sora_pipeline.names import (
    CLIPS_TAG,
    GENERATIONS_JOB,
    MANIFEST_JOB,
    PUBLISH_JOB,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REQUESTED_BY_TAG,
    VIDEOS_JOB,
)
from sora_pipeline.settings import Settings, dagster_home

START_S = 30.0
"""Seconds that a run may take from being requested to its first sign of life, beside the lease."""

NOT_STARTED = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
]
_JOBS = (MANIFEST_JOB, GENERATIONS_JOB, VIDEOS_JOB, PUBLISH_JOB)


def requested_lease_s(settings: Settings) -> float:
    """Seconds for which clips are left to a run that was requested, before another is."""
    return settings.lease_s + START_S


def range_request(
    stretch: Stretch, *, job_name: str, run_key: str, sensor: str, tags: Mapping[str, str]
) -> dg.RunRequest:
    """A run over neighbouring partitions."""
    shown = (
        stretch.first if len(stretch.keys) == 1 else f"{stretch.first} … {stretch.last} ({len(stretch.keys)})"
    )
    return dg.RunRequest(
        run_key=run_key,
        job_name=job_name,
        tags={
            RANGE_START_TAG: stretch.first,
            RANGE_END_TAG: stretch.last,
            REQUESTED_BY_TAG: sensor,
            CLIPS_TAG: shown,
            **tags,
        },
    )


def waiting_runs(instance: dg.DagsterInstance, job_name: str, tag: str, value: str) -> bool:
    """Whether a requested run has still to begin."""
    filters = dg.RunsFilter(job_name=job_name, tags={tag: value}, statuses=NOT_STARTED)
    return bool(instance.get_runs(filters=filters, limit=1))


def under_way(instance: dg.DagsterInstance, job_name: str, tag: str, value: str) -> bool:
    """Whether a requested run has still to begin, or is known to work."""
    if waiting_runs(instance, job_name, tag, value):
        return True
    filters = dg.RunsFilter(job_name=job_name, tags={tag: value}, statuses=[dg.DagsterRunStatus.STARTED])
    home = dagster_home()
    return any(life_of(home, run.run_id) is Life.LIVES for run in instance.get_runs(filters=filters))


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


def bury_expired_runs(instance: dg.DagsterInstance, job_name: str, tag: str, value: str) -> None:
    """Mark started runs failed that let their claims expire: their processes are gone, as far as anybody can see.

    A run that is known to live was only thought dead, because a clock was set; it goes on.
    """
    filters = dg.RunsFilter(job_name=job_name, tags={tag: value}, statuses=[dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(filters=filters):
        if life_of(dagster_home(), run.run_id) is not Life.LIVES:
            _bury(instance, run, "it let its claims in the ledger expire")


def bury_killed_runs(instance: dg.DagsterInstance) -> None:
    """Mark runs failed whose process on this machine was killed.

    The code server that launched a run says so too, if it outlives the run. Where both died nothing else ever would,
    and the run would hold a place in the queue for ever.
    """
    home = dagster_home()
    for run_id, life in shown_runs(home).items():
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished and life is Life.KILLED:
            _bury(instance, run, "it was killed, or the machine went down")
        if run is None or run.is_finished or life is Life.KILLED:
            forget(home, run_id)
    if instance.run_launcher.supports_check_run_worker_health:
        return  # Dagster asks it, and its workers may show themselves on other machines
    for record in instance.get_run_records(filters=dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED])):
        run = record.dagster_run
        # Killed after Dagster had noted its start, and before it could show itself.
        long_ago = record.start_time is not None and time.time() - record.start_time > START_S
        if run.job_name in _JOBS and long_ago and life_of(home, run.run_id) is Life.UNKNOWN:
            _bury(instance, run, "it was killed before it did anything")


def _bury(instance: dg.DagsterInstance, run: dg.DagsterRun, why: str) -> None:
    instance.report_run_failed(run, f"The run's process is gone: {why}. Another run goes on.")

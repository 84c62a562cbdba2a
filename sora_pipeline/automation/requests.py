"""Run requests and the runs they became: one place for the tags of range runs."""

from collections.abc import Mapping

import dagster as dg

from sora_pipeline.automation.planning import Stretch
from sora_pipeline.names import (
    CLIPS_TAG,
    RANGE_END_TAG,
    RANGE_START_TAG,
    REQUESTED_BY_TAG,
)
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


def bury_dead_runs(instance: dg.DagsterInstance, job_name: str, tag: str, value: str) -> None:
    """Mark started runs failed whose process is gone: nothing else does, and they would hold a place for ever."""
    filters = dg.RunsFilter(job_name=job_name, tags={tag: value}, statuses=[dg.DagsterRunStatus.STARTED])
    for run in instance.get_runs(filters=filters):
        instance.report_run_failed(
            run, "The run's process is gone: it let its claims in the ledger expire. Another run goes on."
        )

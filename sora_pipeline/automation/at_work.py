"""Which batches have a run that works on them, which are over, and which runs are to make way for others."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import dagster as dg

from sora_pipeline.automation.requests import NOT_STARTED, requested_lease_s
from sora_pipeline.ledger.batches import Batch
from sora_pipeline.names import BATCH_TAG
from sora_pipeline.run_locks import RunProcess, process_of
from sora_pipeline.runtime import PipelineRuntime

MOST_RUNS_OF_AN_ASSET = 4
"""Runs of one pipeline that go on at the same time for one asset; one does nearly always."""
OTHERS = 2
"""Places in Dagster's queue that are left to runs of other kinds: the manifest's, publishing, a person's."""
LEFT_ALONE = timedelta(seconds=60)
"""For how long a run works before others may have it leave."""
QUEUED_S = 10.0
"""Seconds that a run may wait for a place before one that goes on makes way for it."""

_GOING_ON = [dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]


@dataclass(frozen=True, slots=True)
class Abandoned:
    """A batch whose run is gone, and did not end it.

    Attributes:
        batch: The batch.
        terminated: Whether a person terminated the run.
    """

    batch: Batch
    terminated: bool


def batches_at_work(
    instance: dg.DagsterInstance, runtime: PipelineRuntime
) -> tuple[list[Batch], list[Abandoned]]:
    """A pipeline's batches that have a run, or for which one is on its way; and those that were left behind."""
    at_work: list[Batch] = []
    abandoned: list[Abandoned] = []
    for batch in runtime.ledger.batches.unfinished(runtime.names.name):
        runs = _runs_of(instance, runtime, batch)
        if _is_at_work(runtime, batch, runs):
            at_work.append(batch)
            continue
        terminated = bool(runs) and runs[0].status is dg.DagsterRunStatus.CANCELED
        abandoned.append(Abandoned(batch, terminated))
    return at_work, abandoned


def goes_on(instance: dg.DagsterInstance, runtime: PipelineRuntime, batch: Batch) -> bool:
    """Whether Dagster takes a run of a batch for one that goes on."""
    return any(not run.is_finished for run in _runs_of(instance, runtime, batch))


def _runs_of(instance: dg.DagsterInstance, runtime: PipelineRuntime, batch: Batch) -> Sequence[dg.DagsterRun]:
    """The newest first; a person's run has no tag, and its batch its name."""
    runs = instance.get_runs(filters=dg.RunsFilter(tags={BATCH_TAG: batch.batch_id}))
    if len(runs) > 1:
        # One that found the batch taken works under a name of its own: it says nothing about these clips.
        known = runtime.ledger.batches
        runs = [run for run in runs if run.run_id == batch.run_id or known.get(run.run_id) is None]
    persons = None if runs or batch.run_id is None else instance.get_run_by_id(batch.run_id)
    return runs if persons is None else [persons]


def _is_at_work(runtime: PipelineRuntime, batch: Batch, runs: Sequence[dg.DagsterRun]) -> bool:
    ledger, settings = runtime.ledger, runtime.settings
    if any(run.status in NOT_STARTED for run in runs):
        if batch.run_id is None:
            ledger.batches.extend(batch.batch_id, requested_lease_s(settings))
        return True
    held = batch.is_held(ledger.now())
    if not runs:
        return held  # its request is on its way
    started = [run for run in runs if run.status in _GOING_ON]
    # One that is known to live was only thought dead, because a clock was set.
    return any(held or process_of(runtime.run_locks, run.run_id) is RunProcess.LIVES for run in started)


def most_runs(instance: dg.DagsterInstance) -> int:
    """Runs that may go on at the same time for one asset, so that others still find a place in Dagster's queue."""
    places = _places(instance)
    return (
        MOST_RUNS_OF_AN_ASSET
        if places is None
        else max(1, min((places - OTHERS) // 2, MOST_RUNS_OF_AN_ASSET))
    )


def of_asset(batches: Sequence[Batch], asset: str) -> list[Batch]:
    """Those whose run makes this asset."""
    return [batch for batch in batches if batch.asset == asset]


def make_way(instance: dg.DagsterInstance, runtime: PipelineRuntime, at_work: Sequence[Batch]) -> None:
    """Have the run that has worked for longest leave where others wait for a place in Dagster's queue."""
    queued = instance.get_run_records(
        dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]), limit=1, ascending=True
    )
    if not queued:
        return
    waited_s = runtime.ledger.now().timestamp() - queued[0].create_timestamp.timestamp()
    places = _places(instance)
    if waited_s < QUEUED_S or places is None:
        return
    taken = instance.get_runs_count(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTING, *_GOING_ON]))
    if taken >= places:
        have_one_leave(runtime, at_work)


def have_one_leave(runtime: PipelineRuntime, batches: Sequence[Batch]) -> None:
    """Ask the run that has worked for longest to end, if it has worked for a while."""
    now = runtime.ledger.now()
    longest = [b for b in batches if b.begun_at is not None and now - b.begun_at > LEFT_ALONE]
    if longest and not any(batch.told_to_leave for batch in batches):
        oldest = min(longest, key=lambda batch: batch.begun_at or now)
        runtime.ledger.batches.tell_to_leave(oldest.batch_id)


def _places(instance: dg.DagsterInstance) -> int | None:
    """Runs that Dagster lets go on at once; None: as many as are asked for."""
    queue = instance.get_concurrency_config().run_queue_config
    most = None if queue is None else queue.max_concurrent_runs
    return None if most is None or most < 0 else most

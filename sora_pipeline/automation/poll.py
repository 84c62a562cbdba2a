"""The poll sensor: one tick asks about everything in flight, and requests the runs that fetch what is done."""

import asyncio
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import dagster as dg

from sora_pipeline.advice import explained
from sora_pipeline.automation.at_work import batches_at_work, have_one_leave, make_way, most_runs, of_asset
from sora_pipeline.automation.instances import instance_of
from sora_pipeline.automation.jobs import Job
from sora_pipeline.automation.planning import PartitionRange, plan_fetching
from sora_pipeline.automation.requests import (
    clips_of,
    partition_order,
    range_request,
    requested_lease_s,
    waiting_clips,
)
from sora_pipeline.automation.unmaterialized import end_abandoned
from sora_pipeline.ledger import Attempt, AttemptState
from sora_pipeline.ledger.batches import GENERATIONS, VIDEOS, Batch, keys_of
from sora_pipeline.names import BATCH_TAG
from sora_pipeline.production.polling import Swept, sweep, time_out_elsewhere
from sora_pipeline.production.stuck import settle_superseded
from sora_pipeline.runtime import PipelineRuntime

NAME = "poll_sensor"
TICK_BUDGET_S = 35.0
"""Seconds of polling in one tick; Dagster ends a tick after 60."""
SETTLE_BUDGET_S = 10.0
"""Seconds for asking about what is stuck; all of it at once."""
MOST_POLLS = 5_000
CLAIM_S = 60.0
"""For how long a prediction is left to the tick that polls it."""
OVERDUE_S = 10.0
"""Seconds that a poll is left to the runs at work."""
MOST_TRIES = 5
MOST_RUNS = 500
"""The newest runs among which those are counted that were to fetch a clip."""
MOST_SUPERSEDED = 20
"""Stuck predictions of changed rows that one tick asks for once more."""


def build_poll_sensor(runtime: PipelineRuntime, job: Job) -> dg.SensorDefinition:
    """The sensor of a pipeline that asks what became of its predictions."""

    @dg.sensor(
        name=runtime.names.of(NAME),
        job=job,
        minimum_interval_seconds=1,  # the daemon looks every 5 seconds, and would skip every other look at 5
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Polls predictions in flight and has finished videos fetched.",
    )
    def poll_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        """Poll everything that is due, then request ranges of what has ended."""
        ledger, account, pipeline = runtime.ledger, runtime.account.name, runtime.names.name
        at_work, abandoned = batches_at_work(instance_of(context), runtime)
        # Runs that go on poll as well, and are quicker: what they leave for so long, they will not take.
        overdue_s = OVERDUE_S if any(batch.begun_at for batch in at_work) else 0.0
        due = ledger.attempts.claim_due(
            MOST_POLLS, account=account, pipeline=pipeline, for_s=CLAIM_S, overdue_s=overdue_s
        )
        swept = asyncio.run(_sweep(runtime, due, context)) if due else Swept()
        if superseded := ledger.attempts.superseded(account, pipeline, limit=MOST_SUPERSEDED):
            given_up = asyncio.run(_settle(runtime, superseded, context))
            swept.counts["given up, for their row has changed"] += given_up
        if given_up := time_out_elsewhere(ledger, account, pipeline, explained):
            swept.counts["timed out at an account that is not configured now"] += given_up
        make_way(instance_of(context), runtime, at_work)
        requests = list(
            end_abandoned(instance_of(context), runtime, abandoned, VIDEOS, runtime.names.of(NAME))
        )
        requests += _requests(instance_of(context), runtime, at_work)
        if not requests:
            return dg.SkipReason(swept.sentence())
        context.log.info(swept.sentence())
        return dg.SensorResult(run_requests=requests)

    return poll_sensor


def _requests(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, at_work: Sequence[Batch]
) -> Iterator[dg.RunRequest]:
    """The runs that fetch, or show as failed, what has ended, and go on with its neighbours."""
    settings, ledger, names = runtime.settings, runtime.ledger, runtime.names
    fetching = of_asset(at_work, VIDEOS)
    covered = keys_of(fetching)
    unreported = [a for a in ledger.attempts.unreported(names.name) if a.clip_key not in covered]
    if not unreported:
        return
    order = partition_order(instance, names, (attempt.clip_key for attempt in unreported))
    ended = _shown_now(
        runtime,
        _worth_a_run(instance, runtime, _without_waiting(instance, runtime, unreported, order), order),
    )
    if not ended:
        return
    room = most_runs(instance) - len(fetching)
    if room <= 0:
        have_one_leave(runtime, fetching)
        return
    by_clip = {attempt.clip_key: attempt for attempt in ended}
    neighbours = {
        *ledger.attempts.rendering(names.name),
        *keys_of(of_asset(at_work, GENERATIONS)),
    } - covered
    ranges = plan_fetching(by_clip, neighbours, order, longest=settings.batch_size)
    for partitions in sorted(ranges, key=lambda each: len(each.keys), reverse=True)[:room]:
        yield request_fetching(
            runtime, partitions, [by_clip[key] for key in partitions.keys if key in by_clip]
        )


def request_fetching(
    runtime: PipelineRuntime, partitions: PartitionRange, ended: Sequence[Attempt] = ()
) -> dg.RunRequest:
    """A run that fetches clips of a range as they are rendered; nobody else plans them until it is over.

    Args:
        runtime: Of the pipeline.
        partitions: The clips.
        ended: Those of their attempts that are to be fetched, or shown as failed, at once.
    """
    ledger, names, lease_s = runtime.ledger, runtime.names, requested_lease_s(runtime.settings)
    # Never the same again: Dagster takes a run key for done for ever, and whether a run is wanted is the ledger's to say.
    batch_id = uuid.uuid4().hex[:12]
    ledger.batches.plan(
        batch_id,
        pipeline=names.name,
        account=runtime.account.name,
        asset=VIDEOS,
        keys=partitions.keys,
        lease_s=lease_s,
    )
    ledger.attempts.expect_collect([attempt.attempt_id for attempt in ended], lease_s)
    return range_request(
        partitions,
        job_name=names.videos_job,
        run_key=f"collect:{batch_id}",
        sensor=names.of(NAME),
        tags={BATCH_TAG: batch_id},
    )


def _shown_now(runtime: PipelineRuntime, ended: Sequence[Attempt]) -> list[Attempt]:
    """Without those that another attempt follows by itself."""
    keys = [attempt.clip_key for attempt in ended if attempt.state is AttemptState.FAILED]
    again = set(runtime.ledger.clips.pending_among(keys, runtime.settings.max_attempts))
    return [attempt for attempt in ended if attempt.clip_key not in again]


async def _sweep(
    runtime: PipelineRuntime, due: Sequence[Attempt], context: dg.SensorEvaluationContext
) -> Swept:
    async with runtime.open(runtime.names.of(NAME), context.log.info) as run_context:
        return await sweep(run_context, due, budget_s=TICK_BUDGET_S)


async def _settle(
    runtime: PipelineRuntime, superseded: Sequence[Attempt], context: dg.SensorEvaluationContext
) -> int:
    async with runtime.open(runtime.names.of(NAME), context.log.info) as run_context:
        return await settle_superseded(run_context, superseded, patience_s=SETTLE_BUDGET_S)


def _without_waiting(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, ended: list[Attempt], order: Mapping[str, int]
) -> list[Attempt]:
    """Leave those out whose run is still queued, and give it more time: another one would only queue behind it."""
    if not any(attempt.result.collect_tries for attempt in ended):
        return ended
    waiting = waiting_clips(instance, runtime.names.videos_job, order)
    queued = [a.attempt_id for a in ended if a.result.collect_tries and a.clip_key in waiting]
    if queued:
        runtime.ledger.attempts.extend(queued, requested_lease_s(runtime.settings))
    return [attempt for attempt in ended if attempt.attempt_id not in queued]


def _worth_a_run(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, ended: list[Attempt], order: Mapping[str, int]
) -> list[Attempt]:
    """Leave out what was tried often enough; the video stays fetchable by `sora-pipeline retry`."""
    ledger = runtime.ledger
    tired = [attempt for attempt in ended if attempt.result.collect_tries >= MOST_TRIES]
    if not tired:
        return ended
    # A request that was lost with its tick has tried nothing.
    filters = dg.RunsFilter(job_name=runtime.names.videos_job)
    runs = instance.get_runs(filters=filters, limit=MOST_RUNS)
    tried = Counter(key for run in runs for key in clips_of([run], order))
    for attempt in list(tired):
        if attempt.state is AttemptState.SUCCEEDED and attempt.failure is None:
            if tried[attempt.clip_key] < MOST_TRIES:
                tired.remove(attempt)
                continue
            ledger.attempts.note_problem(
                attempt.attempt_id, "run_failed", f"{MOST_TRIES} runs ended before they fetched it"
            )
    ids = [attempt.attempt_id for attempt in tired]
    ledger.attempts.report(ids)
    ledger.attempts.give_up_fetching(ids)
    return [attempt for attempt in ended if attempt not in tired]

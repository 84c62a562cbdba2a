"""The poll sensor: one tick asks about everything in flight, and requests the runs that fetch what is done."""

import asyncio
from collections.abc import Mapping, Sequence

import dagster as dg

from sora_pipeline.automation.jobs import videos_job
from sora_pipeline.automation.planning import plan_collect
from sora_pipeline.automation.requests import range_request, requested_lease_s, waiting_clips
from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.names import CLIPS, VIDEOS_JOB
from sora_pipeline.production.polling import Swept, sweep
from sora_pipeline.resources import DeskResource
from sora_pipeline.settings import Settings

NAME = "poll_sensor"
TICK_BUDGET_S = 35.0
"""Seconds of polling in one tick; Dagster ends a tick after 60."""
MOST_POLLS = 5_000
MOST_TRIES = 5


@dg.sensor(
    name=NAME,
    job=videos_job,
    minimum_interval_seconds=1,  # the daemon looks every 5 seconds, and would skip every other look at 5
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Polls predictions in flight and has finished videos fetched.",
)
def poll_sensor(context: dg.SensorEvaluationContext, desk: DeskResource) -> dg.SensorResult | dg.SkipReason:
    """Poll everything that is due, then request ranges of what has ended."""
    settings, ledger = desk.settings.read(), desk.ledger.open()
    due = ledger.attempts.due(MOST_POLLS)
    swept = asyncio.run(_sweep(desk, due, context)) if due else Swept()
    unreported = ledger.attempts.unreported()
    if not unreported:
        return dg.SkipReason(swept.sentence())
    order = {key: at for at, key in enumerate(context.instance.get_dynamic_partitions(CLIPS))}
    ended = _worth_a_run(ledger, _without_waiting(context.instance, ledger, settings, unreported, order))
    if not ended:
        return dg.SkipReason(swept.sentence())
    standings = ledger.clips.standings([attempt.clip_id for attempt in ended])
    ranges = plan_collect(
        ended,
        ledger.attempts.of_batches({attempt.batch_id for attempt in ended}),
        order,
        now=ledger.now(),
        batch_size=settings.batch_size,
        attempts_left={
            attempt.attempt_id: standings[attempt.clip_id].pending(settings.max_attempts) for attempt in ended
        },
    )
    by_clip = {attempt.clip_id: attempt for attempt in ended}
    requests = []
    for stretch in ranges:
        mine = [by_clip[clip_id] for clip_id in stretch.keys]
        ledger.attempts.expect_collect([attempt.attempt_id for attempt in mine], requested_lease_s(settings))
        tries = sum(attempt.collect_tries for attempt in mine)
        # With the batch: in another ledger on the same home, the same numbers mean other attempts.
        key = f"collect:{mine[0].batch_id}:{mine[0].attempt_id}-{mine[-1].attempt_id}:{len(mine)}:{tries}"
        requests.append(range_request(stretch, job_name=VIDEOS_JOB, run_key=key, sensor=NAME, tags={}))
    context.log.info(swept.sentence())
    return dg.SensorResult(run_requests=requests) if requests else dg.SkipReason(swept.sentence())


async def _sweep(desk: DeskResource, due: Sequence[Attempt], context: dg.SensorEvaluationContext) -> Swept:
    async with desk.open(NAME, context.log.info) as tools:
        return await sweep(tools, due, budget_s=TICK_BUDGET_S)


def _without_waiting(
    instance: dg.DagsterInstance,
    ledger: Ledger,
    settings: Settings,
    ended: list[Attempt],
    order: Mapping[str, int],
) -> list[Attempt]:
    """Leave those out whose run is still queued, and give it more time: another one would only queue behind it."""
    if not any(attempt.collect_tries for attempt in ended):
        return ended
    waiting = waiting_clips(instance, VIDEOS_JOB, order)
    queued = [a.attempt_id for a in ended if a.collect_tries and a.clip_id in waiting]
    if queued:
        ledger.attempts.extend(queued, requested_lease_s(settings))
    return [attempt for attempt in ended if attempt.attempt_id not in queued]


def _worth_a_run(ledger: Ledger, ended: list[Attempt]) -> list[Attempt]:
    """Leave out what was tried often enough; the video stays fetchable by `sora-pipeline retry`."""
    tired = [attempt for attempt in ended if attempt.collect_tries >= MOST_TRIES]
    for attempt in tired:
        if attempt.state is AttemptState.SUCCEEDED and attempt.error_message is None:
            ledger.attempts.note_problem(
                attempt.attempt_id, "run_failed", f"{MOST_TRIES} runs ended before they fetched it"
            )
    if tired:
        ledger.attempts.report([attempt.attempt_id for attempt in tired])
    return [attempt for attempt in ended if attempt.collect_tries < MOST_TRIES]

"""The dispatch sensor: admission control. It decides what may be submitted, reserves it, and requests the runs."""

import uuid
from collections.abc import Iterator

import dagster as dg

from sora_pipeline.assets.generations import generations
from sora_pipeline.automation.jobs import generations_job
from sora_pipeline.automation.planning import Stretch, plan_dispatch, plan_recovery, stretches
from sora_pipeline.automation.requests import (
    bury_expired_runs,
    bury_killed_runs,
    range_request,
    requested_lease_s,
    waiting_runs,
)
from sora_pipeline.checks import breaker_sentence
from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.names import BATCH_TAG, CLIPS, GENERATIONS_JOB, SUBMITS_ALLOWED
from sora_pipeline.production.context import limits_of
from sora_pipeline.production.costs import cost_micros
from sora_pipeline.production.holding import Holds
from sora_pipeline.production.stopping import stop_sentence
from sora_pipeline.production.submitting import park_lost
from sora_pipeline.resources import DeskResource
from sora_pipeline.settings import Settings

MOST_TRIES = 3
MOST_PROBED = 20
"""Pending clips that are looked at for one that can be a probe."""
NAME = "dispatch_sensor"


@dg.sensor(
    name=NAME,
    job=generations_job,
    minimum_interval_seconds=1,  # the daemon looks every 5 seconds, and would skip every other look at 5
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Submits pending clips in batches, within slots and budget.",
)
def dispatch_sensor(context: dg.SensorEvaluationContext, desk: DeskResource) -> dg.SensorResult:
    """Recover what dead runs left behind, then reserve the next batch and request its run."""
    settings, ledger = desk.settings.read(), desk.ledger.open()
    bury_killed_runs(context.instance)
    requests = list(_recovered(context.instance, ledger, settings))
    planned, why_none = _planned(context.instance, desk, ledger, settings)
    requests += planned
    # Asked last: whatever was found open or closed on the way is what people are told.
    breaker = ledger.breakers.get(settings.provider)
    state = "closed" if breaker is None else breaker.opened_at.isoformat()
    # Dagster shows a check as not evaluated once its asset has a newer materialization.
    latest = context.instance.get_latest_materialization_event(generations.key)
    state += f" {latest.timestamp if latest else 0}"
    changed = [] if context.cursor == state else [_submits_allowed(breaker)]
    return dg.SensorResult(
        run_requests=requests,
        skip_reason=None if requests else why_none,
        asset_events=changed,
        cursor=state,
    )


def _submits_allowed(breaker: Breaker | None) -> dg.AssetCheckEvaluation:
    """The check of ``generations`` that shows the breaker; needs no run to change its colour."""
    return dg.AssetCheckEvaluation(
        asset_key=generations.key,
        check_name=SUBMITS_ALLOWED,
        passed=breaker is None,
        description=breaker_sentence(breaker),
    )


def _planned(
    instance: dg.DagsterInstance, desk: DeskResource, ledger: Ledger, settings: Settings
) -> tuple[list[dg.RunRequest], str]:
    """The next runs, or why there are none."""
    pending = ledger.clips.pending(settings.max_attempts)
    order = {key: at for at, key in enumerate(instance.get_dynamic_partitions(CLIPS))}
    breaker = ledger.breakers.get(settings.provider)
    if breaker is not None:
        return _probe(desk, ledger, breaker, pending, order), stop_sentence(breaker)
    free = settings.max_in_flight - ledger.attempts.slots_taken()
    held: set[str] = set()
    while stretch := plan_dispatch(
        [clip_id for clip_id in pending if clip_id not in held],
        order,
        free_slots=free,
        batch_size=settings.batch_size,
        max_in_flight=settings.max_in_flight,
    ):
        if reserved := _reserve(desk, ledger, stretch, _new_batch()):
            return list(_batch_requests(ledger, reserved, order, settings.batch_size)), ""
        held.update(stretch.keys)  # no money is left for these; others may belong to another production
    if held:
        return [], _why_held(desk, ledger, next(each for each in pending if each in held), len(held))
    return [], _why_nothing(len(pending), free, unknown=sum(clip_id not in order for clip_id in pending))


def _why_held(desk: DeskResource, ledger: Ledger, first: str, held: int) -> str:
    standing = ledger.clips.standings([first])[first]
    holds = Holds(ledger, ledger.productions.get(standing.production_id), desk.settings.read())
    hold = holds.of(cost_micros(standing.clip, desk.catalogue()))
    return f"{held} clips are pending: {hold.sentence if hold else 'no money was left for them just now'}"


def _probe(
    desk: DeskResource, ledger: Ledger, breaker: Breaker, pending: list[str], order: dict[str, int]
) -> list[dg.RunRequest]:
    """Now and then one clip, to see whether submits may go on: it is wanted anyway, and refused it costs nothing."""
    candidates = [clip_id for clip_id in pending if clip_id in order][:MOST_PROBED]
    batch_id = _new_batch()
    if not candidates or not ledger.breakers.begin_probe(breaker.provider, batch_id):
        return []
    for clip_id in candidates:  # the first that a budget has room for
        if reserved := _reserve(desk, ledger, Stretch((clip_id,)), batch_id):
            return list(_batch_requests(ledger, reserved, order, 1))
    return []


def _why_nothing(pending: int, free: int, *, unknown: int) -> str:
    if not pending:
        return "no clip is pending"
    if unknown == pending:
        return f"{pending} clips are pending, but have no partition in Dagster; materialize prompt_manifest again"
    return f"{pending} clips are pending; waiting for slots ({max(free, 0)} free)"


def _new_batch() -> str:
    return uuid.uuid4().hex[:12]


def _reserve(desk: DeskResource, ledger: Ledger, stretch: Stretch, batch_id: str) -> list[Attempt]:
    settings, catalogue = desk.settings.read(), desk.catalogue()
    standings = ledger.clips.standings(stretch.keys)
    costs = {
        clip_id: cost_micros(clip, catalogue)
        for clip_id, clip in ((clip_id, standings[clip_id].clip) for clip_id in stretch.keys)
    }
    return ledger.attempts.reserve(
        costs, batch_id=batch_id, limits=limits_of(settings), lease_s=requested_lease_s(settings)
    ).reserved


def _batch_requests(
    ledger: Ledger, reserved: list[Attempt], order: dict[str, int], longest: int
) -> Iterator[dg.RunRequest]:
    """One run for each contiguous part of a batch; mostly that is the whole of it."""
    if not reserved:
        return
    batch_id = reserved[0].batch_id
    number = ledger.batches.next_try(batch_id)
    for stretch in stretches([attempt.clip_id for attempt in reserved], order, longest):
        yield range_request(
            stretch,
            job_name=GENERATIONS_JOB,
            run_key=f"submit:{batch_id}:{number}:{stretch.first}",
            sensor=NAME,
            tags={BATCH_TAG: batch_id},
        )


def _recovered(instance: dg.DagsterInstance, ledger: Ledger, settings: Settings) -> Iterator[dg.RunRequest]:
    """Pick up what runs that died, or never began, left in the ledger."""
    attempts = ledger.attempts.live(AttemptState.RESERVED, AttemptState.SUBMITTING)
    recovery = plan_recovery(attempts, ledger.now())
    for attempt in recovery.lost:
        park_lost(ledger, attempt)
        bury_expired_runs(instance, GENERATIONS_JOB, BATCH_TAG, attempt.batch_id)
    order: dict[str, int] = {}
    lease_s = requested_lease_s(settings)
    for batch_id, reserved in recovery.unclaimed.items():
        ids = [attempt.attempt_id for attempt in reserved]
        if waiting_runs(instance, GENERATIONS_JOB, BATCH_TAG, batch_id):
            ledger.attempts.extend(ids, lease_s)
            continue
        bury_expired_runs(instance, GENERATIONS_JOB, BATCH_TAG, batch_id)
        tries = ledger.batches.tries(batch_id)
        if tries >= MOST_TRIES:
            _give_up(ledger, reserved)
            continue
        if tries == 0 and any(attempt.owner for attempt in reserved):
            # A person's run: what it still wanted is planned like everything that is pending.
            for attempt in reserved:
                ledger.attempts.release(attempt.attempt_id)
            continue
        ledger.attempts.extend(ids, lease_s)
        order = order or {key: at for at, key in enumerate(instance.get_dynamic_partitions(CLIPS))}
        yield from _batch_requests(ledger, reserved, order, settings.batch_size)


def _give_up(ledger: Ledger, reserved: list[Attempt]) -> None:
    """Runs of this batch ended again and again before they submitted; nothing was sent, nothing is billed."""
    for attempt in reserved:
        ledger.attempts.fail(
            attempt.attempt_id,
            "run_failed",
            f"the Dagster runs with the tag {BATCH_TAG}={attempt.batch_id} ended before they submitted it; "
            "look at their logs, then `sora-pipeline retry`",
            retryable=False,
            reported=True,
        )

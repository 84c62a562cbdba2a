"""The dispatch sensor: admission control. It decides what may be submitted, reserves it, and requests the runs."""

import uuid
from collections.abc import Iterator, Sequence

import dagster as dg

from sora_pipeline.admission.breaker import why_stopped
from sora_pipeline.admission.costs import cost_micros
from sora_pipeline.admission.holds import Admission, Hold, why_unread
from sora_pipeline.admission.limits import limits_of
from sora_pipeline.advice import explained
from sora_pipeline.automation.jobs import Job
from sora_pipeline.automation.planning import PartitionRange, contiguous_ranges, plan_dispatch, plan_recovery
from sora_pipeline.automation.requests import (
    fail_expired_runs,
    fail_killed_runs,
    partition_order,
    range_request,
    requested_lease_s,
    requested_tries,
    runs_of_batch,
    terminated,
    waiting_runs,
)
from sora_pipeline.checks import breaker_sentence
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.ledger.types import PendingClip
from sora_pipeline.names import BATCH_TAG, SUBMITS_ALLOWED, PipelineNames
from sora_pipeline.production.progress import why_left_open
from sora_pipeline.production.submitting import park_lost
from sora_pipeline.runtime import PipelineRuntime

MOST_TRIES = 3
MOST_PROBED = 20
"""Pending clips that are looked at for one that can be a probe."""
NAME = "dispatch_sensor"


def build_dispatch_sensor(runtime: PipelineRuntime, job: Job) -> dg.SensorDefinition:
    """The sensor of a pipeline that decides what is submitted."""

    @dg.sensor(
        name=runtime.names.of(NAME),
        job=job,
        minimum_interval_seconds=1,  # the daemon looks every 5 seconds, and would skip every other look at 5
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Submits pending clips in batches, within slots and budget.",
    )
    def dispatch_sensor(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        """Recover what dead runs left behind, then reserve the next batch and request its run."""
        runtime.show_settings()
        location = context.code_location_origin
        fail_killed_runs(context.instance, runtime, location.location_name if location else None)
        requests = list(_recovered(context.instance, runtime))
        planned, why_none = plan_runs(context.instance, runtime)
        requests += planned
        # Asked last: whatever was found open or closed on the way is what people are told.
        breaker = runtime.ledger.breakers.get(runtime.account.name)
        state = _breaker_state(context.instance, runtime.names, breaker)
        changed = [] if context.cursor == state else [_submits_allowed(runtime.names, breaker)]
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else why_none,
            asset_events=changed,
            cursor=state,
        )

    return dispatch_sensor


def _breaker_state(instance: dg.DagsterInstance, names: PipelineNames, breaker: Breaker | None) -> str:
    """What the check was last reported of: the sensor's cursor."""
    state = "closed" if breaker is None else breaker.opened_at.isoformat()
    # Dagster shows a check as not evaluated once its asset has a newer materialization.
    latest = instance.get_latest_materialization_event(names.generations)
    return f"{state} {latest.timestamp if latest else 0}"


def _submits_allowed(names: PipelineNames, breaker: Breaker | None) -> dg.AssetCheckEvaluation:
    """The check of ``generations`` that shows the breaker; needs no run to change its colour."""
    return dg.AssetCheckEvaluation(
        asset_key=names.generations,
        check_name=SUBMITS_ALLOWED,
        passed=breaker is None,
        description=breaker_sentence(breaker),
    )


def plan_runs(instance: dg.DagsterInstance, runtime: PipelineRuntime) -> tuple[list[dg.RunRequest], str]:
    """The next runs, or why there are none."""
    settings, ledger, account = runtime.settings, runtime.ledger, runtime.account
    pending = ledger.clips.pending_clips(
        settings.max_attempts, pipeline=runtime.names.name, account=account.name
    )
    order = partition_order(instance, runtime.names, [clip.key for clip in pending])
    admitted = _Admitted(runtime)
    breaker = ledger.breakers.get(account.name)
    if breaker is not None:
        return _probe(runtime, breaker, pending, admitted, order), explained(why_stopped(breaker))
    for breaker in ledger.breakers.of_models(account.name).values():
        of_model = [clip for clip in pending if clip.model == breaker.model]
        if probe := _probe(runtime, breaker, of_model, admitted, order):
            return probe, ""
    # Before any is reserved: what no budget has room for must not be looked at one range after the other.
    free = settings.max_in_flight - ledger.attempts.slots_taken(account.name)
    ready = [clip.key for clip in pending if admitted.hold_of(clip) is None]
    planned = plan_dispatch(
        ready,
        order,
        free_slots=free,
        batch_size=settings.batch_size,
        max_in_flight=settings.max_in_flight,
    )
    if planned and (reserved := _reserve(runtime, planned, _new_batch())):
        return list(_batch_requests(runtime, reserved, order, settings.batch_size)), ""
    if planned:
        reason = f"{len(ready)} clips are pending; no money was left for them just now"
    elif pending and not ready:
        hold = admitted.hold_of(pending[0])
        reason = f"{len(pending)} clips are pending: {explained(hold.reason) if hold else ''}"
    else:
        reason = _why_nothing(len(ready), free)
    return [], "; ".join([reason, *_elsewhere(runtime)])


class _Admitted:
    """What holds pending clips, looked up once for each production, model, duration and size."""

    def __init__(self, runtime: PipelineRuntime) -> None:
        self._runtime = runtime
        self._of_production: dict[str, Admission] = {}
        self._holds: dict[tuple[object, ...], Hold | None] = {}

    def of_production(self, production_id: str) -> Admission:
        """What stands in the way of a production's clips."""
        if production_id not in self._of_production:
            ledger, runtime = self._runtime.ledger, self._runtime
            production = ledger.productions.get(production_id)
            admission = Admission(ledger, production, runtime.settings, runtime.catalogue)
            self._of_production[production_id] = admission
        return self._of_production[production_id]

    def hold_of(self, clip: PendingClip) -> Hold | None:
        """What holds a pending clip; None: it only waits for a free slot."""
        kind = (clip.production_id, clip.model, clip.duration, clip.size)
        if kind not in self._holds:
            self._holds[kind] = self.of_production(clip.production_id).of(clip)
        return self._holds[kind]


def _elsewhere(runtime: PipelineRuntime) -> Iterator[str]:
    """What waits for another account than the one that is configured now."""
    settings, ledger, account = runtime.settings, runtime.ledger, runtime.account
    for open_account, count in ledger.attempts.open_accounts(pipeline=runtime.names.name).items():
        if open_account.name != account.name:
            yield explained(why_left_open(open_account, count))
    for production in ledger.productions.all(runtime.names.name):
        if (unread := why_unread(production, account)) is None:
            continue
        if waiting := len(ledger.clips.pending(settings.max_attempts, production.production_id)):
            yield f"{waiting} clips wait: {explained(unread)}"


def _probe(
    runtime: PipelineRuntime,
    breaker: Breaker,
    pending: Sequence[PendingClip],
    admitted: _Admitted,
    order: dict[str, int],
) -> list[dg.RunRequest]:
    """Now and then one clip, to see whether submits may go on: it is wanted anyway, and refused it costs nothing.

    Each time another one: that a clip is refused for itself must not keep all others waiting.
    """
    breakers, settings = runtime.ledger.breakers, runtime.settings
    free = settings.max_in_flight - runtime.ledger.attempts.slots_taken(breaker.account)
    if free <= 0 or not breakers.may_probe(breaker):
        return []
    if not breaker.model:
        stopped = breakers.of_models(breaker.account)
        pending = [clip for clip in pending if clip.model not in stopped]
    keys = [clip.key for clip in pending]
    start = keys.index(breaker.probe_key) + 1 if breaker.probe_key in keys else 0
    turned = [*pending[start:], *pending[:start]][:MOST_PROBED]
    chosen = next(
        (clip for clip in turned if admitted.of_production(clip.production_id).of_price(clip) is None), None
    )
    batch_id = _new_batch()
    if chosen is None or not breakers.begin_probe(
        breaker.account, batch_id, key=chosen.key, model=breaker.model
    ):
        return []
    reserved = _reserve(runtime, PartitionRange((chosen.key,)), batch_id)
    return list(_batch_requests(runtime, reserved, order, 1))


def _why_nothing(pending: int, free: int) -> str:
    if not pending:
        return "no clip is pending"
    return f"{pending} clips are pending; waiting for slots ({max(free, 0)} free)"


def _new_batch() -> str:
    return uuid.uuid4().hex[:12]


def _reserve(runtime: PipelineRuntime, planned: PartitionRange, batch_id: str) -> list[Attempt]:
    settings, ledger, catalogue = runtime.settings, runtime.ledger, runtime.catalogue
    standings = ledger.clips.standings(planned.keys)
    return ledger.attempts.reserve(
        {key: cost_micros(standings[key].clip, catalogue) for key in planned.keys},
        account=runtime.account,
        batch_id=batch_id,
        limits=limits_of(settings),
        lease_s=requested_lease_s(settings),
    ).reserved


def _batch_requests(
    runtime: PipelineRuntime, reserved: list[Attempt], order: dict[str, int], longest: int
) -> Iterator[dg.RunRequest]:
    """One run for each contiguous part of a batch; mostly that is the whole of it."""
    if not reserved:
        return
    batch_id = reserved[0].batch_id
    number = runtime.ledger.batches.next_try(batch_id)
    for planned in contiguous_ranges([attempt.clip_key for attempt in reserved], order, longest):
        yield range_request(
            planned,
            job_name=runtime.names.generations_job,
            run_key=f"submit:{batch_id}:{number}:{planned.first}",
            sensor=runtime.names.of(NAME),
            tags={BATCH_TAG: batch_id},
        )


def _recovered(instance: dg.DagsterInstance, runtime: PipelineRuntime) -> Iterator[dg.RunRequest]:
    """Pick up what runs that died, or never began, left in the ledger."""
    settings, ledger = runtime.settings, runtime.ledger
    attempts = ledger.attempts.live(
        AttemptState.RESERVED, AttemptState.SUBMITTING, pipeline=runtime.names.name
    )
    recovery = plan_recovery(attempts, ledger.now())
    for attempt in recovery.lost:
        park_lost(ledger, attempt)
        fail_expired_runs(instance, runtime, BATCH_TAG, attempt.batch_id)
    lease_s = requested_lease_s(settings)
    for batch_id, reserved in recovery.unclaimed.items():
        ids = [attempt.attempt_id for attempt in reserved]
        if waiting_runs(instance, runtime.names.generations_job, BATCH_TAG, batch_id):
            ledger.attempts.extend(ids, lease_s)
            continue
        fail_expired_runs(instance, runtime, BATCH_TAG, batch_id)
        order = partition_order(instance, runtime.names, [attempt.clip_key for attempt in reserved])
        runs = runs_of_batch(instance, runtime, reserved)
        stopped = terminated(runs, reserved, order)
        _stop(ledger, stopped)
        reserved = [attempt for attempt in reserved if attempt not in stopped]
        # Counted by the runs that there are: a request that was lost with its tick has tried nothing.
        if len(requested_tries(runs)) >= MOST_TRIES:
            _give_up(ledger, reserved)
            continue
        persons = not ledger.batches.tries(batch_id) and any(attempt.lease.owner for attempt in reserved)
        if persons or any(attempt.account != runtime.account for attempt in reserved):
            # What a person's run still wanted, or another account was to submit, is planned like everything pending.
            for attempt in reserved:
                ledger.attempts.release(attempt.attempt_id)
            continue
        ledger.attempts.extend([attempt.attempt_id for attempt in reserved], lease_s)
        yield from _batch_requests(runtime, reserved, order, settings.batch_size)


def _stop(ledger: Ledger, reserved: list[Attempt]) -> None:
    """A person terminated the run that was to submit these: nothing was sent, and nothing is until a person says so."""
    for attempt in reserved:
        facts = {"production": attempt.production_id, "clip": attempt.clip_id}
        sentence = explained(
            Reason("a person terminated the Dagster run that was to submit it", "terminated", facts)
        )
        ledger.attempts.fail(attempt.attempt_id, "terminated", sentence, retryable=False, reported=True)


def _give_up(ledger: Ledger, reserved: list[Attempt]) -> None:
    """Runs of this batch ended again and again before they submitted; nothing was sent, nothing is billed."""
    for attempt in reserved:
        sentence = (
            f"the Dagster runs with the tag {BATCH_TAG}={attempt.batch_id} ended before they submitted it"
        )
        ledger.attempts.fail(
            attempt.attempt_id,
            "run_failed",
            explained(Reason(sentence, "runs_ended")),
            retryable=False,
            reported=True,
        )

"""The dispatch sensor: admission control. It decides what may be submitted, reserves it, and requests the runs."""

import json
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import timedelta

import dagster as dg

from sora_pipeline.admission.breaker import why_stopped
from sora_pipeline.admission.costs import cost_micros
from sora_pipeline.admission.holds import Admission, Hold, why_unread
from sora_pipeline.admission.limits import limits_of
from sora_pipeline.advice import explained
from sora_pipeline.amounts import counted
from sora_pipeline.automation.at_work import batches_at_work, have_one_leave, most_runs, of_asset
from sora_pipeline.automation.instances import instance_of
from sora_pipeline.automation.jobs import Job
from sora_pipeline.automation.planning import PartitionRange, contiguous_ranges, plan_batch, plan_recovery
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
from sora_pipeline.automation.unmaterialized import end_abandoned
from sora_pipeline.checks import breaker_sentence
from sora_pipeline.clip import split_clip_key
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.ledger.batches import GENERATIONS, Batch, keys_of
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.ledger.types import PendingClip
from sora_pipeline.names import BATCH_TAG, SUBMITS_ALLOWED, PipelineNames
from sora_pipeline.production.progress import why_left_open
from sora_pipeline.production.submitting import park_lost
from sora_pipeline.runtime import PipelineRuntime

MOST_TRIES = 3
MOST_READY = 4
"""So many batches of clips that may be submitted are enough for one tick to choose from."""
MOST_PROBED = 20
"""Pending clips that are looked at for one that can be a probe."""
CHECK_AGAIN_S = 60.0
"""Seconds between two looks whether the check of an unchanged breaker is outdated: each clip makes it so."""
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
        """Recover what dead runs left behind, then plan the next batch and request its run."""
        runtime.show_settings()
        location = context.code_location_origin
        fail_killed_runs(instance_of(context), runtime, location.location_name if location else None)
        requests, why_none = plan_runs(instance_of(context), runtime)
        # Asked last: whatever was found open or closed on the way is what people are told.
        changed, cursor = _shown_breaker(context, runtime)
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else why_none,
            asset_events=changed,
            cursor=cursor,
        )

    return dispatch_sensor


def plan_runs(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, longest: int | None = None
) -> tuple[list[dg.RunRequest], str]:
    """The runs that are to submit, or to show what could not be submitted; where there are none, why.

    Args:
        instance: The Dagster instance.
        runtime: Of the pipeline.
        longest: The most clips of the next run; None: as the settings say.
    """
    at_work, abandoned = batches_at_work(instance, runtime)
    terminated_batches = [
        each.batch for each in abandoned if each.terminated and each.batch.asset == GENERATIONS
    ]
    requests = list(_recovered(instance, runtime, terminated_batches))
    requests += end_abandoned(instance, runtime, abandoned, GENERATIONS, runtime.names.of(NAME))
    requests += _failures_to_show(instance, runtime, at_work)
    planned, why_none = _planned(instance, runtime, at_work, longest or runtime.settings.batch_size)
    return [*requests, *planned], why_none


def _shown_breaker(
    context: dg.SensorEvaluationContext, runtime: PipelineRuntime
) -> tuple[list[dg.AssetCheckEvaluation], str]:
    """The check of ``generations`` that shows the breaker, where it is to be evaluated anew, and the sensor's next cursor.

    It needs no run to change its colour.
    """
    breaker = runtime.ledger.breakers.get(runtime.account.name)
    state = "closed" if breaker is None else breaker.opened_at.isoformat()
    cursor = context.cursor or ""
    before = json.loads(cursor) if cursor.startswith("{") else {}
    now = runtime.ledger.now().timestamp()
    if before.get("breaker") == state and 0 <= now - before["looked_at"] < CHECK_AGAIN_S:
        return [], cursor
    # Dagster shows a check as not evaluated once its asset has a newer materialization.
    latest = instance_of(context).get_latest_materialization_event(runtime.names.generations)
    shown = {"breaker": state, "materialized": latest.timestamp if latest else 0}
    changed = any(before.get(name) != value for name, value in shown.items())
    return (
        [_submits_allowed(runtime.names, breaker)] if changed else [],
        json.dumps(shown | {"looked_at": now}),
    )


def _submits_allowed(names: PipelineNames, breaker: Breaker | None) -> dg.AssetCheckEvaluation:
    return dg.AssetCheckEvaluation(
        asset_key=names.generations,
        check_name=SUBMITS_ALLOWED,
        passed=breaker is None,
        description=breaker_sentence(breaker),
    )


def _planned(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, at_work: Sequence[Batch], longest: int
) -> tuple[list[dg.RunRequest], str]:
    """The next run, or why there is none."""
    ledger, account = runtime.ledger, runtime.account
    submitting = of_asset(at_work, GENERATIONS)
    admitted = _Admitted(runtime)
    pending = _pending(runtime, keys_of(submitting), admitted)
    breaker = ledger.breakers.get(account.name)
    if breaker is not None:
        return _probe(instance, runtime, breaker, pending, admitted), explained(why_stopped(breaker))
    for breaker in ledger.breakers.of_models(account.name).values():
        of_model = [clip for clip in pending if clip.model == breaker.model]
        if probe := _probe(instance, runtime, breaker, of_model, admitted):
            return probe, ""
    # Before any is reserved: what no budget has room for must not be looked at one range after the other.
    ready = {clip.key: clip.production_id for clip in pending if admitted.hold_of(clip) is None}
    if ready:
        requests, reason = _next_batch(instance, runtime, ready, submitting, longest)
    else:
        requests, reason = [], _why_nothing(pending, admitted, submitting)
    return requests, "; ".join([reason, *_elsewhere(runtime)])


def _pending(runtime: PipelineRuntime, taken: Collection[str], admitted: "_Admitted") -> list[PendingClip]:
    """Pending clips that no run owns: of each production so many as one run can own."""
    settings, ledger = runtime.settings, runtime.ledger
    of_taken = Counter(split_clip_key(key)[0] for key in taken)
    pending: list[PendingClip] = []
    ready = 0
    productions = ledger.clips.productions_with_pending_clips(runtime.names.name, runtime.account.name)
    # Those that no run serves first: a look is bounded, however many productions have clips that may be submitted.
    for production_id in sorted(productions, key=lambda production_id: production_id in of_taken):
        if ready > MOST_READY * settings.batch_size:
            break
        clips = ledger.clips.pending_clips(
            settings.max_attempts,
            production_id,
            pipeline=runtime.names.name,
            account=runtime.account.name,
            limit=settings.batch_size + of_taken[production_id],
        )
        of_nobody = [clip for clip in clips if clip.key not in taken]
        ready += sum(admitted.hold_of(clip) is None for clip in of_nobody)
        pending += of_nobody
    return pending


def _next_batch(
    instance: dg.DagsterInstance,
    runtime: PipelineRuntime,
    ready: Mapping[str, str],
    submitting: Sequence[Batch],
    longest: int,
) -> tuple[list[dg.RunRequest], str]:
    """Plan a batch, reserve what it can begin with, and request its run; else why not."""
    ledger = runtime.ledger
    served = {split_clip_key(key)[0] for key in keys_of(submitting)}
    unserved = set(ready.values()) - served
    waiting = counted(len(ready), "clip is pending", "clips are pending")
    free = free_slots(runtime)
    if submitting and not unserved and not _nearly_done(runtime, submitting, free):
        return [], f"{waiting}; next for the runs at work"
    if len(submitting) >= most_runs(instance):
        if unserved:
            have_one_leave(runtime, submitting)
        return [], f"{waiting}; next when a run at work has ended"
    if free <= 0 and not _may_wait_for_slots(instance, runtime, submitting):
        return [], f"{waiting}; waiting for slots (0 free)"
    order = partition_order(instance, runtime.names, ready)
    planned = plan_batch(ready, order, first=unserved if submitting else (), longest=longest)
    if planned is None:
        return [], f"{waiting}; Dagster has no partition for that so far"
    batch_id = _new_batch()
    _plan(runtime, planned, batch_id)
    reserved = _reserve(runtime, planned.keys[: max(free, 0)], batch_id)
    if free > 0 and not reserved:
        ledger.batches.end(batch_id)
        return [], f"{waiting}; no money was left just now"
    return [_request(runtime, planned, batch_id)], ""


def free_slots(runtime: PipelineRuntime) -> int:
    """How many more clips may be with the account's provider; less than none where the setting was lowered."""
    return runtime.settings.max_in_flight - runtime.ledger.attempts.slots_taken(runtime.account.name)


def _may_wait_for_slots(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, submitting: Sequence[Batch]
) -> bool:
    """Whether a run may be requested although no slot is free: starting one takes seconds, for which slots would stand empty.

    Only where they were filled lately, so that one that had been there since would still wait. Where no run is at work, not in the
    place of one that waits in Dagster's queue, and not after one that never began: with nothing reserved nobody would count its tries.
    """
    ledger, now = runtime.ledger, runtime.ledger.now()
    lately = now - timedelta(seconds=runtime.settings.idle_s)
    filled_at = ledger.attempts.last_submit_at(runtime.account.name)
    if filled_at is None or not lately < filled_at <= now:
        return False
    if submitting:  # they end soon, or would take every slot from a production that no run serves
        return True
    if instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.QUEUED]), limit=1):
        return False
    before = ledger.batches.last_ended(runtime.names.name, GENERATIONS, since=lately)
    return before is None or before.begun_at is not None


def _nearly_done(runtime: PipelineRuntime, submitting: Sequence[Batch], free: int) -> bool:
    """Whether the runs at work have no more left to begin than may end at once: starting another takes seconds."""
    clips, settings = runtime.ledger.clips, runtime.settings

    def left(batch: Batch) -> int:
        if batch.wanted is not None:
            return sum(batch.wanted.values())
        # On its way, or hardly there: slots that are free now will still be free once it has sent what is reserved of it.
        return len(clips.pending_among(batch.keys, settings.max_attempts) if free > 0 else batch.keys)

    return sum(map(left, submitting)) <= settings.max_in_flight


def _why_nothing(pending: Sequence[PendingClip], admitted: "_Admitted", submitting: Sequence[Batch]) -> str:
    if not pending:
        return "no clip is pending" + (" that no run owns" if submitting else "")
    hold = admitted.hold_of_all(pending[0].production_id) or admitted.hold_of(pending[0])
    waiting = counted(len(pending), "clip is pending", "clips are pending")
    return f"{waiting}: {explained(hold.reason) if hold else ''}"


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

    def hold_of_all(self, production_id: str) -> Hold | None:
        """What holds every pending clip of a production; None: nothing holds all of them."""
        most = self._runtime.settings.max_attempts
        return self.of_production(production_id).of_all(
            self._runtime.ledger.clips.pending_kinds(production_id, most)
        )

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
            yield f"{counted(waiting, 'clip waits', 'clips wait')}: {explained(unread)}"


def _probe(
    instance: dg.DagsterInstance,
    runtime: PipelineRuntime,
    breaker: Breaker,
    pending: Sequence[PendingClip],
    admitted: _Admitted,
) -> list[dg.RunRequest]:
    """Now and then one clip, to see whether submits may go on: it is wanted anyway, and refused it costs nothing.

    Each time another one: that a clip is refused for itself must not keep all others waiting.
    """
    breakers = runtime.ledger.breakers
    if free_slots(runtime) <= 0 or not breakers.may_probe(breaker):
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
    probe = PartitionRange((chosen.key,))
    partition_order(instance, runtime.names, probe.keys)
    _plan(runtime, probe, batch_id)
    reserved = _reserve(runtime, probe.keys, batch_id)
    return [_request(runtime, probe, batch_id)] if reserved else []


def _new_batch() -> str:
    return uuid.uuid4().hex[:12]


def _plan(runtime: PipelineRuntime, planned: PartitionRange, batch_id: str) -> None:
    """Before anything is reserved: whoever finds a reservation must know what it belongs to."""
    runtime.ledger.batches.plan(
        batch_id,
        pipeline=runtime.names.name,
        account=runtime.account.name,
        asset=GENERATIONS,
        keys=planned.keys,
        lease_s=requested_lease_s(runtime.settings),
    )


def _reserve(runtime: PipelineRuntime, keys: Sequence[str], batch_id: str) -> list[Attempt]:
    settings, ledger, catalogue = runtime.settings, runtime.ledger, runtime.catalogue
    standings = ledger.clips.standings(keys)
    return ledger.attempts.reserve(
        {key: cost_micros(standings[key].clip, catalogue) for key in keys},
        account=runtime.account,
        batch_id=batch_id,
        limits=limits_of(settings),
        lease_s=requested_lease_s(settings),
    ).reserved


def _request(runtime: PipelineRuntime, planned: PartitionRange, batch_id: str) -> dg.RunRequest:
    number = runtime.ledger.batches.next_try(batch_id)
    return range_request(
        planned,
        job_name=runtime.names.generations_job,
        run_key=f"submit:{batch_id}:{number}:{planned.first}",
        sensor=runtime.names.of(NAME),
        tags={BATCH_TAG: batch_id},
    )


def _requests_again(
    runtime: PipelineRuntime, reserved: Sequence[Attempt], order: dict[str, int]
) -> Iterator[dg.RunRequest]:
    """One run for each contiguous part of what is reserved of a batch, and was not sent."""
    batch_id = reserved[0].batch_id
    number = runtime.ledger.batches.next_try(batch_id)
    keys = [attempt.clip_key for attempt in reserved]
    for planned in contiguous_ranges(keys, order, runtime.settings.batch_size):
        yield range_request(
            planned,
            job_name=runtime.names.generations_job,
            run_key=f"submit:{batch_id}:{number}:{planned.first}",
            sensor=runtime.names.of(NAME),
            tags={BATCH_TAG: batch_id},
        )


def _recovered(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, terminated_batches: Sequence[Batch]
) -> Iterator[dg.RunRequest]:
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
        if not reserved:
            continue
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
        yield from _requests_again(runtime, reserved, order)
    for batch in terminated_batches:
        _stop_batch(runtime, batch)


def _stop_batch(runtime: PipelineRuntime, batch: Batch) -> None:
    """A person terminated a run that submits: what of its batch was not sent waits for a word, reserved or not."""
    ledger = runtime.ledger
    standings = ledger.clips.standings(batch.keys)
    own = [s.latest for s in standings.values() if s.latest and s.latest.batch_id == batch.batch_id]
    _stop(ledger, [attempt for attempt in own if attempt.state is AttemptState.RESERVED])
    pending = ledger.clips.pending_among(batch.keys, runtime.settings.max_attempts)
    for key in pending:
        clip = standings[key].clip
        if runtime.catalogue.find(clip.model) is not None:
            ledger.attempts.stop(
                {key: cost_micros(clip, runtime.catalogue)},
                runtime.account,
                batch_id=batch.batch_id,
                kind="terminated",
                message=_terminated(standings[key].production_id, clip.clip_id),
            )


def _failures_to_show(
    instance: dg.DagsterInstance, runtime: PipelineRuntime, at_work: Sequence[Batch]
) -> Iterator[dg.RunRequest]:
    """Runs over just those clips that could not be submitted, and whose run ended before it could show them."""
    ledger, names = runtime.ledger, runtime.names
    working = {batch.batch_id for batch in at_work}
    unshown = [
        attempt
        for attempt in ledger.attempts.unshown_submits(names.name)
        # Of a batch that is not known, a run of another ledger or of an earlier version has shown it.
        if attempt.batch_id not in working and ledger.batches.get(attempt.batch_id) is not None
    ]
    if not unshown:
        return
    keys = [attempt.clip_key for attempt in unshown]
    pending = set(ledger.clips.pending_among(keys, runtime.settings.max_attempts))
    order = partition_order(instance, names, keys)
    given_up = [a.attempt_id for a in unshown if a.result.collect_tries >= MOST_TRIES]
    ledger.attempts.report(given_up)  # the runs that were to show them all died
    to_show = [a for a in unshown if a.clip_key not in pending and a.attempt_id not in given_up]
    lease_s = requested_lease_s(runtime.settings)
    ledger.attempts.expect_collect([attempt.attempt_id for attempt in to_show], lease_s)
    for batch_id in dict.fromkeys(attempt.batch_id for attempt in to_show):
        failed = [attempt.clip_key for attempt in to_show if attempt.batch_id == batch_id]
        for partitions in contiguous_ranges(failed, order, runtime.settings.batch_size):
            yield range_request(
                partitions,
                job_name=names.generations_job,
                run_key=f"show:{batch_id}:{partitions.first}:{uuid.uuid4().hex[:12]}",
                sensor=names.of(NAME),
                tags={BATCH_TAG: batch_id},
            )


def _stop(ledger: Ledger, reserved: list[Attempt]) -> None:
    """A person terminated the run that was to submit these: nothing was sent, and nothing is until a person says so."""
    for attempt in reserved:
        sentence = _terminated(attempt.production_id, attempt.clip_id)
        ledger.attempts.fail(
            attempt.attempt_id,
            "terminated",
            sentence,
            retryable=False,
            reported=True,
            leaving=[AttemptState.RESERVED],
        )


def _terminated(production_id: str, clip_id: str) -> str:
    facts = {"production": production_id, "clip": clip_id}
    return explained(Reason("a person terminated the Dagster run that was to submit it", "terminated", facts))


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
            leaving=[AttemptState.RESERVED],
        )

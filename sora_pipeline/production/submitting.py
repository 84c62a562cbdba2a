"""Ensures that clips have a prediction: finds what is known of each, and submits what is missing, once."""

import asyncio
from collections.abc import Mapping, Sequence

from sora_pipeline.admission.holds import Admission
from sora_pipeline.ledger import Attempt, ClipStanding, Ledger
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.decisions import Need, need_of
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.sending import Sender
from sora_pipeline.production.submit_results import SubmitResults, why_ambiguous
from sora_pipeline.provider.errors import ErrorKind, TransientError

LOOK_AGAIN_S = 1.0
STEP_WAIT_S = 10.0
MAX_STEP_WAIT_S = 300.0


async def ensure_predictions(
    context: RunContext, keys: Sequence[str], *, batch_id: str, may_begin: bool, force: bool = False
) -> SubmitResults:
    """Bring every clip to an accepted prediction, a video, or a reason why not.

    Args:
        context: What the run works with.
        keys: The clips, in the order in which they are to be submitted.
        batch_id: The batch whose reservations this run may use, and under which it reserves more.
        may_begin: Whether this run may begin attempts that no dispatch reserved: a person asked for it.
        force: Begin one although the clip is delivered with the same fingerprint.
    """
    results = SubmitResults()
    sender = Sender.of(context, results)
    undecided = list(keys)
    async with context.alive():
        while undecided:
            standings = await asyncio.to_thread(context.ledger.clips.standings, undecided)
            for key in (candidate for candidate in undecided if candidate not in standings):
                results.failed[key] = "no manifest that was read names this clip; read its manifest first"
            needs = _needs(context, undecided, standings, batch_id, force)
            to_send = _settle(context, needs, standings, results)
            undecided = [key for key in undecided if not results.has_settled(key)]
            if undecided and not to_send:
                if not may_begin:
                    for key in undecided:
                        results.waiting[key] = (
                            "no attempt is reserved for it; the dispatch sensor plans the next"
                        )
                    break
                to_begin = [key for key in undecided if needs[key] is Need.BEGIN]
                to_send = await _reserve(context, to_begin, standings, batch_id, results, force)
            if to_send:
                await _send_all(context, sender, standings, to_send)
            undecided = [key for key in undecided if not results.has_settled(key)]
            if undecided and not to_send:
                await _wait_for_slots(context)
    return results


def _needs(
    context: RunContext,
    keys: Sequence[str],
    standings: Mapping[str, ClipStanding],
    batch_id: str,
    force: bool,
) -> dict[str, Need]:
    """What each clip that is known needs."""
    now = context.ledger.now()
    return {
        key: need_of(
            standings[key],
            batch_id=batch_id,
            owner=context.owner,
            account=context.account,
            force=force,
            now=now,
        )
        for key in keys
        if key in standings
    }


def _settle(
    context: RunContext,
    needs: Mapping[str, Need],
    standings: Mapping[str, ClipStanding],
    results: SubmitResults,
) -> list[Attempt]:
    """Do what can be done at once; returns the reservations that are ours to send."""
    to_send: list[Attempt] = []
    for key, need in needs.items():
        standing, latest = standings[key], standings[key].latest
        match need:
            case Need.NOTHING:
                attempt = latest if latest is not None and latest.live else standing.delivered
                assert attempt is not None
                results.ready[key] = attempt
            case Need.SHOW_FAILURE:
                results.failed[key] = latest.why if latest else ""
            case Need.SHOW_AMBIGUOUS:
                assert latest is not None
                message = latest.failure.message if latest.failure else "its answer was lost"
                results.failed[key] = context.explained(why_ambiguous(latest, message))
            case Need.SUBMIT if latest is not None:
                to_send.append(latest)
            case Need.RELEASE if latest is not None:
                context.ledger.attempts.release(latest.attempt_id)
            case Need.PARK if latest is not None:
                park_lost(context.ledger, latest)
            case _:
                pass
    return to_send


async def _send_all(
    context: RunContext, sender: Sender, standings: Mapping[str, ClipStanding], to_send: Sequence[Attempt]
) -> None:
    # Before the first submit: a run that sends slowly must not look like one that died.
    held = [attempt.attempt_id for attempt in to_send]
    await asyncio.to_thread(context.ledger.attempts.claim, held, context.owner, context.lease_s)
    # Not a task group: where one submit breaks, those whose request is on its way must still hear the answer.
    submits = (sender.send(standings[attempt.clip_key], attempt) for attempt in to_send)
    for ended in await asyncio.gather(*submits, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def park_lost(ledger: Ledger, attempt: Attempt) -> None:
    """A run died between committing the intent and recording the answer: nobody knows what the provider did."""
    ledger.attempts.park_ambiguous(
        attempt.attempt_id,
        ErrorKind.AMBIGUOUS_SUBMIT,
        "the run that submitted it died before it recorded the answer",
    )


async def _reserve(
    context: RunContext,
    keys: Sequence[str],
    standings: Mapping[str, ClipStanding],
    batch_id: str,
    results: SubmitResults,
    force: bool,
) -> list[Attempt]:
    """Begin attempts for clips that have none, as a person asked for them."""
    account = context.account
    if context.ledger.breakers.get(account.name) is not None:
        for key in keys:
            results.hold_back(key, context)
        return []
    context.ledger.clips.new_round(
        [key for key in keys if not standings[key].pending(context.settings.max_attempts)]
    )
    costs = {key: context.cost_micros(standings[key].clip) for key in keys}
    reservation = await asyncio.to_thread(
        context.ledger.attempts.reserve,
        costs,
        account=account,
        batch_id=batch_id,
        limits=context.limits,
        lease_s=context.lease_s,
        owner=context.owner,
        force=force,
    )
    for key in reservation.unwanted:
        results.failed[key] = "the manifest no longer names this clip; put its row back and read it again"
    holds: dict[str, Admission] = {}
    for key in (*reservation.no_budget, *reservation.elsewhere):
        identity = standings[key].production_id
        if identity not in holds:
            production = context.ledger.productions.get(identity)
            holds[identity] = Admission(context.ledger, production, context.settings)
        hold = holds[identity].of(costs[key])
        results.waiting[key] = (
            context.explained(hold.reason) if hold else "no money was left for it just now; run it again"
        )
    return reservation.reserved


async def _wait_for_slots(context: RunContext) -> None:
    """Wait for slots or for another run; poll meanwhile, for there may be no daemon that does."""
    due = await asyncio.to_thread(
        context.ledger.attempts.due, 500, account=context.account.name, pipeline=context.pipeline
    )
    await sweep(context, due, budget_s=20)
    await asyncio.sleep(LOOK_AGAIN_S)


def fail_transient(context: RunContext, results: SubmitResults) -> None:
    """Give up on requests that were refused again and again; nothing was billed for them."""
    for key, (attempt, error) in results.transient.items():
        context.ledger.attempts.fail(
            attempt.attempt_id, error.kind, error.message, retryable=True, reported=True
        )
        results.failed[key] = f"{error.kind}: {error.message}"
    results.transient.clear()


def retry_wait_s(context: RunContext, results: SubmitResults) -> float:
    """Seconds until the step is to be tried again; the reservations are held for that long."""
    requested_waits = [
        error.retry_after_s or 0.0
        for _, error in results.transient.values()
        if isinstance(error, TransientError)
    ]
    wait = min(max([STEP_WAIT_S, *requested_waits]), MAX_STEP_WAIT_S)
    held = [attempt.attempt_id for attempt, _ in results.transient.values()]
    context.ledger.attempts.extend(held, wait + context.lease_s)
    return wait

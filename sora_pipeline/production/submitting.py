"""Ensures that clips have a prediction: finds what is known of each, and submits what is missing, once."""

import asyncio
from collections.abc import Mapping, Sequence

from sora_pipeline.admission.holds import Admission
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding, Ledger
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.decisions import Need, Said, is_stuck, need_of
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.sending import Sender
from sora_pipeline.production.stuck import ask_again, give_up
from sora_pipeline.production.submit_results import SubmitResults, why_ambiguous
from sora_pipeline.production.unexpected import to_the_end
from sora_pipeline.provider.errors import ErrorKind

LOOK_AGAIN_S = 1.0


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
        if may_begin:
            await _ask_again(context, undecided, batch_id=batch_id, force=force)
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


async def _ask_again(context: RunContext, keys: Sequence[str], *, batch_id: str, force: bool) -> None:
    """Ask once more for what no run waits for any more, and give up what the provider has lost; forced, what it still renders."""
    standings = await asyncio.to_thread(context.ledger.clips.standings, keys)
    stuck = [s.latest for s in standings.values() if s.latest is not None and is_stuck(s.latest)]
    if not stuck:
        return
    said = await ask_again(context, stuck)
    for attempt in stuck:
        now = said.get(attempt.attempt_id)
        # Not the forced run's own, where that is executed again: it is worth one attempt, and this is it.
        forced = force and attempt.batch_id != batch_id
        if now is Said.LOST or (forced and now is Said.RUNNING):
            give_up(context.ledger, attempt, "a person had it made once more")
        elif now is Said.RENDERED and attempt.state is AttemptState.SUCCEEDED:
            context.ledger.attempts.fetch_again(attempt.attempt_id)


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
    await to_the_end(sender.send(standings[attempt.clip_key], attempt) for attempt in to_send)


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
    account, ledger = context.account, context.ledger
    stopped, models = ledger.breakers.get(account.name), ledger.breakers.of_models(account.name)
    costs: dict[str, int] = {}
    unknown: list[str] = []
    for key in keys:
        clip = standings[key].clip
        if (breaker := stopped or models.get(clip.model)) is not None:
            results.hold_back(key, context, breaker)
        elif context.catalogue.find(clip.model) is None:
            unknown.append(key)
        else:
            costs[key] = context.cost_micros(clip)
    ledger.clips.new_round(
        [key for key in costs if not standings[key].pending(context.settings.max_attempts)]
    )
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
    _hold(context, [*unknown, *reservation.no_budget, *reservation.elsewhere], standings, results)
    return reservation.reserved


def _hold(
    context: RunContext, keys: Sequence[str], standings: Mapping[str, ClipStanding], results: SubmitResults
) -> None:
    """Leave clips to a later run, with what holds each."""
    ledger = context.ledger
    admissions = {
        identity: Admission(ledger, ledger.productions.get(identity), context.settings, context.catalogue)
        for identity in {standings[key].production_id for key in keys}
    }
    for key in keys:
        hold = admissions[standings[key].production_id].of(standings[key].clip)
        nothing_left = "no money was left for it just now; run it again"
        results.waiting[key] = context.explained(hold.reason) if hold else nothing_left


async def _wait_for_slots(context: RunContext) -> None:
    """Wait for slots or for another run; poll meanwhile, for there may be no daemon that does."""
    due = await asyncio.to_thread(
        context.ledger.attempts.due, 500, account=context.account.name, pipeline=context.pipeline
    )
    await sweep(context, due, budget_s=20)
    await asyncio.sleep(LOOK_AGAIN_S)

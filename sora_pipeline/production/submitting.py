"""Ensures that clips have a prediction: finds what is known of each, and submits what is missing, once."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding, Ledger
from sora_pipeline.ledger.clocks import is_over
from sora_pipeline.production.context import Desk
from sora_pipeline.production.ensured import AMBIGUOUS_ADVICE, Ensured
from sora_pipeline.production.holding import Holds
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.sending import Sender
from sora_pipeline.provider.errors import ErrorKind, TransientError

LOOK_AGAIN_S = 1.0
STEP_WAIT_S = 10.0
MAX_STEP_WAIT_S = 300.0


async def ensure_predictions(
    desk: Desk, clip_ids: Sequence[str], *, batch_id: str, may_begin: bool, force: bool = False
) -> Ensured:
    """Bring every clip to an accepted prediction, a video, or a reason why not.

    Args:
        desk: The tools at hand.
        clip_ids: In the order in which they are to be submitted.
        batch_id: The batch whose reservations this run may use, and under which it reserves more.
        may_begin: Whether this run may begin attempts that no dispatch reserved: a person asked for it.
        force: Begin one although the clip is delivered with the same fingerprint.
    """
    ensured = Ensured()
    sender = Sender.of(desk, ensured)
    undecided = list(clip_ids)
    async with desk.alive():
        while undecided:
            standings = await asyncio.to_thread(desk.ledger.clips.standings, undecided)
            mine, undecided = _sort(desk, undecided, standings, ensured, batch_id, force)
            if undecided and not mine:
                if not may_begin:
                    for clip_id in undecided:
                        ensured.waiting[clip_id] = (
                            "no attempt is reserved for it; the dispatch sensor plans the next"
                        )
                    break
                mine = await _reserve(desk, undecided, standings, batch_id, ensured, force)
            if not mine:
                undecided = [each for each in undecided if each not in ensured]
                if undecided:
                    await _make_room(desk)
                continue
            # Before the first submit: a run that sends slowly must not look like one that died.
            held = [attempt.attempt_id for attempt in mine]
            await asyncio.to_thread(desk.ledger.attempts.claim, held, desk.owner, desk.lease_s)
            await _all_to_their_end(sender.send(standings[attempt.clip_id], attempt) for attempt in mine)
            undecided = [each for each in undecided if each not in ensured]
    return ensured


async def _all_to_their_end(submits: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Not a task group: where one submit breaks, those whose request is on its way must still hear the answer."""
    for ended in await asyncio.gather(*submits, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def _sort(
    desk: Desk,
    clip_ids: Sequence[str],
    standings: dict[str, ClipStanding],
    ensured: Ensured,
    batch_id: str,
    force: bool,
) -> tuple[list[Attempt], list[str]]:
    """What is known of each clip decides: attach, fail, submit a reservation, or leave undecided."""
    mine: list[Attempt] = []
    undecided: list[str] = []
    for clip_id in clip_ids:
        standing = standings.get(clip_id)
        if standing is None:
            ensured.failed[clip_id] = (
                "no manifest that was read names this clip; materialize prompt_manifest first"
            )
            continue
        latest = standing.latest
        tried = latest is not None and latest.batch_id == batch_id
        if standing.delivered and (tried or not force) and not (latest and latest.live):
            ensured.ready[clip_id] = standing.delivered
        elif latest is None or not latest.live:
            if latest is not None and tried:
                ensured.failed[clip_id] = f"{latest.error_kind}: {latest.error_message}"
            else:
                undecided.append(clip_id)
        elif latest.state in (AttemptState.IN_FLIGHT, AttemptState.SUCCEEDED, AttemptState.TIMED_OUT):
            ensured.ready[clip_id] = latest
        elif latest.state is AttemptState.AMBIGUOUS:
            advice = AMBIGUOUS_ADVICE.format(clip_id=clip_id)
            ensured.failed[clip_id] = f"{latest.error_message}. {advice}"
        elif latest.state is AttemptState.RESERVED and _claimable(desk, latest):
            mine.append(latest)
        elif (
            latest.state is AttemptState.SUBMITTING
            and _claimable(desk, latest)
            and latest.owner != desk.owner
        ):
            park_lost(desk.ledger, latest)
            undecided.append(clip_id)
        else:  # another run is submitting it at this moment
            undecided.append(clip_id)
    return mine, undecided


def _claimable(desk: Desk, attempt: Attempt) -> bool:
    expired = attempt.lease_until is not None and is_over(attempt.lease_until, desk.ledger.now())
    return attempt.owner in (None, desk.owner) or expired


def park_lost(ledger: Ledger, attempt: Attempt) -> None:
    """A run died between committing the intent and recording the answer: nobody knows what the provider did."""
    ledger.attempts.park_ambiguous(
        attempt.attempt_id,
        ErrorKind.AMBIGUOUS_SUBMIT,
        "the run that submitted it died before it recorded the answer",
    )


async def _reserve(
    desk: Desk,
    clip_ids: Sequence[str],
    standings: dict[str, ClipStanding],
    batch_id: str,
    ensured: Ensured,
    force: bool,
) -> list[Attempt]:
    """Begin attempts for clips that have none, as a person asked for them."""
    if desk.ledger.breakers.get(desk.settings.provider) is not None:
        for clip_id in clip_ids:
            ensured.hold_back(clip_id, desk.ledger, desk.settings.provider)
        return []
    failed_for_good = [
        clip_id for clip_id in clip_ids if not standings[clip_id].pending(desk.settings.max_attempts)
    ]
    idle = [each for each in failed_for_good if not (latest := standings[each].latest) or not latest.live]
    desk.ledger.clips.new_round(idle)
    costs = {clip_id: desk.cost_micros(standings[clip_id].clip) for clip_id in clip_ids}
    reservation = await asyncio.to_thread(
        desk.ledger.attempts.reserve,
        costs,
        batch_id=batch_id,
        limits=desk.limits,
        lease_s=desk.lease_s,
        owner=desk.owner,
        force=force,
    )
    for clip_id in reservation.unwanted:
        ensured.failed[clip_id] = "the manifest no longer names this clip; put its row back and read it again"
    holds: dict[str, Holds] = {}
    for clip_id in reservation.no_budget:
        owner = standings[clip_id].production_id
        if owner not in holds:
            holds[owner] = Holds(desk.ledger, desk.ledger.productions.get(owner), desk.settings)
        hold = holds[owner].of(costs[clip_id])
        ensured.waiting[clip_id] = (
            hold.sentence if hold else "no money was left for it just now; run it again"
        )
    return reservation.reserved


async def _make_room(desk: Desk) -> None:
    """Wait for slots or for another run; poll meanwhile, for there may be no daemon that does."""
    due = await asyncio.to_thread(desk.ledger.attempts.due, 500)
    await sweep(desk, due, budget_s=20)
    await asyncio.sleep(LOOK_AGAIN_S)


def fail_transient(desk: Desk, ensured: Ensured) -> None:
    """Give up on requests that were refused again and again; nothing was billed for them."""
    for clip_id, (attempt, error) in ensured.transient.items():
        desk.ledger.attempts.fail(
            attempt.attempt_id, error.kind, error.message, retryable=True, reported=True
        )
        ensured.failed[clip_id] = f"{error.kind}: {error.message}"
    ensured.transient.clear()


def retry_wait_s(desk: Desk, ensured: Ensured) -> float:
    """Seconds until the step is to be tried again; the reservations are held for that long."""
    asked = [
        error.retry_after_s or 0.0
        for _, error in ensured.transient.values()
        if isinstance(error, TransientError)
    ]
    wait = min(max([STEP_WAIT_S, *asked]), MAX_STEP_WAIT_S)
    held = [attempt.attempt_id for attempt, _ in ensured.transient.values()]
    desk.ledger.attempts.extend(held, wait + desk.lease_s)
    return wait

"""Ensures that clips have a prediction: finds what is known of each, and submits what is missing, once."""

import asyncio
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.media.fit import FittedImage, ImageFit
from sora_pipeline.media.images import ImageProblem
from sora_pipeline.production.context import Desk
from sora_pipeline.production.holding import Holds
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.stopping import stop_on_policy_failures, stop_sentence
from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    BlockedError,
    ErrorKind,
    ProviderError,
    RejectedError,
    TransientError,
)
from sora_pipeline.provider.protocol import Accepted, InputImage, SubmitRequest
from sora_pipeline.uris import is_http

if TYPE_CHECKING:
    from sora_pipeline.provider.retrying import SubmitGate

CONCURRENT_SUBMITS = 32
SUBMIT_TRIES = 4
LOOK_AGAIN_S = 1.0
FIRST_PAUSE_S = 2.0
MOST_PAUSE_S = 120.0
STEP_WAIT_S = 10.0
MAX_STEP_WAIT_S = 300.0

AMBIGUOUS_ADVICE = (
    "It may have been billed, so it is not sent again by itself. Look at the provider's dashboard, then "
    "`sora-pipeline retry --clip {clip_id}` to pay for another, or set SORA_AMBIGUOUS_SUBMIT=resubmit"
)


@dataclass(slots=True)
class Ensured:
    """How each clip that a run was asked to ensure ended up.

    Attributes:
        ready: Clips that have a prediction or a video, with the attempt that has it.
        failed: Clips that have none for good, with the sentence for people.
        transient: Clips whose request was refused for now; their attempts stay reserved for a retry.
        waiting: Clips that may go on later (no budget, breaker open), with the reason.
        fresh: Ids of attempts that this run submitted.
        stopped: Why nothing is submitted at all at the moment, and what to do.
    """

    ready: dict[str, Attempt] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    transient: dict[str, tuple[Attempt, ProviderError]] = field(default_factory=dict)
    waiting: dict[str, str] = field(default_factory=dict)
    fresh: set[int] = field(default_factory=set)
    stopped: str | None = None


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
    from sora_pipeline.provider.retrying import SubmitGate

    gate = SubmitGate(per_minute=desk.settings.submits_per_minute)
    crowd = asyncio.Semaphore(CONCURRENT_SUBMITS)
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
                undecided = [each for each in undecided if not _decided(ensured, each)]
                if undecided:
                    await _make_room(desk)
                continue
            # Before the first submit: a run that sends slowly must not look like one that died.
            held = [attempt.attempt_id for attempt in mine]
            await asyncio.to_thread(desk.ledger.attempts.claim, held, desk.owner, desk.lease_s)
            await _all_to_their_end(
                _submit(desk, standings[attempt.clip_id], attempt, gate, crowd, ensured) for attempt in mine
            )
            undecided = [each for each in undecided if not _decided(ensured, each)]
    return ensured


async def _all_to_their_end(submits: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Not a task group: where one submit breaks, those whose request is on its way must still hear the answer."""
    for ended in await asyncio.gather(*submits, return_exceptions=True):
        if isinstance(ended, BaseException):
            raise ended


def _decided(ensured: Ensured, clip_id: str) -> bool:
    return any(
        clip_id in ended for ended in (ensured.ready, ensured.failed, ensured.transient, ensured.waiting)
    )


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
            park_lost(desk, latest)
            undecided.append(clip_id)
        else:  # another run is submitting it at this moment
            undecided.append(clip_id)
    return mine, undecided


def _claimable(desk: Desk, attempt: Attempt) -> bool:
    expired = attempt.lease_until is not None and attempt.lease_until < desk.ledger.now()
    return attempt.owner in (None, desk.owner) or expired


def park_lost(desk: Desk, attempt: Attempt) -> None:
    """A run died between committing the intent and recording the answer: nobody knows what the provider did."""
    desk.ledger.attempts.park_ambiguous(
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
            _stopped(desk, ensured, clip_id)
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
    for clip_id in reservation.no_budget:
        production = desk.ledger.productions.get(standings[clip_id].production_id)
        hold = Holds(desk.ledger, production, desk.settings).of(costs[clip_id])
        ensured.waiting[clip_id] = (
            hold.sentence if hold else "no money was left for it just now; run it again"
        )
    return reservation.reserved


async def _make_room(desk: Desk) -> None:
    """Wait for slots or for another run; poll meanwhile, for there may be no daemon that does."""
    due = await asyncio.to_thread(desk.ledger.attempts.due, 500)
    await sweep(desk, due, budget_s=20)
    await asyncio.sleep(LOOK_AGAIN_S)


async def _submit(
    desk: Desk,
    standing: ClipStanding,
    attempt: Attempt,
    gate: "SubmitGate",
    crowd: asyncio.Semaphore,
    ensured: Ensured,
) -> None:
    """Submit one reservation and record how it ended, whatever happens."""
    from sora_pipeline.provider.retrying import GateClosed, retry_transient

    clip_id = attempt.clip_id
    ledger = desk.ledger.attempts
    async with crowd:
        if _blocking(desk, attempt) is not None:
            ledger.release(attempt.attempt_id)
            _stopped(desk, ensured, clip_id)
            return
        try:
            request, summary = await _request(desk, standing)
        except ImageProblem as problem:
            ledger.fail(
                attempt.attempt_id, "image", problem.message, retryable=problem.transient, reported=True
            )
            ensured.failed[clip_id] = problem.message
            return

        async def send() -> Accepted:
            # Again, for it may have opened while this one waited for its turn.
            if _blocking(desk, attempt) is not None:
                raise GateClosed
            # Another run with the same key may have been told to slow down.
            await asyncio.sleep(min(desk.ledger.pauses.left_s(desk.settings.provider), MOST_PAUSE_S))
            # In a thread, as all that may wait for the database here: others listen for their answers meanwhile.
            begun = await asyncio.to_thread(
                ledger.begin_submit,
                attempt.attempt_id,
                desk.owner,
                lease_s=desk.lease_s,
                request_summary=summary,
            )
            if not begun:
                raise _Taken
            try:
                return await desk.provider.submit(request)
            except TransientError as error:
                await asyncio.to_thread(ledger.withdraw, attempt.attempt_id)
                if error.kind is ErrorKind.RATE_LIMITED:
                    pause = min(error.retry_after_s or FIRST_PAUSE_S, MOST_PAUSE_S)
                    desk.ledger.pauses.pause(desk.settings.provider, pause)
                raise

        try:
            accepted = await retry_transient(send, gate=gate, tries=SUBMIT_TRIES, say=desk.say)
        except _Taken:
            return  # another run has it; the next look at the ledger decides
        except GateClosed:
            ledger.release(attempt.attempt_id)
            _stopped(desk, ensured, clip_id)
        except TransientError as error:
            ensured.transient[clip_id] = (attempt, error)
        except AmbiguousSubmitError as error:
            ensured.failed[clip_id] = _park(desk, attempt, error)
        except RejectedError as error:
            ledger.fail(attempt.attempt_id, error.kind, error.message, retryable=False, reported=True)
            ensured.failed[clip_id] = f"{error.kind}: {error.message}"
            if error.kind is ErrorKind.CONTENT_POLICY:
                stop_on_policy_failures(desk)
        except BlockedError as error:
            desk.ledger.breakers.open(desk.settings.provider, error.kind, error.message)
            gate.close()
            ledger.withdraw(attempt.attempt_id)
            ledger.release(attempt.attempt_id)
            _stopped(desk, ensured, clip_id)
        else:
            await asyncio.to_thread(_record, desk, attempt, accepted)
            breaker = desk.ledger.breakers.get(desk.settings.provider)
            if breaker is not None and breaker.probe_batch == attempt.batch_id:
                desk.ledger.breakers.close(desk.settings.provider)
                desk.say("the probe was accepted: submits go on")
            ensured.fresh.add(attempt.attempt_id)
            ensured.ready[clip_id] = ledger.get(attempt.attempt_id)


def _blocking(desk: Desk, attempt: Attempt) -> Breaker | None:
    """The breaker that stands in this attempt's way: an open one, unless the attempt is its probe."""
    breaker = desk.ledger.breakers.get(desk.settings.provider)
    return None if breaker is None or breaker.probe_batch == attempt.batch_id else breaker


def _park(desk: Desk, attempt: Attempt, error: AmbiguousSubmitError) -> str:
    if desk.settings.ambiguous_submit == "resubmit":
        desk.ledger.attempts.fail(
            attempt.attempt_id,
            error.kind,
            error.message,
            retryable=True,
            reported=True,
            possibly_billed=True,
        )
        return (
            f"{error.message}. It may have been billed; SORA_AMBIGUOUS_SUBMIT=resubmit begins another attempt"
        )
    desk.ledger.attempts.park_ambiguous(attempt.attempt_id, error.kind, error.message)
    return f"{error.message}. {AMBIGUOUS_ADVICE.format(clip_id=attempt.clip_id)}"


class _Taken(Exception):
    """Another run has claimed the attempt meanwhile."""


def _stopped(desk: Desk, ensured: Ensured, clip_id: str) -> None:
    """Leave a clip to a later run, with the reason."""
    breaker = desk.ledger.breakers.get(desk.settings.provider)
    if breaker is None:
        ensured.waiting[clip_id] = "submits were stopped, and go on; the dispatch sensor plans it again"
        return
    ensured.stopped = ensured.waiting[clip_id] = stop_sentence(breaker)


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


def _record(desk: Desk, attempt: Attempt, accepted: Accepted) -> None:
    recorded = desk.ledger.attempts.accept(
        attempt.attempt_id,
        prediction_id=accepted.prediction_id,
        poll_url=accepted.poll_url,
        provider_status=accepted.provider_status,
        model_returned=accepted.model_returned,
        deadline_s=desk.settings.generation_timeout_s,
        first_poll_s=desk.settings.poll_interval_s,
    )
    if not recorded:
        desk.say(
            f"{attempt.clip_id}: prediction {accepted.prediction_id} was accepted after a person had given its attempt up; "
            "it is billed, and can be fetched at the provider"
        )
    if accepted.warning:
        desk.say(f"{attempt.clip_id}: {accepted.warning}")


async def _request(desk: Desk, standing: ClipStanding) -> tuple[SubmitRequest, dict[str, object]]:
    """The request, and what of it is worth remembering.

    Raises:
        ImageProblem: the image cannot be read or fitted, or is not the one the manifest was read with.
    """
    clip = standing.clip
    summary: dict[str, object] = {"model": clip.model, "duration": clip.duration, "size": str(clip.size)}
    image = None
    if clip.image is not None:
        fitted = await asyncio.to_thread(
            desk.images.get, clip.image, clip.size, ImageFit(desk.settings.image_fit)
        )
        if fitted.original_sha256 != clip.image_sha256:
            raise ImageProblem(
                f"{clip.image} has changed since the manifest was read; materialize prompt_manifest again"
            )
        url = clip.image if is_http(clip.image) and fitted.unchanged else None
        image = InputImage(fitted.content, fitted.media_type, url)
        summary["image"] = _fitting(fitted)
    return SubmitRequest(clip.prompt, clip.model, clip.duration, clip.size, image), summary


def _fitting(fitted: FittedImage) -> str:
    original = f"{fitted.original_width}x{fitted.original_height} {fitted.original_format}"
    return original if fitted.unchanged else f"{original} → {fitted.width}x{fitted.height} ({fitted.action})"

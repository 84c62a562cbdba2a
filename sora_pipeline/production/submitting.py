"""Ensures that clips have a prediction: finds what is known of each, and submits what is missing, once, as slots come free."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from sora_pipeline.admission.holds import Admission
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding, Ledger
from sora_pipeline.ledger.batches import GENERATIONS
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.decisions import Need, Said, is_stuck, need_of
from sora_pipeline.production.sending import Sender
from sora_pipeline.production.stuck import ask_again, give_up
from sora_pipeline.production.submit_results import LEFT, UNWANTED, SubmitResults, why_ambiguous
from sora_pipeline.production.watching import polling
from sora_pipeline.provider.errors import ErrorKind

LOOK_S = 0.5
"""Seconds between two looks for a free slot, where nothing has said that one came free."""
LOOK_AGAIN_S = 2.0
"""Seconds between two looks at clips that others have, or that want another attempt."""


async def ensure_predictions(
    context: RunContext,
    keys: Sequence[str],
    *,
    batch_id: str,
    may_begin: bool,
    force: bool = False,
    asked_at: datetime | None = None,
    results: SubmitResults | None = None,
    settled: Callable[[str], None] = lambda key: None,
) -> SubmitResults:
    """Bring every clip to an accepted prediction, a video, or a reason why not, as slots come free.

    Args:
        context: What the run works with.
        keys: The clips, in the order in which they are to be submitted.
        batch_id: The batch whose reservations this run may use, and under which it reserves more.
        may_begin: Whether this run may begin attempts that nobody planned: a person asked for it. Else it begins those of its
            batch that are pending by themselves, and leaves when it has found nothing to do for ``idle_s``.
        force: Begin one although the clip is delivered with the same fingerprint.
        asked_at: When a person asked for this run: what was cancelled before that is begun anew. None: it is not known, and nothing is.
        results: Where it is noted how each ends.
        settled: Called with the key of each clip as soon as it is known what becomes of it in this run.
    """
    results = SubmitResults() if results is None else results
    submits = await _Submits.begin(context, keys, batch_id, may_begin, force, results, settled)
    async with context.alive(), polling(context, submits.woken):
        if may_begin:
            await _begin_cancelled_anew(context, keys, asked_at)
            await _ask_again(context, keys, batch_id=batch_id, force=force)
        await submits.go_on()
    return results


class _Submits:
    """What one run has still to do about its clips."""

    def __init__(
        self,
        context: RunContext,
        keys: Sequence[str],
        batch_id: str,
        kept_as: str,
        planned: Container[str] | None,
        force: bool,
        results: SubmitResults,
        settled: Callable[[str], None],
    ) -> None:
        self.results = results
        self.woken = asyncio.Event()
        self._context = context
        self._keys = keys
        self._batch_id = batch_id
        self._kept_as = kept_as
        """The batch that says which clips are this run's; its reservations are those of ``batch_id``."""
        self._planned = planned
        """Clips that it may begin where they are pending by themselves; None: a person's run, which may begin any."""
        self._force = force
        self._settled = settled
        self._sender = Sender.of(context, self.results)
        self._to_begin: dict[str, str] = {}  # keys, in order, with their productions
        self._of_others: set[str] = set()
        self._sending: set[asyncio.Task[None]] = set()
        self._idle_since = self._looked_at = time.monotonic()

    @classmethod
    async def begin(
        cls,
        context: RunContext,
        keys: Sequence[str],
        batch_id: str,
        may_begin: bool,
        force: bool,
        results: SubmitResults,
        settled: Callable[[str], None],
    ) -> "_Submits":
        """Take a batch over, with what was planned to be begun in it."""
        batches = context.ledger.batches
        batch = await asyncio.to_thread(batches.get, batch_id)
        planned = frozenset(batch.keys) if batch is not None else frozenset()
        kept_as = await asyncio.to_thread(
            batches.begin,
            batch_id,
            context.owner,
            pipeline=context.pipeline,
            account=context.account.name,
            asset=GENERATIONS,
            keys=keys,
            lease_s=context.lease_s,
        )
        return cls(context, keys, batch_id, kept_as, None if may_begin else planned, force, results, settled)

    async def go_on(self) -> None:
        """Submit whenever a slot is free, until all is settled or the run is to leave."""
        await self._look_at(self._keys)
        while self._to_begin or self._of_others or self._sending:
            await self._fill_slots()
            if self._has_to_leave():
                break
            if self._to_begin or self._of_others or self._sending:
                await self._wait()
            if time.monotonic() - self._looked_at > LOOK_AGAIN_S:
                await self._look_again()
        await self._leave()

    def _has_to_leave(self) -> bool:
        if self._sending:
            self._idle_since = time.monotonic()
        idle_s = time.monotonic() - self._idle_since
        tired = self._planned is not None and idle_s > self._context.settings.idle_s
        return tired or self._context.leave.is_set()

    async def _leave(self) -> None:
        """Hear what is on its way, and leave the rest to another run."""
        if self._to_begin or self._of_others or self._sending:
            self._context.leave.set()
            self._sender.gate.close()
        if self._sending:
            await asyncio.wait(self._sending)
        for key in (*self._to_begin, *self._of_others):
            self._wait_for_later(key, LEFT)

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self.woken.wait()
        self.woken.clear()

    async def _look_again(self) -> None:
        """Show that this run lives, and look at what may have changed without it."""
        self._looked_at = time.monotonic()
        context, wanted = self._context, Counter(self._to_begin.values())
        await asyncio.to_thread(
            context.sign_batch,
            self._kept_as,
            # What waits for a word, money or a model is anybody's again as soon as that has come.
            keys=[key for key in self._keys if key not in self.results.waiting],
            wanted=wanted,
        )
        if self._planned is not None and self.results.ready:
            # Accepted, failed while it was rendered, and worth another attempt.
            again = await asyncio.to_thread(
                context.ledger.clips.pending_among, list(self.results.ready), context.settings.max_attempts
            )
            for key in again:
                del self.results.ready[key]
            await self._look_at(again)
        if self._of_others:
            of_others, self._of_others = self._of_others, set()
            await self._look_at([key for key in self._keys if key in of_others])

    async def _look_at(self, keys: Sequence[str]) -> None:
        """Sort clips by what they need, and begin to send the reservations that are this run's."""
        if not keys:
            return
        standings = await asyncio.to_thread(self._context.ledger.clips.standings, keys)
        for key in (unknown for unknown in keys if unknown not in standings):
            self._fail(key, "no manifest that was read names this clip; read its manifest first")
        to_send = [
            standings[key] for key in keys if key in standings and await self._is_to_be_sent(standings[key])
        ]
        if to_send:
            # Before the first submit: a run that sends slowly must not look like one that died.
            held = [standing.latest.attempt_id for standing in to_send if standing.latest]
            attempts, owner = self._context.ledger.attempts, self._context.owner
            await asyncio.to_thread(attempts.claim, held, owner, self._context.lease_s)
        for standing in to_send:
            assert standing.latest is not None
            self._send(standing, standing.latest)

    async def _is_to_be_sent(self, standing: ClipStanding) -> bool:
        """Do or note what a clip needs; whether that is to send its reservation."""
        context, key, latest = self._context, standing.key, standing.latest
        match self._need_of(standing):
            case Need.SUBMIT:
                return True
            case Need.NOTHING:
                live = latest is not None and latest.live
                attempt = latest if live or standing.delivered is None else standing.delivered
                assert attempt is not None
                self.results.ready[key] = attempt
                self._note_settled(key)
            case Need.SHOW_FAILURE:
                self._fail(key, latest.why if latest else "")
            case Need.SHOW_AMBIGUOUS:
                assert latest is not None
                message = latest.failure.message if latest.failure else "its answer was lost"
                self._fail(key, context.explained(why_ambiguous(latest, message)))
            case Need.BEGIN:
                self._note_to_begin(standing)
            case Need.RELEASE if latest is not None:
                await asyncio.to_thread(context.ledger.attempts.release, latest.attempt_id)
                self._look_soon_at(key)
            case Need.PARK if latest is not None:
                await asyncio.to_thread(park_lost, context.ledger, latest)
                self._look_soon_at(key)
            case _:
                self._of_others.add(key)
        return False

    def _need_of(self, standing: ClipStanding) -> Need:
        context = self._context
        max_attempts = None if self._planned is None else context.settings.max_attempts
        return need_of(
            standing,
            batch_id=self._batch_id,
            owner=context.owner,
            account=context.account,
            force=self._force,
            now=context.ledger.now(),
            max_attempts=max_attempts,
        )

    def _note_to_begin(self, standing: ClipStanding) -> None:
        key, planned = standing.key, self._planned
        if planned is None or (key in planned and standing.pending(self._context.settings.max_attempts)):
            self._to_begin[key] = standing.production_id
        elif key in planned and (standing.cancelled or not standing.active):
            self._wait_for_later(key, UNWANTED)
        else:
            self._wait_for_later(key, "no attempt is reserved for it; the dispatch sensor plans the next")

    async def _fill_slots(self) -> None:
        """Begin attempts for as many clips as there are free slots."""
        context = self._context
        while self._to_begin and not context.leave.is_set():
            taken = await asyncio.to_thread(context.ledger.attempts.slots_taken, context.account.name)
            free = context.settings.max_in_flight - taken
            if free <= 0 or not await self._begin(self._next(free)):
                return

    def _next(self, free: int) -> list[str]:
        """The first clips of each production: the ledger says which of them has a slot coming."""
        chosen: list[str] = []
        counts: Counter[str] = Counter()
        for key, production_id in self._to_begin.items():
            if counts[production_id] < free:
                counts[production_id] += 1
                chosen.append(key)
        return chosen

    async def _begin(self, keys: Sequence[str]) -> bool:
        """Begin attempts for clips, and send them; whether anything has become of any."""
        left = len(self._to_begin)
        standings = await asyncio.to_thread(self._context.ledger.clips.standings, keys)
        ready = [key for key in keys if key in standings and self._may_still_begin(standings[key])]
        for key in keys:
            if key not in ready:
                del self._to_begin[key]
        await self._look_at([key for key in keys if key not in ready])
        for attempt in await self._reserve(ready, standings):
            del self._to_begin[attempt.clip_key]
            self._send(standings[attempt.clip_key], attempt)
        return len(self._to_begin) < left

    def _may_still_begin(self, standing: ClipStanding) -> bool:
        if self._need_of(standing) is not Need.BEGIN:
            return False
        return self._planned is None or standing.pending(self._context.settings.max_attempts)

    async def _reserve(self, keys: Sequence[str], standings: Mapping[str, ClipStanding]) -> list[Attempt]:
        """Begin attempts for clips that may have one now, as far as slots, budgets and breakers let them."""
        context, account, ledger = self._context, self._context.account, self._context.ledger
        costs, unknown = await asyncio.to_thread(self._priced, keys, standings)
        if not costs and not unknown:
            return []
        if self._planned is None:
            max_attempts = context.settings.max_attempts
            again = [
                key
                for key in costs
                if not standings[key].pending(max_attempts) and not standings[key].cancelled
            ]
            await asyncio.to_thread(ledger.clips.new_round, again)
        reservation = await asyncio.to_thread(
            ledger.attempts.reserve,
            costs,
            account=account,
            batch_id=self._batch_id,
            limits=context.limits,
            lease_s=context.lease_s,
            owner=context.owner,
            force=self._force,
        )
        for key in reservation.unwanted:
            del self._to_begin[key]
            if self._planned is None:
                self._fail(key, _why_unwanted(standings[key]))
            else:
                self._wait_for_later(key, UNWANTED)
        held = [*unknown, *reservation.no_budget, *reservation.elsewhere]
        for key, why in (await asyncio.to_thread(_why_held, context, held, standings)).items():
            del self._to_begin[key]
            self._wait_for_later(key, why)
        return reservation.reserved

    def _priced(
        self, keys: Sequence[str], standings: Mapping[str, ClipStanding]
    ) -> tuple[dict[str, int], list[str]]:
        """What clips cost that no breaker stops, and those of models that the catalogue has no more."""
        context, ledger = self._context, self._context.ledger
        stopped = ledger.breakers.get(context.account.name)
        models = ledger.breakers.of_models(context.account.name)
        costs: dict[str, int] = {}
        unknown: list[str] = []
        for key in keys if stopped is None else list(self._to_begin):
            breaker = stopped or models.get(standings[key].clip.model)
            if breaker is not None:
                del self._to_begin[key]
                self.results.hold_back(key, context, breaker)
                self._note_settled(key)
            elif context.catalogue.find(standings[key].clip.model) is None:
                unknown.append(key)
            else:
                costs[key] = context.cost_micros(standings[key].clip)
        return costs, unknown

    def _send(self, standing: ClipStanding, attempt: Attempt) -> None:
        sending = asyncio.create_task(self._send_to_the_end(standing, attempt))
        self._sending.add(sending)
        sending.add_done_callback(self._sending.discard)

    async def _send_to_the_end(self, standing: ClipStanding, attempt: Attempt) -> None:
        await self._sender.send(standing, attempt)
        key = attempt.clip_key
        if self.results.has_settled(key):
            self._note_settled(key)
        else:
            self._of_others.add(key)
        self._idle_since = time.monotonic()
        self.woken.set()

    def _look_soon_at(self, key: str) -> None:
        self._of_others.add(key)
        self._looked_at = 0.0
        self.woken.set()

    def _fail(self, key: str, why: str) -> None:
        self.results.failed[key] = why
        self._note_settled(key)

    def _wait_for_later(self, key: str, why: str) -> None:
        self.results.waiting[key] = why
        self._note_settled(key)

    def _note_settled(self, key: str) -> None:
        self._settled(key)


async def _begin_cancelled_anew(context: RunContext, keys: Sequence[str], asked_at: datetime | None) -> None:
    """A person wants clips after all that were cancelled; one that was cancelled since he asked is not begun."""
    if asked_at is None:
        return
    standings = await asyncio.to_thread(context.ledger.clips.standings, keys)
    lifted = [
        key
        for key, standing in standings.items()
        if standing.cancelled_at and standing.cancelled_at < asked_at
    ]
    await asyncio.to_thread(context.ledger.clips.new_round, lifted)


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


def _why_unwanted(standing: ClipStanding) -> str:
    if standing.cancelled:
        return "a person cancelled it while this run was at it"
    return "the manifest no longer names this clip; put its row back and read it again"


def park_lost(ledger: Ledger, attempt: Attempt) -> None:
    """A run died between committing the intent and recording the answer: nobody knows what the provider did."""
    ledger.attempts.park_ambiguous(
        attempt.attempt_id,
        ErrorKind.AMBIGUOUS_SUBMIT,
        "the run that submitted it died before it recorded the answer",
    )


def _why_held(
    context: RunContext, keys: Sequence[str], standings: Mapping[str, ClipStanding]
) -> dict[str, str]:
    """What holds clips that are left to a later run, by key."""
    ledger = context.ledger
    admissions = {
        identity: Admission(ledger, ledger.productions.get(identity), context.settings, context.catalogue)
        for identity in {standings[key].production_id for key in keys}
    }
    reasons: dict[str, str] = {}
    for key in keys:
        hold = admissions[standings[key].production_id].of(standings[key].clip)
        nothing_left = "no money was left for it just now; run it again"
        reasons[key] = context.explained(hold.reason) if hold else nothing_left
    return reasons

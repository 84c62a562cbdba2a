"""Sends one reservation, once, and records how that ended, whatever happens."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sora_pipeline.admission.breaker import (
    for_the_clips_fault,
    in_the_way,
    stop_on_failures,
    stop_on_silence,
)
from sora_pipeline.admission.holds import why_paused
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding
from sora_pipeline.ledger.breakers import Breaker
from sora_pipeline.media.fit import FittedImage, ImageFit
from sora_pipeline.media.images import ImageError
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.polling import first_poll_s
from sora_pipeline.production.submit_results import LEFT, UNWANTED, SubmitResults, why_ambiguous
from sora_pipeline.production.submit_window import SubmitWindow
from sora_pipeline.production.unexpected import UNEXPECTED, described
from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    BlockedError,
    ErrorKind,
    ModelGoneError,
    ProviderError,
    RejectedError,
    TransientError,
)
from sora_pipeline.provider.protocol import Accepted, InputImage, SubmitRequest
from sora_pipeline.uris import is_http

if TYPE_CHECKING:
    from sora_pipeline.provider.submit_gate import SubmitGate

CONCURRENT_SUBMITS = 32
MOST_TRIES = 4
"""How often one clip's request may be sent until it is accepted, over everything that a person asked for once."""


class _Taken(Exception):
    """Another run has claimed the attempt meanwhile."""


class _Unwanted(Exception):
    """The manifest names the clip no longer or asks for something else by now, or a person cancelled it."""


class _Paused(Exception):
    """A person has paused the clip's production, or its account."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends the reservations of one run.

    Attributes:
        context: What the run works with.
        gate: The rate at which may be sent.
        window: How many may be without an answer at once.
        limiter: How many may be at it at once.
        results: Where it is noted how each ended.
    """

    context: RunContext
    gate: "SubmitGate"
    window: SubmitWindow
    limiter: asyncio.Semaphore
    results: SubmitResults

    @classmethod
    def of(cls, context: RunContext, results: SubmitResults) -> "Sender":
        """One for a run."""
        from sora_pipeline.provider.submit_gate import SubmitGate

        account, pauses = context.account.name, context.ledger.pauses
        # In the ledger, so that every run with the same key waits.
        gate = SubmitGate(
            turns=partial(context.ledger.turns.take, account, context.settings.submits_per_minute),
            left_s=partial(pauses.left_s, account),
            pause=partial(pauses.pause, account),
        )
        window, limiter = SubmitWindow(CONCURRENT_SUBMITS), asyncio.Semaphore(CONCURRENT_SUBMITS)
        return cls(context, gate, window, limiter, results)

    async def send(self, standing: ClipStanding, attempt: Attempt) -> None:
        """Send a clip's reservation. Where another run has it meanwhile, nothing is noted: the ledger decides."""
        async with self.limiter:
            try:
                if self.context.leave.is_set():
                    self._leave_to_another(attempt)
                else:
                    await self._send(standing, attempt)
            except Exception as error:  # whatever it is, the other clips of the run are sent all the same
                await asyncio.to_thread(self._note_unexpected, attempt, error)

    async def _send(self, standing: ClipStanding, attempt: Attempt) -> None:
        context, ledger = self.context, self.context.ledger.attempts
        if (breaker := in_the_way(context.ledger, attempt)) is not None:
            self._give_back(attempt, breaker)
            return
        try:
            request, summary = await _request(context, standing)
        except ImageError as problem:
            sentence = context.explained(problem)
            ledger.fail(
                attempt.attempt_id,
                "image",
                sentence,
                retryable=problem.transient,
                reported=False,
                leaving=[AttemptState.RESERVED],
            )
            self.results.failed[attempt.clip_key] = sentence
            self._probe_another(attempt)
            return
        await self._submit(standing, attempt, request, summary)

    async def _submit(
        self, standing: ClipStanding, attempt: Attempt, request: SubmitRequest, summary: dict[str, object]
    ) -> None:
        """Send, and record the answer or its absence."""
        from sora_pipeline.provider.submit_gate import GateClosed, retry_transient

        context, ledger, key = self.context, self.context.ledger.attempts, attempt.clip_key

        async def send() -> Accepted:
            # Again, for it may have opened, or the run been told to end, while this one waited for its turn.
            if context.leave.is_set() or in_the_way(context.ledger, attempt) is not None:
                raise GateClosed
            try:
                return await self._send_once(attempt, request, summary)
            except AmbiguousSubmitError as error:
                # Before another one takes its place: it may be the last that is needed to stop them all.
                self.window.unanswered()
                self.results.failed[key] = _park(context, attempt, error)
                stop_on_silence(context.ledger, context.settings)
                raise

        tries = max(1, MOST_TRIES - standing.refusals)
        try:
            accepted = await retry_transient(
                send, gate=self.gate, tries=tries, say=context.say, under_way=self.window.turn
            )
        except _Taken:
            return
        except _Unwanted:
            ledger.release(attempt.attempt_id)
            self.results.waiting[key] = UNWANTED
        except _Paused as paused:
            ledger.release(attempt.attempt_id)
            self.results.waiting[key] = str(paused)
        except GateClosed:
            if context.leave.is_set():
                self._leave_to_another(attempt)
            else:
                self._give_back(attempt, in_the_way(context.ledger, attempt))
        except TransientError as error:
            message = f"{error.message} (refused for now {standing.refusals + tries} times in all)"
            ledger.fail(attempt.attempt_id, error.kind, message, retryable=False, reported=False)
            self.results.failed[key] = f"{error.kind}: {message}"
            stop_on_silence(context.ledger, context.settings)
        except AmbiguousSubmitError:
            return  # parked already
        except RejectedError as error:
            ledger.fail(attempt.attempt_id, error.kind, error.message, retryable=False, reported=False)
            self.results.failed[key] = f"{error.kind}: {error.message}"
            self._probe_another(attempt)
            stop_on_failures(context.ledger, context.settings)
        except (BlockedError, ModelGoneError) as error:
            self._stop(attempt, error)
        else:
            self.window.accepted()
            await asyncio.to_thread(_record, context, attempt, request, accepted)
            self._pass_probe(attempt)
            self.results.fresh.add(attempt.attempt_id)
            self.results.ready[key] = ledger.get(attempt.attempt_id)

    async def _send_once(
        self, attempt: Attempt, request: SubmitRequest, summary: dict[str, object]
    ) -> Accepted:
        context, ledger = self.context, self.context.ledger.attempts
        # In a thread, as all that may wait for the database here: others listen for their answers meanwhile.
        begun = await asyncio.to_thread(
            ledger.begin_submit,
            attempt.attempt_id,
            context.owner,
            lease_s=context.lease_s,
            request_summary=summary,
        )
        if not begun:
            standing = context.ledger.clips.standings([attempt.clip_key])[attempt.clip_key]
            changed = standing.clip.fingerprint != attempt.fingerprint
            if not standing.active or standing.cancelled or changed:
                raise _Unwanted
            production = context.ledger.productions.get(attempt.production_id)
            if (paused := why_paused(context.ledger, production, attempt.account)) is not None:
                raise _Paused(context.explained(paused))
            raise _Taken
        try:
            return await context.provider.submit(request)
        except TransientError as error:
            await asyncio.to_thread(ledger.withdraw, attempt.attempt_id, error.kind, error.message)
            raise
        except ProviderError:
            raise
        except Exception as error:
            # Sent or not, nobody knows: an answer lost like any other, and three in a row stop the rest.
            raise AmbiguousSubmitError(ErrorKind.AMBIGUOUS_SUBMIT, described(error)) from error

    def _stop(self, attempt: Attempt, error: ProviderError) -> None:
        """Nothing more is sent to the account, or nothing of this model; this clip was not accepted, and waits as well."""
        context, ledger = self.context, self.context.ledger.attempts
        model = attempt.model if error.kind is ErrorKind.MODEL_GONE else ""
        context.ledger.breakers.open(context.account.name, error.kind, error.message, model=model)
        if not model:
            self.gate.close()
        ledger.withdraw(attempt.attempt_id, error.kind, error.message, counts=False)
        against = context.ledger.breakers.against(context.account.name, attempt.model)
        opened = next((breaker for breaker in against if breaker.model == model), None)
        self._give_back(attempt, opened)

    def _give_back(self, attempt: Attempt, breaker: Breaker | None) -> None:
        """Nothing was accepted: the clip is pending again."""
        self.context.ledger.attempts.release(attempt.attempt_id)
        self.results.hold_back(attempt.clip_key, self.context, breaker)

    def _leave_to_another(self, attempt: Attempt) -> None:
        """This run is to end, and nothing was sent: the clip is pending again."""
        self.context.ledger.attempts.release(attempt.attempt_id)
        self.results.waiting[attempt.clip_key] = LEFT

    def _pass_probe(self, attempt: Attempt) -> None:
        """Close the breaker where this was the attempt to find out."""
        breakers, account = self.context.ledger.breakers, self.context.account.name
        for breaker in breakers.against(account, attempt.model):
            if breaker.probe_batch == attempt.batch_id:
                breakers.close(account, model=breaker.model)
                self.context.say("the probe was accepted: submits go on")

    def _probe_another(self, attempt: Attempt) -> None:
        """A clip that is refused for itself says nothing about why submits are stopped."""
        breakers, account = self.context.ledger.breakers, self.context.account.name
        for breaker in breakers.against(account, attempt.model):
            if breaker.probe_batch == attempt.batch_id and not for_the_clips_fault(breaker):
                breakers.probe_another(account, model=breaker.model)

    def _note_unexpected(self, attempt: Attempt, error: Exception) -> None:
        """What nobody foresaw: what may be billed is parked, and what was not sent has failed."""
        context, ledger, key = self.context, self.context.ledger.attempts, attempt.clip_key
        sentence = described(error)
        context.say(f"{key}: {sentence}")
        newest = ledger.of_clips([key])[-1:]
        state = newest[0].state if newest and newest[0].attempt_id == attempt.attempt_id else None
        if state is AttemptState.SUBMITTING:
            lost = AmbiguousSubmitError(ErrorKind.AMBIGUOUS_SUBMIT, sentence)
            self.results.failed[key] = _park(context, attempt, lost)
            return
        if state is AttemptState.RESERVED:
            ledger.fail(
                attempt.attempt_id,
                UNEXPECTED,
                sentence,
                retryable=False,
                reported=False,
                leaving=[AttemptState.RESERVED],
            )
        self.results.failed[key] = f"{UNEXPECTED}: {sentence}"


def _park(context: RunContext, attempt: Attempt, error: AmbiguousSubmitError) -> str:
    if context.settings.ambiguous_submit == "resubmit":
        context.ledger.attempts.fail(
            attempt.attempt_id,
            error.kind,
            error.message,
            retryable=True,
            reported=False,
            possibly_billed=True,
            leaving=[AttemptState.SUBMITTING, AttemptState.AMBIGUOUS],
        )
        again = f"{error.message}. It may have been billed, and another attempt begins by itself"
        return context.explained(Reason(again, "resubmitted"))
    context.ledger.attempts.park_ambiguous(attempt.attempt_id, error.kind, error.message)
    return context.explained(why_ambiguous(attempt, error.message))


def _record(context: RunContext, attempt: Attempt, request: SubmitRequest, accepted: Accepted) -> None:
    try:
        recorded = context.ledger.attempts.accept(
            attempt.attempt_id,
            prediction_id=accepted.prediction_id,
            poll_url=accepted.poll_url,
            provider_status=accepted.provider_status,
            model_returned=accepted.model_returned,
            deadline_s=context.settings.generation_timeout_s,
            first_poll_s=first_poll_s(context, request),
        )
    except Exception:  # the last chance to keep what is paid for findable
        context.say(
            f"{attempt.clip_key}: accepted as prediction {accepted.prediction_id}, which the ledger could not record; "
            "the clip will be ambiguous, and this id finds it at the provider"
        )
        raise
    if not recorded:
        context.say(
            f"{attempt.clip_key}: prediction {accepted.prediction_id} was accepted after a person had given its attempt up; "
            "it is billed, and can be fetched at the provider"
        )
    if accepted.warning:
        context.say(f"{attempt.clip_key}: {accepted.warning}")


async def _request(context: RunContext, standing: ClipStanding) -> tuple[SubmitRequest, dict[str, object]]:
    """The request, and what of it is worth remembering.

    Raises:
        ImageError: the image cannot be read or fitted, or is not the one the manifest was read with.
    """
    clip = standing.clip
    summary: dict[str, object] = {
        "prompt": clip.prompt,
        "model": clip.model,
        "duration": clip.duration,
        "size": str(clip.size),
        "image_sha256": clip.image_sha256,
    }
    if clip.parameters:
        summary["parameters"] = dict(clip.parameters)
    image = None
    if clip.image is not None:
        fitted = await asyncio.to_thread(
            context.images.get, clip.image.reveal(), clip.size, ImageFit(context.settings.image_fit)
        )
        if fitted.original_sha256 != clip.image_sha256:
            raise ImageError(
                f"{clip.image} has changed since the manifest was read; materialize prompt_manifest again"
            )
        url = clip.image.reveal() if is_http(clip.image) and fitted.unchanged else None
        image = InputImage(fitted.content, fitted.media_type, url)
        summary["image"] = _fitting(fitted)
    return SubmitRequest(clip.prompt, clip.model, clip.duration, clip.size, image, clip.parameters), summary


def _fitting(fitted: FittedImage) -> str:
    original = f"{fitted.original_width}x{fitted.original_height} {fitted.original_format}"
    return original if fitted.unchanged else f"{original} → {fitted.width}x{fitted.height} ({fitted.action})"

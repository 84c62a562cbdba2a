"""Sends one reservation, once, and records how that ended, whatever happens."""

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from sora_pipeline.admission.breaker import stop_on_policy_failures
from sora_pipeline.errors import Reason
from sora_pipeline.ledger import Attempt, ClipStanding
from sora_pipeline.media.fit import FittedImage, ImageFit
from sora_pipeline.media.images import ImageError
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.submit_results import SubmitResults, why_ambiguous
from sora_pipeline.provider.errors import (
    AmbiguousSubmitError,
    BlockedError,
    ErrorKind,
    RejectedError,
    TransientError,
)
from sora_pipeline.provider.protocol import Accepted, InputImage, SubmitRequest
from sora_pipeline.uris import is_http

if TYPE_CHECKING:
    from sora_pipeline.provider.submit_gate import SubmitGate

CONCURRENT_SUBMITS = 32
SUBMIT_TRIES = 4


class _Taken(Exception):
    """Another run has claimed the attempt meanwhile."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends the reservations of one run.

    Attributes:
        context: What the run works with.
        gate: The rate at which may be sent.
        limiter: How many may be at it at once.
        results: Where it is noted how each ended.
    """

    context: RunContext
    gate: "SubmitGate"
    limiter: asyncio.Semaphore
    results: SubmitResults

    @classmethod
    def of(cls, context: RunContext, results: SubmitResults) -> "Sender":
        """One for a run."""
        from sora_pipeline.provider.submit_gate import SubmitGate

        account, pauses = context.account.name, context.ledger.pauses
        # In the ledger, so that every run with the same key waits.
        gate = SubmitGate(
            per_minute=context.settings.submits_per_minute,
            left_s=partial(pauses.left_s, account),
            pause=partial(pauses.pause, account),
        )
        return cls(context, gate, asyncio.Semaphore(CONCURRENT_SUBMITS), results)

    async def send(self, standing: ClipStanding, attempt: Attempt) -> None:
        """Send a clip's reservation. Where another run has it meanwhile, nothing is noted: the ledger decides."""
        context, ledger = self.context, self.context.ledger.attempts
        async with self.limiter:
            if self._blocked(attempt):
                self._give_back(attempt)
                return
            try:
                request, summary = await _request(context, standing)
            except ImageError as problem:
                sentence = context.explained(problem)
                ledger.fail(attempt.attempt_id, "image", sentence, retryable=problem.transient, reported=True)
                self.results.failed[attempt.clip_key] = sentence
                return
            await self._submit(attempt, request, summary)

    async def _submit(self, attempt: Attempt, request: SubmitRequest, summary: dict[str, object]) -> None:
        """Send, and record the answer or its absence."""
        from sora_pipeline.provider.submit_gate import GateClosed, retry_transient

        context, ledger, key = self.context, self.context.ledger.attempts, attempt.clip_key

        async def send() -> Accepted:
            # Again, for it may have opened while this one waited for its turn.
            if self._blocked(attempt):
                raise GateClosed
            return await self._send_once(attempt, request, summary)

        try:
            accepted = await retry_transient(send, gate=self.gate, tries=SUBMIT_TRIES, say=context.say)
        except _Taken:
            return
        except GateClosed:
            self._give_back(attempt)
        except TransientError as error:
            self.results.transient[key] = (attempt, error)
        except AmbiguousSubmitError as error:
            self.results.failed[key] = _park(context, attempt, error)
        except RejectedError as error:
            ledger.fail(attempt.attempt_id, error.kind, error.message, retryable=False, reported=True)
            self.results.failed[key] = f"{error.kind}: {error.message}"
            if error.kind is ErrorKind.CONTENT_POLICY:
                stop_on_policy_failures(context.ledger, context.settings)
        except BlockedError as error:
            context.ledger.breakers.open(context.account.name, error.kind, error.message)
            self.gate.close()
            ledger.withdraw(attempt.attempt_id, error.kind, error.message)
            self._give_back(attempt)
        else:
            await asyncio.to_thread(_record, context, attempt, accepted)
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
            raise _Taken
        try:
            return await context.provider.submit(request)
        except TransientError as error:
            await asyncio.to_thread(ledger.withdraw, attempt.attempt_id, error.kind, error.message)
            raise

    def _blocked(self, attempt: Attempt) -> bool:
        """Whether an open breaker stands in this attempt's way; its probe may pass."""
        breaker = self.context.ledger.breakers.get(self.context.account.name)
        return breaker is not None and breaker.probe_batch != attempt.batch_id

    def _give_back(self, attempt: Attempt) -> None:
        """Nothing was sent: the clip is pending again."""
        self.context.ledger.attempts.release(attempt.attempt_id)
        self.results.hold_back(attempt.clip_key, self.context)

    def _pass_probe(self, attempt: Attempt) -> None:
        """Close the breaker where this was the attempt to find out."""
        breakers, account = self.context.ledger.breakers, self.context.account.name
        breaker = breakers.get(account)
        if breaker is not None and breaker.probe_batch == attempt.batch_id:
            breakers.close(account)
            self.context.say("the probe was accepted: submits go on")


def _park(context: RunContext, attempt: Attempt, error: AmbiguousSubmitError) -> str:
    if context.settings.ambiguous_submit == "resubmit":
        context.ledger.attempts.fail(
            attempt.attempt_id,
            error.kind,
            error.message,
            retryable=True,
            reported=True,
            possibly_billed=True,
        )
        again = f"{error.message}. It may have been billed, and another attempt begins by itself"
        return context.explained(Reason(again, "resubmitted"))
    context.ledger.attempts.park_ambiguous(attempt.attempt_id, error.kind, error.message)
    return context.explained(why_ambiguous(attempt, error.message))


def _record(context: RunContext, attempt: Attempt, accepted: Accepted) -> None:
    try:
        recorded = context.ledger.attempts.accept(
            attempt.attempt_id,
            prediction_id=accepted.prediction_id,
            poll_url=accepted.poll_url,
            provider_status=accepted.provider_status,
            model_returned=accepted.model_returned,
            deadline_s=context.settings.generation_timeout_s,
            first_poll_s=context.settings.poll_interval_s,
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
    summary: dict[str, object] = {"model": clip.model, "duration": clip.duration, "size": str(clip.size)}
    image = None
    if clip.image is not None:
        fitted = await asyncio.to_thread(
            context.images.get, clip.image, clip.size, ImageFit(context.settings.image_fit)
        )
        if fitted.original_sha256 != clip.image_sha256:
            raise ImageError(
                f"{clip.image} has changed since the manifest was read; materialize prompt_manifest again"
            )
        url = clip.image if is_http(clip.image) and fitted.unchanged else None
        image = InputImage(fitted.content, fitted.media_type, url)
        summary["image"] = _fitting(fitted)
    return SubmitRequest(clip.prompt, clip.model, clip.duration, clip.size, image), summary


def _fitting(fitted: FittedImage) -> str:
    original = f"{fitted.original_width}x{fitted.original_height} {fitted.original_format}"
    return original if fitted.unchanged else f"{original} → {fitted.width}x{fitted.height} ({fitted.action})"

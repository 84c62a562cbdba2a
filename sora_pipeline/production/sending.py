"""Sends one reservation, once, and records how that ended, whatever happens."""

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sora_pipeline.ledger import Attempt, ClipStanding
from sora_pipeline.ledger.pauses import LONGEST_S
from sora_pipeline.media.fit import FittedImage, ImageFit
from sora_pipeline.media.images import ImageProblem
from sora_pipeline.production.context import Desk
from sora_pipeline.production.ensured import AMBIGUOUS_ADVICE, Ensured
from sora_pipeline.production.stopping import stop_on_policy_failures
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
    from sora_pipeline.provider.retrying import SubmitGate

CONCURRENT_SUBMITS = 32
SUBMIT_TRIES = 4
FIRST_PAUSE_S = 2.0


class _Taken(Exception):
    """Another run has claimed the attempt meanwhile."""


@dataclass(frozen=True, slots=True)
class Sender:
    """Sends the reservations of one run.

    Attributes:
        desk: The tools at hand.
        gate: The rate at which may be sent.
        crowd: How many may be at it at once.
        ensured: Where it is noted how each ended.
    """

    desk: Desk
    gate: "SubmitGate"
    crowd: asyncio.Semaphore
    ensured: Ensured

    @classmethod
    def of(cls, desk: Desk, ensured: Ensured) -> "Sender":
        """One for a run."""
        from sora_pipeline.provider.retrying import SubmitGate

        gate = SubmitGate(per_minute=desk.settings.submits_per_minute)
        return cls(desk, gate, asyncio.Semaphore(CONCURRENT_SUBMITS), ensured)

    async def send(self, standing: ClipStanding, attempt: Attempt) -> None:
        """Send a clip's reservation. Where another run has it meanwhile, nothing is noted: the ledger decides."""
        desk, ledger = self.desk, self.desk.ledger.attempts
        async with self.crowd:
            if self._blocked(attempt):
                self._give_back(attempt)
                return
            try:
                request, summary = await _request(desk, standing)
            except ImageProblem as problem:
                ledger.fail(
                    attempt.attempt_id, "image", problem.message, retryable=problem.transient, reported=True
                )
                self.ensured.failed[attempt.clip_id] = problem.message
                return
            await self._hear(attempt, request, summary)

    async def _hear(self, attempt: Attempt, request: SubmitRequest, summary: dict[str, object]) -> None:
        """Send, and record the answer or its absence."""
        from sora_pipeline.provider.retrying import GateClosed, retry_transient

        desk, ledger, clip_id = self.desk, self.desk.ledger.attempts, attempt.clip_id

        async def send() -> Accepted:
            # Again, for it may have opened while this one waited for its turn.
            if self._blocked(attempt):
                raise GateClosed
            return await self._send_once(attempt, request, summary)

        try:
            accepted = await retry_transient(send, gate=self.gate, tries=SUBMIT_TRIES, say=desk.say)
        except _Taken:
            return
        except GateClosed:
            self._give_back(attempt)
        except TransientError as error:
            self.ensured.transient[clip_id] = (attempt, error)
        except AmbiguousSubmitError as error:
            self.ensured.failed[clip_id] = _park(desk, attempt, error)
        except RejectedError as error:
            ledger.fail(attempt.attempt_id, error.kind, error.message, retryable=False, reported=True)
            self.ensured.failed[clip_id] = f"{error.kind}: {error.message}"
            if error.kind is ErrorKind.CONTENT_POLICY:
                stop_on_policy_failures(desk)
        except BlockedError as error:
            desk.ledger.breakers.open(desk.settings.provider, error.kind, error.message)
            self.gate.close()
            ledger.withdraw(attempt.attempt_id, error.kind, error.message)
            self._give_back(attempt)
        else:
            await asyncio.to_thread(_record, desk, attempt, accepted)
            self._pass_probe(attempt)
            self.ensured.fresh.add(attempt.attempt_id)
            self.ensured.ready[clip_id] = ledger.get(attempt.attempt_id)

    async def _send_once(
        self, attempt: Attempt, request: SubmitRequest, summary: dict[str, object]
    ) -> Accepted:
        desk, ledger = self.desk, self.desk.ledger.attempts
        # Another run with the same key may have been told to slow down.
        await asyncio.sleep(min(desk.ledger.pauses.left_s(desk.settings.provider), LONGEST_S))
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
            await asyncio.to_thread(ledger.withdraw, attempt.attempt_id, error.kind, error.message)
            if error.kind is ErrorKind.RATE_LIMITED:
                pause = min(error.retry_after_s or FIRST_PAUSE_S, LONGEST_S)
                desk.ledger.pauses.pause(desk.settings.provider, pause)
            raise

    def _blocked(self, attempt: Attempt) -> bool:
        """Whether an open breaker stands in this attempt's way; its probe may pass."""
        breaker = self.desk.ledger.breakers.get(self.desk.settings.provider)
        return breaker is not None and breaker.probe_batch != attempt.batch_id

    def _give_back(self, attempt: Attempt) -> None:
        """Nothing was sent: the clip is pending again."""
        self.desk.ledger.attempts.release(attempt.attempt_id)
        self.ensured.hold_back(attempt.clip_id, self.desk.ledger, self.desk.settings.provider)

    def _pass_probe(self, attempt: Attempt) -> None:
        """Close the breaker where this was the attempt to find out."""
        breakers, provider = self.desk.ledger.breakers, self.desk.settings.provider
        breaker = breakers.get(provider)
        if breaker is not None and breaker.probe_batch == attempt.batch_id:
            breakers.close(provider)
            self.desk.say("the probe was accepted: submits go on")


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


def _record(desk: Desk, attempt: Attempt, accepted: Accepted) -> None:
    try:
        recorded = desk.ledger.attempts.accept(
            attempt.attempt_id,
            prediction_id=accepted.prediction_id,
            poll_url=accepted.poll_url,
            provider_status=accepted.provider_status,
            model_returned=accepted.model_returned,
            deadline_s=desk.settings.generation_timeout_s,
            first_poll_s=desk.settings.poll_interval_s,
        )
    except Exception:  # the last chance to keep what is paid for findable
        desk.say(
            f"{attempt.clip_id}: accepted as prediction {accepted.prediction_id}, which the ledger could not record; "
            "the clip will be ambiguous, and this id finds it at the provider"
        )
        raise
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

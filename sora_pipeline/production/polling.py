"""Polls predictions and writes down what was found. A failing poll never fails a clip; only the deadline does."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sora_pipeline.admission.breaker import stop_on_failures
from sora_pipeline.errors import Explain, Reason
from sora_pipeline.ledger import Attempt, Ledger
from sora_pipeline.ledger.attempts import LONG_UNSEEN
from sora_pipeline.ledger.types import RenderKind
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.poll_schedule import unlearned_wait_s
from sora_pipeline.production.unexpected import described, to_the_end
from sora_pipeline.provider.errors import BlockedError, ErrorKind, ProviderError, TransientError
from sora_pipeline.provider.protocol import Prediction, PredictionState, SubmitRequest

GRACE_POLLS = 3
"""Polls that may find a prediction completed without an output URL before that counts as its end."""
CONCURRENT_POLLS = 100
LONGEST_ASKED_S = 600.0
"""A provider may ask to be polled later, not for days."""
RATE_LIMITED = "refused for polling too fast"
ENDED = ("rendered", "failed", "timed out")
"""What a poll may find of a prediction that renders no longer."""
MOST_TIMED_OUT = 500
"""Predictions at other accounts that one look ends; the next one ends more."""


@dataclass(slots=True)
class Swept:
    """What a sweep over predictions found."""

    counts: Counter[str] = field(default_factory=Counter)  # by what became of the prediction
    left_for_next_time: int = 0

    def sentence(self) -> str:
        """For the log and the sensor's tick."""
        parts = [f"{count} {what}" for what, count in sorted(self.counts.items())]
        if self.left_for_next_time:
            parts.append(f"{self.left_for_next_time} left for the next tick")
        return f"polled {sum(self.counts.values())}: {', '.join(parts) or 'none due'}"


async def sweep(
    context: RunContext,
    attempts: Sequence[Attempt],
    *,
    budget_s: float,
    ended: Callable[[], None] = lambda: None,
) -> Swept:
    """Poll predictions concurrently, in the order given, until done or out of time.

    Args:
        context: What the run or tick works with.
        attempts: Attempts in flight; those of another account are left alone, since its key is not at hand.
        budget_s: Seconds after which no further poll is begun, and none is waited for any more.
        ended: Called as soon as one is found that renders no longer.
    """
    swept = Swept()
    gate = asyncio.Semaphore(CONCURRENT_POLLS)
    stop_at = time.monotonic() + budget_s

    async def one(attempt: Attempt) -> None:
        async with gate:
            left_s = stop_at - time.monotonic()
            if left_s <= 0 or swept.counts[RATE_LIMITED]:
                swept.left_for_next_time += 1
                return
            try:
                found = await poll_one(context, attempt, patience_s=left_s)
            except Exception as error:  # an answer that cannot be recorded, for one
                context.say(f"{attempt.clip_key}: {described(error)}")
                found = _keep_waiting(context, attempt, None, trouble=described(error))
            swept.counts[found] += 1
            if found in ENDED:
                ended()

    await to_the_end(one(attempt) for attempt in attempts if context.reaches(attempt))
    return swept


def time_out_elsewhere(ledger: Ledger, account: str, pipeline: str, explained: Explain) -> int:
    """End predictions past their deadline at accounts whose keys are not at hand; how many those were.

    Nobody has polled them, so nothing is known of them: they keep their prediction, and their own account can still ask.

    Args:
        ledger: The ledger.
        account: The account whose key is at hand.
        pipeline: Whose predictions.
        explained: How people are told why: the ledger keeps it.
    """
    overdue = ledger.attempts.overdue_elsewhere(account, pipeline, limit=MOST_TIMED_OUT)
    for attempt in overdue:
        sentence = f"nobody has polled it until its deadline: it is at the account {attempt.account.name}, which is not configured now"
        ledger.attempts.time_out(attempt.attempt_id, explained(Reason(sentence, "timed_out_elsewhere")))
    return len(overdue)


async def poll_one(context: RunContext, attempt: Attempt, *, patience_s: float | None = None) -> str:
    """Poll one prediction and record it; returns in a word what became of it.

    Args:
        context: What the run or tick works with.
        attempt: One that is in flight, rendered or timed out, of the account at hand.
        patience_s: Seconds to wait for the answer; None: as long as the provider does.
    """
    try:
        async with asyncio.timeout(patience_s):
            prediction = await ask(context, attempt)
    except TimeoutError:
        context.say(f"{attempt.clip_key}: no answer to a poll within {patience_s:.0f} s")
        return _keep_waiting(context, attempt, None, trouble="polls are not answered")
    except ProviderError as error:
        if isinstance(error, BlockedError):
            context.ledger.breakers.open(context.account.name, error.kind, error.message)
        context.say(f"{attempt.clip_key}: no usable answer to a poll ({error.kind}): {error.message}")
        if error.kind is ErrorKind.RATE_LIMITED and isinstance(error, TransientError):
            _keep_waiting(context, attempt, None, at_least_s=error.retry_after_s or 0, trouble=error.message)
            return RATE_LIMITED
        return _keep_waiting(context, attempt, None, trouble=error.message)
    return record(context, attempt, prediction)


async def ask(context: RunContext, attempt: Attempt) -> Prediction:
    """What the provider says of a prediction; nothing is recorded.

    Raises:
        ProviderError: no usable answer; what a provider raises that is none of its errors counts as one.
    """
    assert attempt.submission.prediction_id is not None
    try:
        return await context.provider.poll(attempt.submission.prediction_id, attempt.submission.poll_url)
    except ProviderError:
        raise
    except Exception as error:  # of one answer: the others are polled all the same
        raise TransientError(ErrorKind.UNREADABLE_ANSWER, described(error)) from error


def record(context: RunContext, attempt: Attempt, prediction: Prediction) -> str:
    """Write down what a poll found; returns it in a word."""
    if prediction.warning:
        context.say(f"{attempt.clip_key}: {prediction.warning}")
    if prediction.state is PredictionState.FAILED:
        return _failed(context, attempt, prediction)
    if prediction.state is PredictionState.SUCCEEDED:
        return _succeeded(context, attempt, prediction)
    return _keep_waiting(context, attempt, prediction.provider_status)


def _succeeded(context: RunContext, attempt: Attempt, prediction: Prediction) -> str:
    if prediction.output_urls:
        context.ledger.attempts.succeed(
            attempt.attempt_id,
            output_url=prediction.output_urls[0],
            expires_at=prediction.expires_at,
            provider_status=prediction.provider_status,
            model_returned=prediction.model_returned,
        )
        return "rendered"
    if attempt.polling.empty_polls < GRACE_POLLS:
        wait = context.settings.poll_interval_s
        context.ledger.attempts.still_running(
            attempt.attempt_id, prediction.provider_status, wait, empty=True
        )
        return "completed without an output so far"
    message = (
        f"the provider says {prediction.provider_status!r} but named no output in {GRACE_POLLS + 1} polls; "
        "it may have been billed"
    )
    context.ledger.attempts.fail(
        attempt.attempt_id, ErrorKind.NO_OUTPUT, message, retryable=False, reported=False
    )
    return "failed"


def _failed(context: RunContext, attempt: Attempt, prediction: Prediction) -> str:
    error = prediction.error
    assert error is not None
    context.say(f"{attempt.clip_key}: failed at the provider ({error.kind}): {error.message}")
    context.ledger.attempts.fail(
        attempt.attempt_id, error.kind, error.message, retryable=error.retryable, reported=False
    )
    stop_on_failures(context.ledger, context.settings)
    return "failed"


def _keep_waiting(
    context: RunContext,
    attempt: Attempt,
    provider_status: str | None,
    *,
    at_least_s: float = 0,
    trouble: str = "",
) -> str:
    now = context.ledger.now()
    timeout = context.settings.generation_timeout_s
    deadline = _deadline(attempt, now, timeout)
    if deadline is not None and now > deadline:
        last = f" (the last poll: {trouble})" if trouble else ""
        sentence = (
            f"still {provider_status or attempt.polling.provider_status!r} after {timeout:g} s{last}; the prediction is kept, "
            "and the next run polls it before it pays again"
        )
        reason = Reason(sentence, "timed_out", {"seconds": f"{timeout:g}"})
        context.ledger.attempts.time_out(attempt.attempt_id, context.explained(reason))
        return "timed out"
    age_s = (now - (attempt.submission.accepted_at or now)).total_seconds()
    wait = _wait_s(context, _kind_of(attempt), age_s)
    if provider_status is None:  # who has no answer now is not asked for one the more
        wait = max(wait, context.settings.poll_interval_s)
    wait = max(wait, min(at_least_s, LONGEST_ASKED_S))
    context.ledger.attempts.still_running(attempt.attempt_id, provider_status, wait, deadline_at=deadline)
    return "still rendering"


def first_poll_s(context: RunContext, request: SubmitRequest) -> float:
    """Seconds until a request that was accepted just now is polled."""
    return _wait_s(context, RenderKind(request.model, request.duration, str(request.size)), 0.0)


def _wait_s(context: RunContext, kind: RenderKind | None, age_s: float) -> float:
    """Seconds until a prediction of this kind and age is polled."""
    if kind is not None:
        try:
            return context.render_times.schedule(kind).wait_s(age_s)
        except Exception as error:  # it is paid for, and has to be recorded whatever there is to learn from
            context.say(f"polled as if nothing was known of render times: {described(error)}")
    return unlearned_wait_s(age_s, context.settings.poll_interval_s)


def _kind_of(attempt: Attempt) -> RenderKind | None:
    """What was asked for, where the ledger still knows it."""
    request = attempt.submission.request or {}
    if "duration" not in request or "size" not in request:
        return None
    return RenderKind(attempt.model, request["duration"], request["size"])


def _deadline(attempt: Attempt, now: datetime, timeout_s: float) -> datetime | None:
    """Until when a prediction may render; time in which nobody could look does not count.

    Else a machine that slept, or a clock that was set, would make clips late that nobody has asked about.
    """
    if attempt.polling.deadline_at is None:
        return None
    deadline = attempt.polling.deadline_at
    if attempt.polling.next_at is not None and (unseen := now - attempt.polling.next_at) > LONG_UNSEEN:
        deadline += unseen
    return min(deadline, now + timedelta(seconds=timeout_s))

"""Polls predictions and writes down what was found. A failing poll never fails a clip; only the deadline does."""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sora_pipeline.ledger import Attempt
from sora_pipeline.production.context import Desk
from sora_pipeline.production.stopping import stop_on_policy_failures
from sora_pipeline.provider.errors import BlockedError, ErrorKind, ProviderError, TransientError
from sora_pipeline.provider.protocol import Prediction, PredictionState

GRACE_POLLS = 3
"""Polls that may find a prediction completed without an output URL before that counts as its end."""
CONCURRENT_POLLS = 100
SLOWEST_POLL_S = 60.0
LONG_UNSEEN = timedelta(minutes=5)
"""A poll that comes so much later than planned says that nothing was polled meanwhile."""
TOLD_TO_WAIT = "refused for polling too fast"


@dataclass(slots=True)
class Swept:
    """What a sweep over predictions found."""

    found: Counter[str] = field(default_factory=Counter)  # by what became of the prediction
    left_for_next_time: int = 0

    def sentence(self) -> str:
        """For the log and the sensor's tick."""
        parts = [f"{count} {what}" for what, count in sorted(self.found.items())]
        if self.left_for_next_time:
            parts.append(f"{self.left_for_next_time} left for the next tick")
        return f"polled {sum(self.found.values())}: {', '.join(parts) or 'none due'}"


async def sweep(desk: Desk, attempts: Sequence[Attempt], *, budget_s: float) -> Swept:
    """Poll predictions concurrently, in the order given, until done or out of time.

    Args:
        desk: The tools at hand.
        attempts: Attempts in flight; those of another provider are left alone, since its key is not at hand.
        budget_s: Seconds after which no further poll is begun.
    """
    swept = Swept()
    gate = asyncio.Semaphore(CONCURRENT_POLLS)
    stop_at = time.monotonic() + budget_s

    async def one(attempt: Attempt) -> None:
        async with gate:
            if time.monotonic() > stop_at or swept.found[TOLD_TO_WAIT]:
                swept.left_for_next_time += 1
                return
            swept.found[await poll_one(desk, attempt)] += 1

    async with asyncio.TaskGroup() as group:
        for attempt in attempts:
            if attempt.provider == desk.settings.provider:
                group.create_task(one(attempt))
    return swept


async def poll_one(desk: Desk, attempt: Attempt) -> str:
    """Poll one prediction and record it; returns in a word what became of it."""
    assert attempt.prediction_id is not None
    try:
        prediction = await desk.provider.poll(attempt.prediction_id, attempt.poll_url)
    except ProviderError as error:
        if isinstance(error, BlockedError):
            desk.ledger.breakers.open(desk.settings.provider, error.kind, error.message)
        desk.say(f"{attempt.clip_id}: no usable answer to a poll ({error.kind}): {error.message}")
        if error.kind is ErrorKind.RATE_LIMITED and isinstance(error, TransientError):
            _keep_waiting(desk, attempt, None, at_least_s=error.retry_after_s or 0)
            return TOLD_TO_WAIT
        return _keep_waiting(desk, attempt, None)
    if prediction.warning:
        desk.say(f"{attempt.clip_id}: {prediction.warning}")
    if prediction.state is PredictionState.FAILED:
        return _failed(desk, attempt, prediction)
    if prediction.state is PredictionState.SUCCEEDED:
        return _succeeded(desk, attempt, prediction)
    return _keep_waiting(desk, attempt, prediction.provider_status)


def _succeeded(desk: Desk, attempt: Attempt, prediction: Prediction) -> str:
    if prediction.output_urls:
        desk.ledger.attempts.succeed(
            attempt.attempt_id,
            output_url=prediction.output_urls[0],
            expires_at=prediction.expires_at,
            provider_status=prediction.provider_status,
            model_returned=prediction.model_returned,
        )
        return "rendered"
    if attempt.empty_polls < GRACE_POLLS:
        wait = desk.settings.poll_interval_s
        desk.ledger.attempts.still_running(attempt.attempt_id, prediction.provider_status, wait, empty=True)
        return "completed without an output so far"
    message = (
        f"the provider says {prediction.provider_status!r} but named no output in {GRACE_POLLS + 1} polls; "
        "it may have been billed"
    )
    desk.ledger.attempts.fail(
        attempt.attempt_id, ErrorKind.NO_OUTPUT, message, retryable=False, reported=False
    )
    return "failed"


def _failed(desk: Desk, attempt: Attempt, prediction: Prediction) -> str:
    error = prediction.error
    assert error is not None
    desk.say(f"{attempt.clip_id}: failed at the provider ({error.kind}): {error.message}")
    desk.ledger.attempts.fail(
        attempt.attempt_id, error.kind, error.message, retryable=error.retryable, reported=False
    )
    if error.kind is ErrorKind.CONTENT_POLICY:
        stop_on_policy_failures(desk)
    return "failed"


def _keep_waiting(desk: Desk, attempt: Attempt, provider_status: str | None, *, at_least_s: float = 0) -> str:
    now = desk.ledger.now()
    timeout = desk.settings.generation_timeout_s
    deadline = _deadline(attempt, now, timeout)
    if deadline is not None and now > deadline:
        message = (
            f"still {provider_status or attempt.provider_status!r} after SORA_GENERATION_TIMEOUT_S={timeout:g} s; "
            "the prediction is kept, and the next run polls it before it pays again"
        )
        desk.ledger.attempts.time_out(attempt.attempt_id, message)
        return "timed out"
    accepted_at = attempt.accepted_at or now
    waited = (now - accepted_at).total_seconds()
    # A render that took long so far will not end this very second: a tenth of its age keeps long queues cheap.
    wait = min(
        max(desk.settings.poll_interval_s, waited / 10), max(SLOWEST_POLL_S, desk.settings.poll_interval_s)
    )
    wait = max(wait, min(at_least_s, SLOWEST_POLL_S * 10))  # a provider may ask for more, not for days
    desk.ledger.attempts.still_running(attempt.attempt_id, provider_status, wait, deadline_at=deadline)
    return "still rendering"


def _deadline(attempt: Attempt, now: datetime, timeout_s: float) -> datetime | None:
    """Until when a prediction may render; time in which nobody could look does not count.

    Else a machine that slept, or a clock that was set, would make clips late that nobody has asked about.
    """
    if attempt.deadline_at is None:
        return None
    deadline = attempt.deadline_at
    if attempt.next_poll_at is not None and (unseen := now - attempt.next_poll_at) > LONG_UNSEEN:
        deadline += unseen
    return min(deadline, now + timedelta(seconds=timeout_s))

"""Predictions that no run waits for any more: past their deadline, or rendered and not to be fetched.

Each is asked for once more before anything is paid again, and given up only where that is what was meant.
"""

import asyncio
from collections.abc import Iterable, Sequence

from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.ledger.types import Failure
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.decisions import Said
from sora_pipeline.production.polling import ask, record
from sora_pipeline.production.unexpected import described, to_the_end
from sora_pipeline.provider.errors import ErrorKind, ProviderError
from sora_pipeline.provider.protocol import PredictionState

ASK_TIMES = 3
"""How often a prediction is asked for that is said to be unknown, or without a video: not each server may know better yet."""
ASK_AGAIN_S = 1.0
PATIENCE_S = 30.0
_GONE = (401, 403, 404, 410)


async def ask_again(
    context: RunContext, attempts: Iterable[Attempt], *, patience_s: float = PATIENCE_S
) -> dict[int, Said]:
    """Ask for each once more, and write down what is new; those of another account are left out.

    Args:
        context: What the run or command works with.
        attempts: Stuck ones.
        patience_s: Seconds to wait for the answer about each.

    Returns:
        What was said, by attempt id.
    """
    said: dict[int, Said] = {}
    gate = asyncio.Semaphore(20)

    async def one(attempt: Attempt) -> None:
        said[attempt.attempt_id] = Said.NO_ANSWER
        try:
            async with gate, asyncio.timeout(patience_s):
                said[attempt.attempt_id] = await _ask(context, attempt)
        except (ProviderError, TimeoutError) as error:
            context.say(f"{attempt.clip_key}: no usable answer to a poll: {error or 'too slow'}")
        except Exception as error:  # one prediction's, and no other's
            context.say(f"{attempt.clip_key}: {described(error)}")

    await to_the_end(one(attempt) for attempt in attempts if context.reaches(attempt))
    return said


async def _ask(context: RunContext, attempt: Attempt) -> Said:
    """What the provider says; that it is lost only where it says so several times."""
    said = Said.LOST
    for number in range(ASK_TIMES):
        if number:
            await asyncio.sleep(ASK_AGAIN_S)
        if (said := await _ask_once(context, attempt)) is not Said.LOST:
            break
    return said


async def _ask_once(context: RunContext, attempt: Attempt) -> Said:
    try:
        prediction = await ask(context, attempt)
    except ProviderError as error:
        if error.kind is not ErrorKind.EXPIRED:
            raise
        return Said.LOST
    match prediction.state:
        case PredictionState.FAILED:
            record(context, attempt, prediction)
            return Said.FAILED
        case PredictionState.SUCCEEDED if not prediction.output_urls:
            return Said.LOST
        case PredictionState.SUCCEEDED:
            if not await _is_there(context, prediction.output_urls[0]):
                return Said.LOST
            record(context, attempt, prediction)
            return Said.RENDERED
        case _:
            return Said.RUNNING


async def _is_there(context: RunContext, url: str) -> bool:
    """Whether an output can still be fetched; one byte of it is asked for."""
    async with context.provider.open_output(url, headers={"Range": "bytes=0-0"}) as response:
        return response.status_code not in _GONE


def give_up(ledger: Ledger, attempt: Attempt, why: str) -> bool:
    """End an attempt whose prediction nobody is to wait for any more; what it was billed stays spent.

    Returns:
        False: it has gone on since it was read, and nothing was changed.
    """
    failure = attempt.failure or Failure("", "its answer was lost")
    message = f"{failure.message}; given up: {why}"
    return ledger.attempts.fail(
        attempt.attempt_id,
        failure.kind,
        message,
        retryable=False,
        reported=True,
        leaving=[attempt.state],
    )


async def settle_superseded(
    context: RunContext, attempts: Sequence[Attempt], *, patience_s: float = PATIENCE_S
) -> int:
    """Give up what is stuck although its row asks for another video by now; how many those were.

    What has been rendered after all is fetched, and kept as a file.
    """
    said = await ask_again(context, attempts, patience_s=patience_s)
    given_up = 0
    for attempt in attempts:
        match said.get(attempt.attempt_id):
            case Said.LOST | Said.RUNNING as now:
                why = f"its row has changed, and the prediction is {now.name.lower()}"
                given_up += give_up(context.ledger, attempt, why)
            case Said.RENDERED if attempt.state is AttemptState.SUCCEEDED:
                why = "its row has changed, and its video could not be fetched"
                given_up += give_up(context.ledger, attempt, why)
            case _:
                pass
    return given_up

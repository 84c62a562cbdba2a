"""Sending a submit again where, and only where, the provider certainly did not take it."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext

import stamina

from sora_pipeline.provider.errors import ErrorKind, TransientError
from sora_pipeline.provider.protocol import Accepted

MAX_WAIT_S = 120.0
"""Longest wait between two tries, whatever ``Retry-After`` asks for."""


FIRST_WAIT_S = 2.0
"""Wait before the second try, where the provider asks for none; each further one is three times as long."""
STALE_S = 1.0
"""Turns that were taken so long ago are lost: with those that came since, a minute would see too many."""


class GateClosed(Exception):
    """Raised to those who wait at a gate when it is closed: nothing more is to be sent."""


class SubmitGate:
    """What all submits of a run to one account pass through: a rate, and the pause that one clip's 429 imposes on all.

    The gate decides how long a pause is; where it and the turns are kept, and so who else heeds them, is the caller's. Nobody
    else waits after a 429.

    Args:
        turns: Takes up to so many of the account's next turns; returns how many, and where there is none, in how many seconds one
            may ask again. Called in a thread.
        left_s: Seconds until the account's pause is over; called in a thread, for it may wait for a database.
        pause: Begins a pause of so many seconds, or makes one longer.
        max_pause_s: Longest pause a 429 can impose.
    """

    def __init__(
        self,
        *,
        turns: Callable[[int], tuple[int, float]],
        left_s: Callable[[], float],
        pause: Callable[[float], object],
        max_pause_s: float = MAX_WAIT_S,
    ) -> None:
        self._take = turns
        self._left_s = left_s
        self._pause = pause
        self._max_pause_s = max_pause_s
        self._refusals = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._serving: asyncio.Task[None] | None = None
        self._closed = False

    async def wait(self) -> None:
        """Wait for a turn, in the order in which they came.

        Raises:
            GateClosed: there will be none.
        """
        if self._closed:
            raise GateClosed
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        await turn

    def close(self) -> None:
        """Let nobody pass any more; those who wait are told at once."""
        self._closed = True
        if self._serving is not None:
            self._serving.cancel()
        while self._forget_cancelled():
            self._waiting.popleft().set_exception(GateClosed())

    async def _serve(self) -> None:
        """Let those pass who wait, several with one transaction: many do, when many renders end at once."""
        while self._forget_cancelled():
            try:
                wait_s = await self._let_pass()
            except Exception as error:  # the next one's try may go well
                wait_s = 0.0
                if self._forget_cancelled():
                    self._waiting.popleft().set_exception(error)
            await asyncio.sleep(wait_s)

    async def _let_pass(self) -> float:
        """Let those pass whose turn has come; returns for how many seconds nobody's will."""
        if left_s := await self._pause_left_s():
            return left_s
        taken, wait_s = await asyncio.to_thread(self._take, len(self._waiting))
        taken_at = time.monotonic()
        # Again: somebody may have heard a 429 meanwhile. The turns are lost then.
        if left_s := await self._pause_left_s():
            return left_s
        if time.monotonic() - taken_at > STALE_S:
            return 0.0
        while taken and self._forget_cancelled():
            self._waiting.popleft().set_result(None)
            taken -= 1
        return wait_s

    def _forget_cancelled(self) -> bool:
        """Whether anybody still waits."""
        while self._waiting and self._waiting[0].done():
            self._waiting.popleft()
        return bool(self._waiting)

    async def rate_limited(self, retry_after_s: float | None) -> None:
        """A submit got HTTP 429: nobody sends for a while.

        Without ``Retry-After``, or with 0, the pause doubles from 2 s with each 429 that follows a pause without a success in
        between; several at once count as one.
        """
        if not retry_after_s:
            if await self._pause_left_s() > 0:
                return
            self._refusals += 1
            retry_after_s = 2.0 ** min(self._refusals, 10)
        await asyncio.to_thread(self._pause, min(max(retry_after_s, 0.0), self._max_pause_s))

    def accepted(self) -> None:
        """A submit was taken: the next 429 pauses briefly again."""
        self._refusals = 0

    async def _pause_left_s(self) -> float:
        return min(await asyncio.to_thread(self._left_s), self._max_pause_s)


async def retry_transient(
    send: Callable[[], Awaitable[Accepted]],
    *,
    gate: SubmitGate,
    tries: int = 4,
    say: Callable[[str], None] = lambda _: None,
    max_wait_s: float = MAX_WAIT_S,
    under_way: Callable[[], AbstractAsyncContextManager[object]] = nullcontext,
) -> Accepted:
    """Call ``send`` until it returns, at most ``tries`` times; only ``TransientError`` is tried again.

    Args:
        send: Sends once, and keeps its own books about it.
        gate: Passed before each try.
        tries: How often to send at most.
        say: Takes a sentence before each further try.
        max_wait_s: Longest wait between two tries.
        under_way: Entered before each try passes the gate, and left once its answer is heeded: whoever has a turn sends at once.

    Raises:
        TransientError: the last try's.
        GateClosed: nothing more is to be sent.
        Exception: whatever else ``send`` raised, at once.
    """
    number = 0

    def again(error: Exception) -> bool | float:
        if not isinstance(error, TransientError):
            return False
        if number < tries:
            say(f"not accepted ({error.kind}), try {number + 1} of {tries} follows: {error.message}")
        if error.kind is ErrorKind.RATE_LIMITED:
            return 0.0  # the gate is where everybody waits
        # True: stamina's exponential back-off with jitter. A number: exactly that wait.
        return True if error.retry_after_s is None else min(error.retry_after_s, max_wait_s)

    attempts = stamina.retry_context(
        on=again,
        attempts=tries,
        timeout=None,
        wait_initial=min(FIRST_WAIT_S, max_wait_s),
        wait_max=max_wait_s,
        wait_exp_base=3,
        wait_jitter=min(1.0, max_wait_s),
    )
    async for attempt in attempts:
        number = attempt.num
        with attempt:
            async with under_way():
                await gate.wait()
                try:
                    accepted = await send()
                except TransientError as error:
                    if error.kind is ErrorKind.RATE_LIMITED:
                        await gate.rate_limited(error.retry_after_s)
                    raise
                gate.accepted()
                return accepted
    raise AssertionError("stamina re-raises the last error")

"""Sending a submit again where, and only where, the provider certainly did not take it."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import stamina
from aiolimiter import AsyncLimiter

from sora_pipeline.provider.errors import ErrorKind, TransientError
from sora_pipeline.provider.protocol import Accepted

MAX_WAIT_S = 120.0
"""Longest wait between two tries, whatever ``Retry-After`` asks for."""


class GateClosed(Exception):
    """Raised to those who wait at a gate when it is closed: nothing more is to be sent."""


class SubmitGate:
    """What all submits with one key pass through: a rate, and a pause that one clip's 429 imposes on all.

    Args:
        per_minute: Submits in any sixty seconds at most.
        max_pause_s: Longest pause a 429 can impose.
    """

    def __init__(self, per_minute: float, *, max_pause_s: float = MAX_WAIT_S) -> None:
        if per_minute <= 0:
            raise ValueError("submits per minute must be more than 0")
        self._per_minute = per_minute
        self._max_pause_s = max_pause_s
        self._closed_until = 0.0
        self._refusals = 0
        self._limiter: AsyncLimiter | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: set[asyncio.Task[None]] = set()
        self._closed = False

    async def wait(self) -> None:
        """Wait for a turn.

        Raises:
            GateClosed: there will be none.
        """
        if self._closed:
            raise GateClosed
        turn = asyncio.create_task(self._turn())
        self._waiting.add(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if self._closed:
                raise GateClosed from None
            turn.cancel()
            raise
        finally:
            self._waiting.discard(turn)

    def close(self) -> None:
        """Let nobody pass any more; those who wait are told at once."""
        self._closed = True
        for turn in self._waiting:
            turn.cancel()

    async def _turn(self) -> None:
        while True:
            await asyncio.sleep(self.pause_left_s)
            await self._limiter_of_this_loop().acquire()
            if self.pause_left_s <= 0:
                return

    def rate_limited(self, retry_after_s: float | None) -> None:
        """A submit got HTTP 429: nobody sends for a while.

        Without ``Retry-After`` the pause doubles from 2 s with each 429 that follows a pause without a success in
        between; several at once count as one.
        """
        if retry_after_s is None:
            if self.pause_left_s > 0:
                return
            self._refusals += 1
            retry_after_s = 2.0 ** min(self._refusals, 10)
        pause = min(max(retry_after_s, 0.0), self._max_pause_s)
        self._closed_until = max(self._closed_until, time.monotonic() + pause)

    def accepted(self) -> None:
        """A submit was taken: the next 429 pauses briefly again."""
        self._refusals = 0

    @property
    def pause_left_s(self) -> float:
        """Seconds until submits go on."""
        return max(0.0, self._closed_until - time.monotonic())

    def _limiter_of_this_loop(self) -> AsyncLimiter:
        loop = asyncio.get_running_loop()
        if self._limiter is None or self._loop is not loop:
            # A leaky bucket lets its whole capacity pass at once and then its rate: with the full rate as capacity twice
            # the limit could pass in the first minute. A tenth as burst and the rest as rate never exceeds it.
            burst = max(1, int(self._per_minute // 10))
            rate = self._per_minute - (burst - 1)
            self._limiter = AsyncLimiter(burst, 60 * burst / rate)
            self._loop = loop
        return self._limiter


async def retry_transient(
    send: Callable[[], Awaitable[Accepted]],
    *,
    gate: SubmitGate,
    tries: int = 4,
    say: Callable[[str], None] = lambda _: None,
    max_wait_s: float = MAX_WAIT_S,
) -> Accepted:
    """Call ``send`` until it returns, at most ``tries`` times; only ``TransientError`` is tried again.

    Args:
        send: Sends once, and keeps its own books about it.
        gate: Passed before each try.
        tries: How often to send at most.
        say: Takes a sentence before each further try.
        max_wait_s: Longest wait between two tries.

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
        # True: stamina's exponential back-off with jitter. A number: exactly that wait.
        return True if error.retry_after_s is None else min(error.retry_after_s, max_wait_s)

    attempts = stamina.retry_context(
        on=again,
        attempts=tries,
        timeout=None,
        wait_initial=min(1.0, max_wait_s),
        wait_max=max_wait_s,
        wait_jitter=min(1.0, max_wait_s),
    )
    async for attempt in attempts:
        number = attempt.num
        with attempt:
            await gate.wait()
            try:
                accepted = await send()
            except TransientError as error:
                if error.kind is ErrorKind.RATE_LIMITED:
                    gate.rate_limited(error.retry_after_s)
                raise
            gate.accepted()
            return accepted
    raise AssertionError("stamina re-raises the last error")

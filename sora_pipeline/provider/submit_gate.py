"""Sending a submit again where, and only where, the provider certainly did not take it."""

import asyncio
from collections.abc import Awaitable, Callable

import stamina

from sora_pipeline.provider.errors import ErrorKind, TransientError
from sora_pipeline.provider.protocol import Accepted

MAX_WAIT_S = 120.0
"""Longest wait between two tries, whatever ``Retry-After`` asks for."""


FIRST_WAIT_S = 2.0
"""Wait before the second try, where the provider asks for none; each further one is three times as long."""


class GateClosed(Exception):
    """Raised to those who wait at a gate when it is closed: nothing more is to be sent."""


class SubmitGate:
    """What all submits of a run to one account pass through: a rate, and the pause that one clip's 429 imposes on all.

    The gate decides how long a pause is; where it and the turns are kept, and so who else heeds them, is the caller's. Nobody
    else waits after a 429.

    Args:
        turn: Takes the account's next turn, and returns 0; or returns for how many seconds there is none. Called in a thread.
        left_s: Seconds until the account's pause is over; called in a thread, for it may wait for a database.
        pause: Begins a pause of so many seconds, or makes one longer.
        max_pause_s: Longest pause a 429 can impose.
    """

    def __init__(
        self,
        *,
        turn: Callable[[], float],
        left_s: Callable[[], float],
        pause: Callable[[float], None],
        max_pause_s: float = MAX_WAIT_S,
    ) -> None:
        self._take = turn
        self._left_s = left_s
        self._pause = pause
        self._max_pause_s = max_pause_s
        self._refusals = 0
        self._order = asyncio.Lock()
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
        async with self._order:  # in the order in which they came: a thread's answer has none
            while left_s := await self._wait_s():  # noqa: ASYNC110 - other processes take turns, too
                await asyncio.sleep(left_s)

    async def _wait_s(self) -> float:
        """Seconds until one may ask again; 0: it is this one's turn, and there is no pause."""
        return await asyncio.to_thread(self._take) or await self._pause_left_s()

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

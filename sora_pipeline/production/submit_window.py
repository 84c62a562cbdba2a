"""How many submits may be without an answer at once: few, until the provider is seen to accept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

FIRST = 3


class SubmitWindow:
    """Grows with every submit that is accepted, and shrinks with one of which nobody knows whether it was.

    Each request under way when a provider goes down may have been billed, and has to be parked. So the first ones go out
    a few at a time, and the many only where the provider answers.

    Args:
        most: Submits under way at once at most.
        first: Submits under way at once before the first is accepted.
    """

    def __init__(self, most: int, first: int = FIRST) -> None:
        self._most, self._first = most, first
        self._size = min(first, most)
        self._under_way = 0
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait until one more may be under way; it is for as long as the body runs."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._under_way < self._size)
            self._under_way += 1
        try:
            yield
        finally:
            async with self._changed:
                self._under_way -= 1
                self._changed.notify_all()

    def accepted(self) -> None:
        """The provider took one."""
        self._size = min(max(self._size, self._first) + 1, self._most)

    def unanswered(self) -> None:
        """Nobody knows whether the provider took one: no other one takes its place before more is known."""
        self._size = max(1, min(self._size, self._first) - 1)

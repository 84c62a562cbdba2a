"""How much memory decoding may take in one process, over all of its threads: who decodes reserves first, and waits."""

import ctypes
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from threading import Condition, Lock

MIB = 2**20
_WORTH_TRIMMING_BYTES = 16 * MIB


class MemoryBudget:
    """Bytes that threads reserve before they take them. Threads that hold some must not ask for more.

    Args:
        limit_bytes: The most that is reserved at any time. Who asks for more than that waits until nobody else has any.
    """

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._reserved_bytes = 0
        self._released = Condition()
        self._next = Lock()

    @contextmanager
    def reserve(self, wanted_bytes: int) -> Iterator[None]:
        """Wait until there is room, and hold it while the body runs."""
        held_bytes = min(wanted_bytes, self.limit_bytes)
        with (
            self._next,
            self._released,
        ):  # one waits at a time, so that small ones never keep a large one waiting
            self._released.wait_for(lambda: self._reserved_bytes + held_bytes <= self.limit_bytes)
            self._reserved_bytes += held_bytes
        try:
            yield
        finally:
            if held_bytes >= _WORTH_TRIMMING_BYTES:
                _trim()(0)
            with self._released:
                self._reserved_bytes -= held_bytes
                self._released.notify_all()


DECODING = MemoryBudget(1024 * MIB)
"""Pixels of images and videos while they are decoded."""


@cache
def _trim() -> Callable[[int], object]:
    """Gives what is freed back to the system.

    glibc keeps it for the thread that had it, up to gigabytes for 16 threads that decoded one after the other
    (malloc_trim(3)). Other systems' allocators give large blocks back themselves.
    """
    if sys.platform != "linux":
        return lambda _: None
    trim: Callable[[int], object] = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: None)
    return trim

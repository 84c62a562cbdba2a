"""Work that may hang: done in a thread of its own, which nobody waits for longer than so long."""

import queue
import threading
from collections.abc import Callable
from typing import TypeVar

_Done = TypeVar("_Done")


def within(seconds: float, work: Callable[[], _Done]) -> _Done:
    """Do something that may take for ever, a name's look-up included, and go on without it after a while.

    What is not done then goes on in a thread of its own that ends with the process.

    Raises:
        TimeoutError: it was not done in time.
        Exception: what it raised.
    """
    ended: queue.SimpleQueue[tuple[_Done | None, Exception | None]] = queue.SimpleQueue()

    def do() -> None:
        try:
            ended.put((work(), None))
        except Exception as error:
            ended.put((None, error))

    threading.Thread(target=do, daemon=True).start()
    try:
        done, error = ended.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError from None
    if error is not None:
        raise error
    return done  # type: ignore[return-value]  # None only beside an error

"""Lets the work of a run go on in a thread of its own, while Dagster writes down what has come of it so far.

Dagster drives an asset only while it asks for the next event: work on its own event loop would stand still for as long as
an event is written, and answers that it waits for would look late.
"""

import asyncio
import queue
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any, Generic, TypeVar

from sora_pipeline.production.context import Leave

Result = TypeVar("Result")

LAST_ANSWERS_S = 20.0
"""How long a run that is terminated waits for answers that are on their way."""


class BackgroundWork(Generic[Result]):
    """One coroutine in a thread; its words come out here, in the thread of the asset.

    Args:
        work: Makes the coroutine.
        leave: Set to have it end as soon as it can.
        log: Takes its sentences, in the asset's thread.
    """

    def __init__(
        self,
        work: Callable[["BackgroundWork[Result]"], Coroutine[Any, Any, Result]],
        *,
        leave: Leave,
        log: Callable[[str], None],
    ) -> None:
        self._work = work
        self._leave = leave
        self._log = log
        self._words: queue.SimpleQueue[tuple[str, str] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[Result] | None = None
        self._error: BaseException | None = None
        self._result: Result | None = None

    def say(self, sentence: str) -> None:
        """A sentence for the run's log; from any thread."""
        self._words.put(("log", sentence))

    def settled(self, key: str) -> None:
        """It is known what becomes of a clip; from any thread."""
        self._words.put(("settled", key))

    def keys(self) -> Iterator[str]:
        """Keys of clips as they settle, until the work has ended.

        Raises:
            Exception: the work's own.
        """
        self._thread.start()
        try:
            while (word := self._words.get()) is not None:
                what, text = word
                if what == "log":
                    self._log(text)
                else:
                    yield text
        finally:
            self._end()
        if self._error is not None:
            raise self._error

    @property
    def result(self) -> Result:
        """What the work returned, once its keys have all been taken."""
        assert self._result is not None
        return self._result

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                self._result = runner.run(self._to_the_end())
        except BaseException as error:
            self._error = error
        finally:
            self._words.put(None)

    async def _to_the_end(self) -> Result:
        self._task = asyncio.create_task(self._work(self))
        return await self._task

    def _end(self) -> None:
        """Where the run is terminated, too: what is on its way is heard, and nothing further is sent."""
        if not self._thread.is_alive():
            return
        self._leave.terminated = True
        self._leave.set()
        self._thread.join(LAST_ANSWERS_S)
        if self._thread.is_alive() and self._task is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(LAST_ANSWERS_S)

"""Polls what is due for as long as a run goes on. The ledger says whose turn it is, so that nothing is asked twice."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress

from sora_pipeline.ledger import Attempt
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.polling import CONCURRENT_POLLS, sweep
from sora_pipeline.production.unexpected import described

CLAIM_S = 30.0
"""For how long a prediction is left to whoever polls it."""
PATIENCE_S = 25.0
"""Seconds that an answer may take: less than the claim."""
LAST_ANSWERS_S = 2.0
"""Seconds that are waited for answers where the run has ended."""
LONGEST_SLEEP_S = 1.0
SHORTEST_SLEEP_S = 0.1


@asynccontextmanager
async def polling(context: RunContext, ended: asyncio.Event) -> AsyncIterator[None]:
    """Poll while the body goes on, and set the event whenever a prediction has ended."""
    watcher = asyncio.create_task(_Watcher(context, ended).go_on())
    try:
        yield
    finally:
        watcher.cancel()
        with suppress(asyncio.CancelledError):
            await watcher


class _Watcher:
    def __init__(self, context: RunContext, ended: asyncio.Event) -> None:
        self._context = context
        self._ended = ended
        self._sweeps: dict[asyncio.Task[None], list[int]] = {}
        self._claiming: asyncio.Future[list[Attempt]] | None = None

    async def go_on(self) -> None:
        try:
            while True:  # noqa: ASYNC110 - other processes change what is due
                await asyncio.sleep(await self._begin())
        finally:
            await asyncio.shield(self._end())

    async def _end(self) -> None:
        """Hear answers that are about to come, and give back what was claimed and not polled."""
        given_back: list[int] = []
        if self._claiming is not None:
            with suppress(Exception):
                given_back += [attempt.attempt_id for attempt in await self._claiming]
        if sweeps := list(self._sweeps):
            await asyncio.wait(sweeps, timeout=LAST_ANSWERS_S)
        for sweeping, ids in list(self._sweeps.items()):
            if not sweeping.done():
                given_back += ids
                sweeping.cancel()
        await asyncio.gather(*sweeps, return_exceptions=True)
        if given_back:
            await asyncio.to_thread(self._context.ledger.attempts.give_back_polls, given_back)

    async def _begin(self) -> float:
        """Begin to poll what is due; returns how many seconds to wait until the next look."""
        context, attempts = self._context, self._context.ledger.attempts
        account, pipeline = context.account.name, context.pipeline
        try:
            next_s = await asyncio.to_thread(attempts.next_due_s, account, pipeline)
            if next_s is None:
                return LONGEST_SLEEP_S
            if next_s == 0 and (room := CONCURRENT_POLLS - sum(map(len, self._sweeps.values()))) > 0:
                self._claiming = asyncio.ensure_future(
                    asyncio.to_thread(
                        attempts.claim_due, room, account=account, pipeline=pipeline, for_s=CLAIM_S
                    )
                )
                # Shielded: a claim that is made while this is cancelled has to be given back.
                due = await asyncio.shield(self._claiming)
                self._claiming = None
                if due:
                    sweeping = asyncio.create_task(self._sweep(due))
                    self._sweeps[sweeping] = [attempt.attempt_id for attempt in due]
                    sweeping.add_done_callback(self._sweeps.pop)
        except (
            Exception
        ) as error:  # of the ledger, for one: what the run submits or fetches is not ended by it
            context.say(f"polling: {described(error)}")
            return LONGEST_SLEEP_S
        return min(max(next_s, SHORTEST_SLEEP_S), LONGEST_SLEEP_S)

    async def _sweep(self, due: Sequence[Attempt]) -> None:
        await sweep(self._context, due, budget_s=PATIENCE_S, ended=self._ended.set)

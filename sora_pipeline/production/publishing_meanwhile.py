"""Publishes productions while they are worked on, in a thread of the runs that do it.

That takes no run of its own and no place in Dagster's queue. What has finished is left to the run that tells Dagster so.
"""

import threading
import time
from datetime import datetime, timedelta
from typing import Self

from sora_pipeline.errors import SoraPipelineError
from sora_pipeline.ledger import Production
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.progress import progress_of
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.unexpected import described

EVERY = timedelta(seconds=45)
"""How often a production that goes on is published, so that a change shows within a minute."""
SHARE = 10
"""Publishing takes at most one part in so many of the time."""
ROW_S = 0.00015
"""Seconds that publishing a row takes, as long as it was not measured."""
LOOK_S = 3.0
LAST_WORDS_S = 10.0
"""How long a run that ends waits for what is being written at that moment."""


def is_due(
    production: Production,
    rows: int,
    now: datetime,
    *,
    took_s: float | None = None,
    late: timedelta = timedelta(0),
) -> bool:
    """Whether it is time to publish a production that goes on.

    Args:
        production: The production; it has changed since it was published.
        rows: How many it has.
        now: What time it is.
        took_s: How long that took the last time; None: not known.
        late: Only where it should have been published so long ago.
    """
    took = timedelta(seconds=rows * ROW_S if took_s is None else took_s)
    moments = [moment for moment in (production.published_at, production.read_at) if moment is not None]
    # A moment that is still to come was noted by a clock that ran ahead.
    return not moments or not timedelta(0) <= now - max(moments) < max(EVERY, SHARE * took) + late


class PublishingMeanwhile:
    """Looks every few seconds for productions of a pipeline that have changed, for as long as the block lasts.

    Args:
        context: What the run works with.
    """

    def __init__(self, context: RunContext) -> None:
        self._context = context
        self._ended = threading.Event()
        self._hurry = threading.Event()
        self._took_s: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._thread = threading.Thread(target=self._work, name="publishing", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._ended.set()
        if kind is not None or self._context.leave.terminated:
            self._hurry.set()
        self._thread.join(LAST_WORDS_S)
        self._hurry.set()

    def _work(self) -> None:
        while not self._ended.wait(LOOK_S):
            try:
                self._look()
            except (
                Exception
            ) as error:  # a database that is away; a later look, or a sensor, finds what is to be done
                self._context.say(f"could not look for what is to be published: {described(error)}")
                self._ended.wait(EVERY.total_seconds())

    def _look(self) -> None:
        for production in self._context.ledger.productions.unpublished(self._context.pipeline):
            if self._ended.is_set():
                return
            if self._may(production):
                self._publish(production.production_id)

    def _may(self, production: Production) -> bool:
        context, identity = self._context, production.production_id
        now, took_s = context.ledger.now(), self._took_s.get(identity)
        if time.monotonic() < self._not_before.get(identity, 0) or not is_due(production, 0, now):
            return False
        progress = progress_of(context.ledger, production, context.settings, context.catalogue)
        return not progress.settled and is_due(production, progress.clips, now, took_s=took_s)

    def _publish(self, identity: str) -> None:
        context, began = self._context, time.monotonic()
        try:
            done = publish(
                context.ledger,
                identity,
                context.settings,
                f"{context.owner}-beside",
                finishes=False,
                going_on=self._goes_on,
            )
        except Exception as error:  # said, and tried again later: the run's own work is not to fail for it
            reason = context.explained(error) if isinstance(error, SoraPipelineError) else described(error)
            context.say(f"{identity} could not be published while it goes on: {reason}")
            self._not_before[identity] = time.monotonic() + EVERY.total_seconds()
            return
        if done is not None:
            self._took_s[identity] = time.monotonic() - began

    def _goes_on(self) -> bool:
        return not self._hurry.is_set()

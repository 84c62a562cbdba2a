"""Everything one run or tick needs at hand to work on clips."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.exc import DBAPIError

from sora_pipeline.admission.costs import cost_micros
from sora_pipeline.admission.limits import account_of, limits_of
from sora_pipeline.clip import Clip
from sora_pipeline.errors import Explain
from sora_pipeline.ledger import Account, Attempt, Ledger, Limits
from sora_pipeline.media.fitted_images import FittedImages
from sora_pipeline.production.render_times import RenderTimes
from sora_pipeline.production.unexpected import described
from sora_pipeline.provider.addresses import is_private_literal, public_only
from sora_pipeline.provider.catalogue import Catalogue
from sora_pipeline.provider.protocol import Provider
from sora_pipeline.settings import Settings

Say = Callable[[str], None]


class Leave(threading.Event):
    """Set where a run is to end as soon as it can: nothing further is begun, and answers under way are heard.

    Attributes:
        terminated: Whether a person ended the run: its batch is then not planned again by itself.
    """

    terminated = False


def image_cache(settings: Settings) -> FittedImages:
    """A cache of fitted images that reads URLs only where the settings allow it.

    A manifest from outside must not make this machine read from its own network.
    """
    private = settings.allow_private_hosts or account_of(settings).simulated
    if settings.base_url:
        private = private or is_private_literal(urlsplit(settings.base_url).hostname or "")
    return FittedImages(socket_factory=None if private else public_only)


@dataclass(frozen=True)
class RunContext:
    """What one run or tick works with.

    Attributes:
        ledger: What may be paid for.
        provider: Where clips are rendered; entered (connected) by whoever made the context.
        settings: How the user wants it.
        catalogue: What models can do and cost.
        owner: Name under which attempts are claimed: the Dagster run's id.
        say: Takes sentences for the log.
        explained: How people are told of an error or a reason: the ledger and the run keep that for them.
        images: Fitted images of this run.
        pipeline: The pipeline that it works for.
        leave: Whether the run is to end as soon as it can.
    """

    ledger: Ledger
    provider: Provider
    settings: Settings
    catalogue: Catalogue
    owner: str
    say: Say
    explained: Explain
    images: FittedImages = field(default_factory=FittedImages)
    pipeline: str = ""
    leave: Leave = field(default_factory=Leave)

    @property
    def account(self) -> Account:
        """Who submits, polls and pays."""
        return account_of(self.settings)

    def sign_batch(self, batch_id: str, **values: Any) -> None:
        """Give a batch's sign of life, and hear whether to leave; a database that is away for a while ends no run."""
        try:
            told_to_leave = self.ledger.batches.sign(batch_id, self.owner, lease_s=self.lease_s, **values)
        except DBAPIError as error:
            self.say(f"no sign of life of this run could be noted: {described(error)}")
            return
        if told_to_leave:
            self.leave.set()

    def reaches(self, attempt: Attempt) -> bool:
        """Whether the provider at hand is the one that has this attempt's prediction."""
        return attempt.account == self.account

    @cached_property
    def render_times(self) -> RenderTimes:
        """What the account's renders took lately, and when its predictions are polled by that."""
        return RenderTimes(self.ledger, self.settings, self.catalogue)

    @property
    def lease_s(self) -> float:
        """Seconds for which a claim of this owner holds without a sign of life."""
        return self.settings.lease_s

    @property
    def limits(self) -> Limits:
        """What holds for every reservation."""
        return limits_of(self.settings)

    def cost_micros(self, clip: Clip) -> int:
        """What a clip costs, in millionths of a US dollar."""
        return cost_micros(clip, self.catalogue)

    @asynccontextmanager
    async def alive(self) -> AsyncIterator[None]:
        """Keep this owner's leases fresh while the body runs."""

        async def beat() -> None:
            while True:
                await asyncio.to_thread(self.ledger.attempts.heartbeat, self.owner, self.lease_s)
                await asyncio.sleep(self.lease_s / 4)

        beating = asyncio.create_task(beat())
        try:
            yield
        finally:
            beating.cancel()
            with suppress(asyncio.CancelledError):
                await beating

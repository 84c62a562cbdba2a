"""Polls on the sandbox provider: real HTTP, a real ledger, and the provider's own books for when each render ended."""

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from sora_pipeline.advice import explained
from sora_pipeline.clip import Clip, Size, clip_key
from sora_pipeline.ledger import Account, AttemptState, Ledger, Plan, Reading
from sora_pipeline.ledger.types import RenderKind
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.poll_schedule import PollSchedule
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.registry import make_provider
from sora_pipeline.sandbox.embedded import SandboxEndpoint, running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline.settings import Settings

ACCOUNT = Account("sandbox", "sandbox", simulated=True)
SHORTEST_LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Unlearned:
    """Polls as if nothing was known of render times."""

    interval_s: float

    def schedule(self, _kind: RenderKind) -> PollSchedule:
        """The interval, or a tenth of the age."""
        return PollSchedule(self.interval_s)


@dataclass(frozen=True, slots=True)
class Always(Unlearned):
    """Polls at a fixed interval."""

    def schedule(self, _kind: RenderKind) -> PollSchedule:
        """Ages so many intervals apart, for two hours."""
        count = int(7200 / self.interval_s)
        ages = tuple(number * self.interval_s for number in range(count))
        return _Even(self.interval_s, ages, tuple(range(1, count + 1)))


class _Even(PollSchedule):
    def wait_s(self, age_s: float) -> float:
        """The interval, whatever the age."""
        return self.interval_s


async def run_on_sandbox(
    folder: Path,
    *,
    clips: int,
    slots: int,
    render_s: float,
    jitter: float,
    interval_s: float,
    look_s: float,
    progress: Callable[[str], None],
) -> dict[str, list[tuple[int, float]]]:
    """Each rule on a provider and a ledger of its own: by rule, the requests and seconds until noticed of every clip.

    Args:
        folder: For ledgers and the provider's state.
        clips: How many.
        slots: How many are rendered at once.
        render_s: Seconds that a render takes.
        jitter: Share by which these vary.
        interval_s: Seconds between two polls where nothing is known.
        look_s: Seconds between two looks at what is due.
        progress: Is told what goes on.
    """
    rules = {"fixed": Always(interval_s), "by age": Unlearned(interval_s), "learned": None}
    results = {}
    for name, rule in rules.items():
        progress(f"{name}: {clips} clips of {render_s:g} s")
        place = folder / name.replace(" ", "-")
        settings = SandboxSettings(
            state_dir=place, shared_renders=True, render_s=render_s, render_jitter=jitter
        )
        with running_sandbox(settings) as endpoint:
            ledger = Ledger(f"sqlite:///{place / 'ledger.db'}")
            async with _context(ledger, endpoint, interval_s, slots) as context:
                if rule is not None:
                    vars(context)["render_times"] = rule
                keys = _register(ledger, clips)
                await _render(context, keys, max(look_s, SHORTEST_LOOK_S))
        ended_at = _ends(place / "sandbox.sqlite3")
        results[name] = [_noticed(ledger, key, ended_at) for key in keys]
        ledger.close()
    return results


@asynccontextmanager
async def _context(
    ledger: Ledger, endpoint: SandboxEndpoint, interval_s: float, slots: int
) -> AsyncIterator[RunContext]:
    config = ProviderConfig(name="sandbox", base_url=endpoint.url, api_key=SecretStr(endpoint.api_key))
    settings = Settings(poll_interval_s=interval_s, max_in_flight=slots, submits_per_minute=6000)
    ledger.accounts.use(ACCOUNT, endpoint.url)
    async with make_provider(config) as provider:
        yield RunContext(
            ledger, provider, settings, load_catalogue(), "benchmark", lambda _sentence: None, explained
        )


def _register(ledger: Ledger, clips: int) -> list[str]:
    """A production of so many clips; their keys."""
    wanted = [
        Clip(
            clip_id=f"{number:04}",
            row_number=number + 1,
            prompt=f"clip {number}",
            image=None,
            image_sha256=None,
            model="sora-2-pro",
            simulated=True,
            duration=4,
            size=Size(720, 1280),
        )
        for number in range(clips)
    ]
    plan = Plan("polls", "", "/in/polls.csv", "/out/polls", ACCOUNT)
    ledger.productions.record_snapshot(plan, Reading("", "", "", wanted, {}, ledger.now()))
    return [clip_key("polls", clip.clip_id) for clip in wanted]


async def _render(context: RunContext, keys: Sequence[str], look_s: float) -> None:
    """Submit as slots come free and poll what is due, until all have ended."""
    attempts, waiting = context.ledger.attempts, list(keys)
    while True:
        began_at = time.monotonic()
        if free := context.settings.max_in_flight - attempts.slots_taken(ACCOUNT.name):
            batch, waiting = waiting[:free], waiting[free:]
            if batch:
                await ensure_predictions(context, batch, batch_id=batch[0], may_begin=True)
        if due := attempts.due(len(keys), account=ACCOUNT.name):
            await sweep(context, due, budget_s=30)
        if not waiting and not attempts.live(AttemptState.IN_FLIGHT):
            return
        await asyncio.sleep(max(0.0, look_s - (time.monotonic() - began_at)))


def _ends(database: Path) -> dict[str, datetime]:
    """When each job ended, by its id, as the provider has it."""
    connection = sqlite3.connect(database)
    rows = connection.execute("SELECT id, ended_at FROM jobs").fetchall()
    connection.close()
    return {job: datetime.fromtimestamp(ended_at, UTC) for job, ended_at in rows}


def _noticed(ledger: Ledger, key: str, ended_at: dict[str, datetime]) -> tuple[int, float]:
    """Requests for a clip, and seconds until its end was noticed."""
    (attempt,) = ledger.attempts.of_clips([key])
    assert attempt.result.completed_at is not None
    ended = ended_at[attempt.submission.prediction_id or ""]
    return attempt.polling.polls + 1, (attempt.result.completed_at - ended).total_seconds()

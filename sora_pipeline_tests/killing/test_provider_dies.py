"""The provider is killed and comes back, or refuses for a while, in the middle of a production."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import Desk
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline.production.submitting import ensure_predictions, fail_transient
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.conftest import QUICK, Office, Producer, Sandbox
from sora_pipeline_tests.killing.referee import violations
from sora_pipeline_tests.killing.stage import MortalProvider

pytestmark = pytest.mark.anyio

CLIP_IDS = [f"clip-{number:02}" for number in range(12)]


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[MortalProvider]:
    settings = SandboxSettings(
        state_dir=tmp_path / "provider",
        shared_renders=True,
        **QUICK | {"render_s": 1.0, "slow_answer_s": 1.0},
    )
    provider = MortalProvider(settings)
    yield provider
    provider.close()


@pytest.fixture
async def desk(provider: MortalProvider, ledger: Ledger, impatient: None) -> AsyncIterator[Desk]:
    office = Office(Sandbox(provider.endpoint, provider.http), ledger)
    async with office.open(max_attempts=20, submits_per_minute=100_000) as desk:
        yield desk


async def produce(desk: Desk) -> None:
    """What sensors and runs do, over and over, until nothing is left to do."""
    ledger, number = desk.ledger, 0
    open_states = (AttemptState.IN_FLIGHT, AttemptState.RESERVED)
    while (
        (pending := ledger.clips.pending(desk.settings.max_attempts))
        or ledger.attempts.live(*open_states)
        or ledger.attempts.unreported()
    ):
        number += 1
        if pending:
            ensured = await ensure_predictions(desk, pending, batch_id=f"batch-{number}", may_begin=True)
            fail_transient(desk, ensured)
        await collect_videos(desk, CLIP_IDS, resume_timed_out=False)


async def until_billed(provider: MortalProvider, count: int) -> None:
    while provider.bill()["accepted"] < count:  # noqa: ASYNC110 - the server has no event
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["killed", "503", "reset"])
async def test_production_outlasts_its_provider(
    desk: Desk, provider: MortalProvider, production: Producer, how: str
) -> None:
    rows = [
        {"clip_id": each, "prompt": each if number % 2 else f"{each} [sandbox:slow-answer]"}
        for number, each in enumerate(CLIP_IDS)
    ]
    identity = production(rows).production_id
    async with asyncio.timeout(90):
        producing = asyncio.create_task(produce(desk))
        await until_billed(provider, 8)  # those with slow answers still wait for them
        if how == "killed":
            provider.kill()
            await asyncio.sleep(1.0)
            await asyncio.to_thread(provider.start_again)
        else:
            provider.change(outage=how, outage_s=1.5)
        await producing
        lost = [each.clip_id for each in desk.ledger.attempts.live(AttemptState.AMBIGUOUS)]
        judge(desk, identity, provider)
        if lost:
            retry_clips(desk.ledger, desk.settings, lost)
            await produce(desk)
    judge(desk, identity, provider, everything=True)
    twice = {prompt for prompt, times in provider.bill()["by_prompt"].items() if times > 1}
    assert twice <= {row["prompt"] for row in rows if row["clip_id"] in lost}


def judge(desk: Desk, identity: str, provider: MortalProvider, *, everything: bool = False) -> None:
    assert publish(desk.ledger, identity, desk.settings, "judge") is not None
    found = violations(desk.ledger, identity, provider.bill(), sound=CLIP_IDS if everything else ())
    assert found == []
    if everything:
        assert not desk.ledger.attempts.live(AttemptState.AMBIGUOUS)

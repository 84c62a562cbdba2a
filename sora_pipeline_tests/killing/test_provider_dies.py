"""The provider is killed and comes back, or refuses for a while, in the middle of a production."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.conftest import QUICK, Producer, RunContexts, Sandbox, key, keys
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
async def run_context(provider: MortalProvider, ledger: Ledger, impatient: None) -> AsyncIterator[RunContext]:
    contexts = RunContexts(Sandbox(provider.endpoint, provider.http), ledger)
    async with contexts.open(max_attempts=20, submits_per_minute=100_000) as run_context:
        yield run_context


async def produce(run_context: RunContext) -> None:
    """What sensors and runs do, over and over, until nothing is left to do."""
    ledger, number = run_context.ledger, 0
    open_states = (AttemptState.IN_FLIGHT, AttemptState.RESERVED)
    while (
        (pending := ledger.clips.pending(run_context.settings.max_attempts))
        or ledger.attempts.live(*open_states)
        or ledger.attempts.unreported()
    ):
        number += 1
        if pending:
            await ensure_predictions(run_context, pending, batch_id=f"batch-{number}", may_begin=True)
            ledger.breakers.close("sandbox")  # a person who sees the provider come back
        await collect_videos(run_context, keys(*CLIP_IDS), resume_timed_out=False)


async def until_billed(provider: MortalProvider, count: int) -> None:
    while provider.bill()["accepted"] < count:  # noqa: ASYNC110 - the server has no event
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", ["killed", "503", "reset"])
async def test_production_outlasts_its_provider(
    run_context: RunContext, provider: MortalProvider, production: Producer, how: str
) -> None:
    rows = [
        {"clip_id": each, "prompt": each if number % 2 else f"{each} [sandbox:slow-answer]"}
        for number, each in enumerate(CLIP_IDS)
    ]
    identity = production(rows).production_id
    async with asyncio.timeout(90):
        producing = asyncio.create_task(produce(run_context))
        await until_billed(provider, 8)  # those with slow answers still wait for them
        if how == "killed":
            provider.kill()
            await asyncio.sleep(1.0)
            await asyncio.to_thread(provider.start_again)
        else:
            provider.change(outage=how, outage_s=1.5)
        await producing
        lost = [each.clip_key for each in run_context.ledger.attempts.live(AttemptState.AMBIGUOUS)]
        refused = run_context.ledger.clips.unsettled(identity).keys() - set(lost)
        judge(run_context, identity, provider)
        if again := [*lost, *refused]:
            retry_clips(run_context.ledger, run_context.settings, [identity], again)
            await produce(run_context)
    judge(run_context, identity, provider, everything=True)
    twice = {prompt for prompt, times in provider.bill()["by_prompt"].items() if times > 1}
    assert twice <= {row["prompt"] for row in rows if key(row["clip_id"]) in lost}


def judge(
    run_context: RunContext, identity: str, provider: MortalProvider, *, everything: bool = False
) -> None:
    assert publish(run_context.ledger, identity, run_context.settings, "judge") is not None
    found = violations(
        run_context.ledger, {"sandbox": provider.bill()}, sound=keys(*CLIP_IDS) if everything else ()
    )
    assert found == []
    if everything:
        assert not run_context.ledger.attempts.live(AttemptState.AMBIGUOUS)

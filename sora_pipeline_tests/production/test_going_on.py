"""Runs that go on: more clips than slots, several productions, attempts that come back, and runs that are to leave."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from typing import Any

import pytest

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.ledger.batches import GENERATIONS, VIDEOS
from sora_pipeline.production.collecting import Collected, collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.submit_results import LEFT, UNWANTED, SubmitResults
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import (
    Clock,
    Producer,
    RunContexts,
    Sandbox,
    key,
    keys,
    latest,
    rows_of,
    standing,
)

pytestmark = pytest.mark.anyio

IDS = [f"c{number}" for number in range(7)]


def plan(ledger: Ledger, *clip_keys: str, asset: str = GENERATIONS, batch_id: str = "batch") -> None:
    """What the sensors do before they request a run."""
    ledger.batches.plan(
        batch_id, pipeline="", account="sandbox", asset=asset, keys=list(clip_keys), lease_s=60
    )


async def submit(context: RunContext, *clip_keys: str, **options: Any) -> SubmitResults:
    async with asyncio.timeout(60):
        return await ensure_predictions(
            context, list(clip_keys), batch_id="batch", may_begin=False, **options
        )


async def fetch(context: RunContext, *clip_keys: str, **options: Any) -> Collected:
    async with asyncio.timeout(60):
        return await collect_videos(
            context, list(clip_keys), resume_timed_out=False, batch_id="videos", **options
        )


@asynccontextmanager
async def ticking(clock: Clock) -> AsyncIterator[None]:
    """Time goes by, quicker than outside, so that polls are due."""

    async def tick() -> None:
        while True:
            await asyncio.sleep(0.1)
            clock.turn(1)

    ticks = asyncio.create_task(tick())
    try:
        yield
    finally:
        ticks.cancel()


async def soon(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.05)


async def test_one_run_submits_all_its_clips_as_slots_come_free(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(**dict.fromkeys(IDS, "a fox")))
    plan(ledger, *keys(*IDS))
    most = 0
    async with contexts.open(max_in_flight=2) as context, ticking(clock):
        work = asyncio.create_task(submit(context, *keys(*IDS)))
        while not work.done():
            most = max(most, ledger.attempts.slots_taken("sandbox"))
            await asyncio.sleep(0.02)
        results = await work
    assert set(results.ready) == set(keys(*IDS))
    assert 0 < most <= 2
    assert sandbox.billed == len(IDS)
    assert {latest(ledger, each).batch_id for each in IDS} == {"batch"}


async def test_clips_that_nobody_planned_are_not_begun(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    plan(ledger, key("a"))
    async with contexts.open() as context:
        results = await submit(context, *keys("a", "b"))
    assert (set(results.ready), set(results.waiting)) == ({key("a")}, {key("b")})
    assert sandbox.billed == 1


async def test_productions_take_turns_within_one_run(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(**dict.fromkeys(IDS, "a fox")), file="large.csv")
    production(rows_of(a="an owl", b="a bear"), file="small.csv")
    both = [*(f"large:{each}" for each in IDS), "small:a", "small:b"]
    plan(ledger, *both)
    settled: list[str] = []
    async with contexts.open(max_in_flight=2) as context, ticking(clock):
        await submit(context, *both, settled=settled.append)
    assert settled.index("small:a") < 3, settled
    assert settled.index("small:b") < len(IDS), settled
    assert sandbox.billed == len(both)


async def test_a_render_that_failed_and_may_succeed_is_begun_again_by_the_same_run(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="[sandbox:no-resource-once] a fox", **dict.fromkeys(IDS, "an owl")))
    wanted = keys("a", *IDS)
    plan(ledger, *wanted)
    async with contexts.open(max_in_flight=1) as context, ticking(clock):
        results = await submit(context, *wanted)
    assert set(results.ready) == set(wanted)
    assert standing(ledger, "a").attempts == 2
    assert latest(ledger, "a").batch_id == "batch"
    assert sandbox.billed == len(wanted) + 1


async def test_budget_that_ends_in_the_middle_holds_the_rest_with_that_reason(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(**dict.fromkeys(IDS, "a fox")), budget=Decimal("4.00"))
    plan(ledger, *keys(*IDS))
    async with contexts.open(max_in_flight=2) as context, ticking(clock):
        results = await submit(context, *keys(*IDS))
    assert len(results.ready) == sandbox.billed == 3
    assert len(results.waiting) == len(IDS) - 3
    assert all("of 4.00 sandbox USD" in reason for reason in results.waiting.values())


async def test_breaker_that_opens_in_the_middle_stops_the_rest(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox", b="[sandbox:no-balance] an owl", **dict.fromkeys(IDS, "a bear")))
    wanted = keys("a", "b", *IDS)
    plan(ledger, *wanted)
    async with contexts.open(max_in_flight=1) as context, ticking(clock):
        results = await submit(context, *wanted)
    assert set(results.ready) == {key("a")}
    assert set(results.waiting) == set(wanted) - {key("a")}
    assert results.stopped is not None
    assert sandbox.billed == 1
    assert ledger.attempts.live(AttemptState.RESERVED) == []


async def test_clips_that_the_manifest_names_no_longer_are_not_begun(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(**dict.fromkeys(IDS, "a fox")))
    plan(ledger, *keys(*IDS))
    async with contexts.open(max_in_flight=1) as context:
        work = asyncio.create_task(submit(context, *keys(*IDS)))
        await soon(lambda: sandbox.billed == 1)
        production(rows_of(c0="a fox", c1="a fox"))
        async with ticking(clock):
            results = await work
    assert sandbox.billed == 2
    assert set(results.waiting.values()) == {UNWANTED}
    assert set(results.waiting) == set(keys(*IDS[2:]))


async def test_a_run_that_finds_nothing_to_do_leaves(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="[sandbox:stuck] a fox", b="an owl"))
    plan(ledger, *keys("a", "b"))
    async with contexts.open(max_in_flight=1, idle_s=1) as context:
        results = await submit(context, *keys("a", "b"))
    assert (set(results.ready), results.waiting) == ({key("a")}, {key("b"): LEFT})
    assert ledger.attempts.live(AttemptState.RESERVED) == []


async def test_a_run_that_is_told_to_leave_sends_nothing_further(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(**dict.fromkeys(IDS, "a fox")))
    plan(ledger, *keys(*IDS))
    async with contexts.open(max_in_flight=1) as context:
        work = asyncio.create_task(submit(context, *keys(*IDS)))
        await soon(lambda: sandbox.billed == 1)
        ledger.batches.tell_to_leave("batch")
        async with ticking(clock):
            results = await work
    assert sandbox.billed < len(IDS)
    assert len(results.ready) == sandbox.billed
    assert set(results.waiting.values()) == {LEFT}


async def test_two_runs_over_the_same_clips_submit_each_once(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(**dict.fromkeys(IDS, "a fox")))
    plan(ledger, *keys(*IDS))
    async with (
        contexts.open("run-1", max_in_flight=2) as one,
        contexts.open("run-2", max_in_flight=2) as other,
        ticking(clock),
    ):
        first, second = await asyncio.gather(submit(one, *keys(*IDS)), submit(other, *keys(*IDS)))
    assert sandbox.billed == len(IDS)
    assert set(first.ready) | set(second.ready) == set(keys(*IDS))
    assert first.failed == second.failed == {}


async def test_nothing_is_polled_twice_where_two_runs_go_on(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    plan(ledger, key("a"))
    async with contexts.open() as context:
        await submit(context, key("a"))
    clock.turn(60)
    claim = {"account": "sandbox", "pipeline": "", "for_s": 30.0}
    assert [each.clip_id for each in ledger.attempts.claim_due(10, **claim)] == ["a"]
    assert ledger.attempts.claim_due(10, **claim) == []
    clock.turn(31)
    assert ledger.attempts.claim_due(10, overdue_s=10, **claim) == [], "left to whoever is quicker"
    assert len(ledger.attempts.claim_due(10, **claim)) == 1, "whoever had it did not poll it"


async def test_videos_are_fetched_as_they_come_while_others_are_still_submitted(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(**dict.fromkeys(IDS, "a fox")))
    wanted = keys(*IDS)
    plan(ledger, *wanted)
    plan(ledger, *wanted, asset=VIDEOS, batch_id="videos")
    settled: list[str] = []
    before_the_last = 0

    def note(clip: str) -> None:
        nonlocal before_the_last
        settled.append(clip)
        if sandbox.billed < len(IDS):
            before_the_last += 1

    async with (
        contexts.open("run-1", max_in_flight=2) as submitting,
        contexts.open("run-2", max_in_flight=2) as fetching,
        ticking(clock),
    ):
        _, collected = await asyncio.gather(
            submit(submitting, *wanted), fetch(fetching, *wanted, settled=note)
        )
    assert set(collected.delivered) == set(wanted)
    assert before_the_last > 0
    assert sorted(settled) == sorted(wanted)


async def test_a_fetching_run_leaves_once_nothing_can_come(
    contexts: RunContexts, ledger: Ledger, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    """What is pending is nobody's at the moment: no run that submits owns it."""
    production(rows_of(a="a fox", b="an owl"))
    plan(ledger, key("a"))
    async with contexts.open("run-1") as context:
        await submit(context, key("a"))
    async with contexts.open("run-2") as context, ticking(clock):
        collected = await fetch(context, *keys("a", "b"))
    assert set(collected.delivered) == {key("a")}
    assert set(collected.waiting) == {key("b")}

"""A provider that is down, hangs or answers with nothing that proves anything: few clips are parked, and few requests sent."""

from decimal import Decimal

import pytest

from sora_pipeline.ledger import AttemptState
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.submit_window import FIRST
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import (
    USD,
    Producer,
    RunContexts,
    Sandbox,
    keys,
    latest,
    other_run,
)

pytestmark = pytest.mark.anyio

NAMES = [f"clip-{number:03}" for number in range(60)]


@pytest.fixture
def many(production: Producer) -> None:
    production([{"clip_id": each, "prompt": each} for each in NAMES])


@pytest.mark.parametrize("outage", ["500", "reset"])
async def test_an_outage_without_proof_parks_three_clips_and_not_all(
    contexts: RunContexts, sandbox: Sandbox, many: None, outage: str
) -> None:
    async with contexts.open(max_in_flight=100) as run_context:
        sandbox.change(outage=outage)
        ledger = run_context.ledger
        await ensure_predictions(run_context, keys(*NAMES), batch_id="1", may_begin=True)
        parked = ledger.attempts.live(AttemptState.AMBIGUOUS)
        assert len(parked) == FIRST
        assert ledger.money.of_production("prompts").spent_usd == FIRST * USD, "doubt counts as spent"
        breaker = ledger.breakers.get("sandbox")
        assert breaker is not None
        assert breaker.kind == "ambiguous_submit"
        again = await ensure_predictions(other_run(run_context), keys(*NAMES), batch_id="2", may_begin=True)
        assert len(ledger.attempts.live(AttemptState.AMBIGUOUS)) == FIRST
        assert len(again.waiting) == len(NAMES) - FIRST
        sandbox.change(outage="none")
        ledger.breakers.close("sandbox")
        await ensure_predictions(other_run(run_context, "3"), keys(*NAMES), batch_id="3", may_begin=True)
    assert sandbox.billed == len(NAMES) - FIRST


async def test_no_more_than_four_requests_are_sent_for_one_clip_over_all_runs_and_attempts(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production([{"clip_id": "a", "prompt": "[sandbox:error-503] a fox"}])
    for number in range(6):
        await ensure_predictions(
            other_run(run_context, f"run-{number}"), keys("a"), batch_id=f"{number}", may_begin=False
        )
        pending = run_context.ledger.clips.pending(3)
        await ensure_predictions(
            other_run(run_context, f"sensor-{number}"), pending, batch_id=f"s{number}", may_begin=True
        )
        run_context.ledger.breakers.close("sandbox")
    assert sandbox.bill()["submits"] == 4
    assert run_context.ledger.money.of_production("prompts").spent_usd == Decimal(0)


async def test_a_refusal_for_now_is_counted_over_a_reservation_that_is_given_up(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production([{"clip_id": "a", "prompt": "[sandbox:error-503] a fox"}])
    ledger = run_context.ledger
    for batch in ("1", "2"):
        (attempt,) = ledger.attempts.reserve(
            {keys("a")[0]: 1},
            account=run_context.account,
            batch_id=batch,
            limits=run_context.limits,
            lease_s=60,
            owner="dead",
        ).reserved
        assert ledger.attempts.begin_submit(attempt.attempt_id, "dead", lease_s=60, request_summary={})
        assert ledger.attempts.withdraw(attempt.attempt_id, "unavailable", "HTTP 503")
        assert ledger.attempts.release(attempt.attempt_id)
    await ensure_predictions(run_context, keys("a"), batch_id="3", may_begin=True)
    assert sandbox.bill()["submits"] == 2


async def test_a_provider_that_hangs_takes_no_longer_than_the_sweep_may(
    contexts: RunContexts, sandbox: Sandbox, many: None
) -> None:
    async with contexts.open(max_in_flight=100) as run_context:
        ledger = run_context.ledger
        sandbox.change(render_s=60)  # a run that submits polls as well
        await ensure_predictions(run_context, keys(*NAMES), batch_id="1", may_begin=True)
        flying = ledger.attempts.live(AttemptState.IN_FLIGHT)
        assert len(flying) == len(NAMES)
        sandbox.change(outage="hang")
        swept = await sweep(run_context, flying, budget_s=1)
        # A poll may wait for its answer for as long as twice thirty seconds; that it came back at all says that none did.
        assert swept.counts["still rendering"] + swept.left_for_next_time == len(NAMES)
        assert latest(ledger, NAMES[0]).state is AttemptState.IN_FLIGHT


async def test_what_no_provider_should_raise_parks_three_clips_and_not_all(
    contexts: RunContexts, many: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def submit(_: object) -> None:
        raise ValueError("an answer that nobody foresaw")

    async with contexts.open(max_in_flight=100) as run_context:
        monkeypatch.setattr(run_context.provider, "submit", submit)
        await ensure_predictions(run_context, keys(*NAMES), batch_id="1", may_begin=True)
        assert len(run_context.ledger.attempts.live(AttemptState.AMBIGUOUS)) == FIRST

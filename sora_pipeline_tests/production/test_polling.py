import asyncio

import pytest

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.polling import GRACE_POLLS, poll_one, sweep
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import (
    Clock,
    Producer,
    RunContexts,
    Sandbox,
    ids,
    keys,
    latest,
    rows_of,
)
from sora_pipeline_tests.production.parts import failure_of

pytestmark = pytest.mark.anyio


async def submit(run_context: RunContext, *clip_ids: str) -> None:
    results = await ensure_predictions(run_context, keys(*clip_ids), batch_id="batch", may_begin=True)
    assert set(ids(results.ready)) == set(clip_ids), results


async def sweep_until_nothing_is_in_flight(run_context: RunContext) -> None:
    async with asyncio.timeout(20):
        while run_context.ledger.attempts.live(AttemptState.IN_FLIGHT):
            await sweep(run_context, run_context.ledger.attempts.due(100, account="sandbox"), budget_s=5)
            await asyncio.sleep(0.05)


async def test_rendered_clips_get_an_output_url(run_context: RunContext, production: Producer) -> None:
    production(
        rows_of(plain="a fox", odd="[sandbox:unknown-status] an owl", loud="[sandbox:uppercase] a bear")
    )
    await submit(run_context, "plain", "odd", "loud")
    await sweep_until_nothing_is_in_flight(run_context)
    for clip_id in ("plain", "odd", "loud"):
        attempt = latest(run_context.ledger, clip_id)
        assert attempt.state is AttemptState.SUCCEEDED
        assert attempt.result.output_url is not None
        assert attempt.result.completed_at is not None


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        ("policy-late", "content_policy", False),
        ("fail", "provider_internal", True),
        ("no-resource", "no_resource", True),
        ("cancelled", "cancelled", False),
        ("late-wording", "provider_internal", False),
    ],
)
async def test_failed_render_says_whether_another_attempt_can_succeed(
    run_context: RunContext, sandbox: Sandbox, production: Producer, fault: str, kind: str, retryable: bool
) -> None:
    production(rows_of(a=f"[sandbox:{fault}] a fox"))
    await submit(run_context, "a")
    await sweep_until_nothing_is_in_flight(run_context)
    attempt = latest(run_context.ledger, "a")
    assert (attempt.state, failure_of(attempt).kind) == (AttemptState.FAILED, kind)
    assert bool(failure_of(attempt).retryable) == retryable == bool(run_context.ledger.clips.pending(3))
    assert sandbox.billed == 1


async def test_odd_words_and_answers_about_others_lose_no_video(
    contexts: RunContexts, run_context: RunContext, production: Producer
) -> None:
    production(rows_of(odd="[sandbox:odd-status] a fox", foreign="[sandbox:foreign-id-once] an owl"))
    await submit(run_context, "odd", "foreign")
    await sweep_until_nothing_is_in_flight(run_context)
    for clip_id in ("odd", "foreign"):
        assert latest(run_context.ledger, clip_id).state is AttemptState.SUCCEEDED
    assert any("unknown status 'wrapped_up' counts as a success" in sentence for sentence in contexts.said)
    assert any("(other_prediction)" in sentence for sentence in contexts.said)


async def test_failing_polls_never_fail_a_clip(
    contexts: RunContexts, run_context: RunContext, production: Producer
) -> None:
    production(rows_of(a="[sandbox:poll-errors] a fox"))
    await submit(run_context, "a")
    await sweep_until_nothing_is_in_flight(run_context)
    assert latest(run_context.ledger, "a").state is AttemptState.SUCCEEDED
    assert any("no usable answer to a poll" in sentence for sentence in contexts.said)


@pytest.mark.parametrize("outage", ["500", "502", "503", "reset"])
async def test_outage_of_the_provider_never_fails_a_clip(
    run_context: RunContext, sandbox: Sandbox, production: Producer, outage: str
) -> None:
    production(rows_of(a="a fox"))
    await submit(run_context, "a")
    sandbox.change(outage=outage)
    for _ in range(3):
        assert await poll_one(run_context, latest(run_context.ledger, "a")) == "still rendering"
    sandbox.change(outage="none")
    await sweep_until_nothing_is_in_flight(run_context)
    assert latest(run_context.ledger, "a").state is AttemptState.SUCCEEDED


async def test_key_that_is_revoked_meanwhile_opens_the_breaker_and_keeps_the_clip(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    await submit(run_context, "a")
    sandbox.change(key_revoked=True)
    assert await poll_one(run_context, latest(run_context.ledger, "a")) == "still rendering"
    breaker = run_context.ledger.breakers.get("sandbox")
    assert breaker is not None
    assert breaker.kind == "bad_token"


async def test_completed_without_an_output_is_granted_some_polls_and_then_fails(
    run_context: RunContext, production: Producer
) -> None:
    production(rows_of(never="[sandbox:empty-output] a fox", soon="[sandbox:empty-output-once] an owl"))
    await submit(run_context, "never", "soon")
    await sweep_until_nothing_is_in_flight(run_context)
    assert latest(run_context.ledger, "soon").state is AttemptState.SUCCEEDED
    attempt = latest(run_context.ledger, "never")
    assert (attempt.state, failure_of(attempt).kind) == (AttemptState.FAILED, "no_output")
    assert attempt.polling.empty_polls == GRACE_POLLS
    assert "may have been billed" in attempt.why
    assert run_context.ledger.clips.pending(3) == [], "paid for and rendered: not sent again by itself"


async def test_deadline_keeps_the_prediction_and_resuming_finds_its_video(
    contexts: RunContexts, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    sandbox.change(render_s=1.5)
    production(rows_of(a="a fox"))
    async with contexts.open(generation_timeout_s=100) as run_context:
        await submit(run_context, "a")
        clock.turn(101)
        await is_timed_out_and_found_later(run_context, sandbox)


async def is_timed_out_and_found_later(run_context: RunContext, sandbox: Sandbox) -> None:
    swept = await sweep(run_context, run_context.ledger.attempts.due(10, account="sandbox"), budget_s=5)
    assert swept.counts == {"timed out": 1}
    attempt = latest(run_context.ledger, "a")
    assert (attempt.state, attempt.live) == (AttemptState.TIMED_OUT, True)
    assert "SORA_GENERATION_TIMEOUT_S=100" in attempt.why
    assert run_context.ledger.clips.pending(3) == [], "it may still come; nothing is paid again"
    assert run_context.ledger.attempts.resume(attempt.attempt_id, 60)
    async with asyncio.timeout(10):
        while await poll_one(run_context, latest(run_context.ledger, "a")) != "rendered":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert latest(run_context.ledger, "a").state is AttemptState.SUCCEEDED
    assert sandbox.billed == 1


async def test_time_in_which_nobody_could_look_makes_no_clip_late(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    """The machine slept, or its clock was set: the provider had no chance to tell."""
    sandbox.change(render_s=60)
    production(rows_of(a="a fox"))
    await submit(run_context, "a")
    clock.turn(10 * run_context.settings.generation_timeout_s)
    swept = await sweep(run_context, run_context.ledger.attempts.due(10, account="sandbox"), budget_s=5)
    assert swept.counts == {"still rendering": 1}
    assert latest(run_context.ledger, "a").state is AttemptState.IN_FLIGHT


async def test_long_renders_are_polled_less_and_less_often(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    sandbox.change(render_s=60)
    production(rows_of(a="a fox"))
    await submit(run_context, "a")
    clock.turn(300)
    await sweep(run_context, run_context.ledger.attempts.due(10, account="sandbox"), budget_s=5)
    next_poll = latest(run_context.ledger, "a").polling.next_at
    assert next_poll is not None
    assert (next_poll - clock()).total_seconds() == pytest.approx(30, abs=3)


async def test_sweep_out_of_time_leaves_the_rest_for_the_next(
    run_context: RunContext, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    await submit(run_context, "a", "b")
    attempts = run_context.ledger.attempts.live(AttemptState.IN_FLIGHT)
    swept = await sweep(run_context, attempts, budget_s=-1)
    assert swept.left_for_next_time == 2
    assert "2 left for the next tick" in swept.sentence()


async def test_predictions_of_another_provider_are_left_alone(
    contexts: RunContexts, run_context: RunContext, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    await submit(run_context, "a")
    async with contexts.open(provider="gptproto") as elsewhere:
        swept = await sweep(elsewhere, ledger.attempts.live(AttemptState.IN_FLIGHT), budget_s=5)
    assert not swept.counts

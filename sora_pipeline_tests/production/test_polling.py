import asyncio

import pytest

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.production.context import Desk
from sora_pipeline.production.polling import GRACE_POLLS, poll_one, sweep
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import Clock, Office, Producer, Sandbox, latest, rows_of

pytestmark = pytest.mark.anyio


async def submit(desk: Desk, *clip_ids: str) -> None:
    ensured = await ensure_predictions(desk, clip_ids, batch_id="batch", may_begin=True)
    assert set(ensured.ready) == set(clip_ids), ensured


async def sweep_until_nothing_is_in_flight(desk: Desk) -> None:
    async with asyncio.timeout(20):
        while desk.ledger.attempts.live(AttemptState.IN_FLIGHT):
            await sweep(desk, desk.ledger.attempts.due(100), budget_s=5)
            await asyncio.sleep(0.05)


async def test_rendered_clips_get_an_output_url(desk: Desk, production: Producer) -> None:
    production(
        rows_of(plain="a fox", odd="[sandbox:unknown-status] an owl", loud="[sandbox:uppercase] a bear")
    )
    await submit(desk, "plain", "odd", "loud")
    await sweep_until_nothing_is_in_flight(desk)
    for clip_id in ("plain", "odd", "loud"):
        attempt = latest(desk.ledger, clip_id)
        assert attempt.state is AttemptState.SUCCEEDED
        assert attempt.output_url is not None
        assert attempt.completed_at is not None


@pytest.mark.parametrize(
    ("fault", "kind", "retryable"),
    [
        ("policy-late", "content_policy", False),
        ("fail", "provider_internal", True),
        ("no-resource", "no_resource", True),
        ("cancelled", "cancelled", False),
    ],
)
async def test_failed_render_says_whether_another_attempt_can_succeed(
    desk: Desk, sandbox: Sandbox, production: Producer, fault: str, kind: str, retryable: bool
) -> None:
    production(rows_of(a=f"[sandbox:{fault}] a fox"))
    await submit(desk, "a")
    await sweep_until_nothing_is_in_flight(desk)
    attempt = latest(desk.ledger, "a")
    assert (attempt.state, attempt.error_kind) == (AttemptState.FAILED, kind)
    assert bool(attempt.retryable) == retryable == bool(desk.ledger.clips.pending(3))
    assert sandbox.billed == 1


async def test_failing_polls_never_fail_a_clip(office: Office, desk: Desk, production: Producer) -> None:
    production(rows_of(a="[sandbox:poll-errors] a fox"))
    await submit(desk, "a")
    await sweep_until_nothing_is_in_flight(desk)
    assert latest(desk.ledger, "a").state is AttemptState.SUCCEEDED
    assert any("no usable answer to a poll" in sentence for sentence in office.said)


@pytest.mark.parametrize("outage", ["500", "502", "503", "reset"])
async def test_outage_of_the_provider_never_fails_a_clip(
    desk: Desk, sandbox: Sandbox, production: Producer, outage: str
) -> None:
    production(rows_of(a="a fox"))
    await submit(desk, "a")
    sandbox.change(outage=outage)
    for _ in range(3):
        assert await poll_one(desk, latest(desk.ledger, "a")) == "still rendering"
    sandbox.change(outage="none")
    await sweep_until_nothing_is_in_flight(desk)
    assert latest(desk.ledger, "a").state is AttemptState.SUCCEEDED


async def test_key_that_is_revoked_meanwhile_opens_the_breaker_and_keeps_the_clip(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    await submit(desk, "a")
    sandbox.change(key_revoked=True)
    assert await poll_one(desk, latest(desk.ledger, "a")) == "still rendering"
    breaker = desk.ledger.breakers.get("sandbox")
    assert breaker is not None
    assert breaker.kind == "bad_token"


async def test_completed_without_an_output_is_granted_some_polls_and_then_fails(
    desk: Desk, production: Producer
) -> None:
    production(rows_of(never="[sandbox:empty-output] a fox", soon="[sandbox:empty-output-once] an owl"))
    await submit(desk, "never", "soon")
    await sweep_until_nothing_is_in_flight(desk)
    assert latest(desk.ledger, "soon").state is AttemptState.SUCCEEDED
    attempt = latest(desk.ledger, "never")
    assert (attempt.state, attempt.error_kind) == (AttemptState.FAILED, "no_output")
    assert attempt.empty_polls == GRACE_POLLS
    assert "may have been billed" in (attempt.error_message or "")
    assert desk.ledger.clips.pending(3) == [], "paid for and rendered: not sent again by itself"


async def test_deadline_keeps_the_prediction_and_resuming_finds_its_video(
    office: Office, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    sandbox.change(render_s=1.5)
    production(rows_of(a="a fox"))
    async with office.open(generation_timeout_s=100) as desk:
        await submit(desk, "a")
        clock.turn(101)
        await is_timed_out_and_found_later(desk, sandbox)


async def is_timed_out_and_found_later(desk: Desk, sandbox: Sandbox) -> None:
    swept = await sweep(desk, desk.ledger.attempts.due(10), budget_s=5)
    assert swept.found == {"timed out": 1}
    attempt = latest(desk.ledger, "a")
    assert (attempt.state, attempt.live) == (AttemptState.TIMED_OUT, True)
    assert "SORA_GENERATION_TIMEOUT_S=100" in (attempt.error_message or "")
    assert desk.ledger.clips.pending(3) == [], "it may still come; nothing is paid again"
    assert desk.ledger.attempts.resume(attempt.attempt_id, 60)
    async with asyncio.timeout(10):
        while await poll_one(desk, latest(desk.ledger, "a")) != "rendered":  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    assert latest(desk.ledger, "a").state is AttemptState.SUCCEEDED
    assert sandbox.billed == 1


async def test_time_in_which_nobody_could_look_makes_no_clip_late(
    desk: Desk, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    """The machine slept, or its clock was set: the provider had no chance to tell."""
    sandbox.change(render_s=60)
    production(rows_of(a="a fox"))
    await submit(desk, "a")
    clock.turn(10 * desk.settings.generation_timeout_s)
    swept = await sweep(desk, desk.ledger.attempts.due(10), budget_s=5)
    assert swept.found == {"still rendering": 1}
    assert latest(desk.ledger, "a").state is AttemptState.IN_FLIGHT


async def test_long_renders_are_polled_less_and_less_often(
    desk: Desk, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    sandbox.change(render_s=60)
    production(rows_of(a="a fox"))
    await submit(desk, "a")
    clock.turn(300)
    await sweep(desk, desk.ledger.attempts.due(10), budget_s=5)
    next_poll = latest(desk.ledger, "a").next_poll_at
    assert next_poll is not None
    assert (next_poll - clock()).total_seconds() == pytest.approx(30, abs=3)


async def test_sweep_out_of_time_leaves_the_rest_for_the_next(desk: Desk, production: Producer) -> None:
    production(rows_of(a="a fox", b="an owl"))
    await submit(desk, "a", "b")
    attempts = desk.ledger.attempts.live(AttemptState.IN_FLIGHT)
    swept = await sweep(desk, attempts, budget_s=-1)
    assert swept.left_for_next_time == 2
    assert "2 left for the next tick" in swept.sentence()


async def test_predictions_of_another_provider_are_left_alone(
    office: Office, desk: Desk, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    await submit(desk, "a")
    async with office.open(provider="gptproto") as elsewhere:
        swept = await sweep(elsewhere, ledger.attempts.live(AttemptState.IN_FLIGHT), budget_s=5)
    assert not swept.found

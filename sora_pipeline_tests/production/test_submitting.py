import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from sora_pipeline.admission.breaker import stop_on_failures, why_stopped
from sora_pipeline.advice import explained
from sora_pipeline.ledger import AttemptState, Ledger, Limits
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.submit_results import SubmitResults
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import (
    USD,
    Clock,
    Producer,
    RunContexts,
    Sandbox,
    ids,
    key,
    keys,
    latest,
    other_run,
    rows_of,
    standing,
    states,
)
from sora_pipeline_tests.production.parts import SANDBOX, failure_of

pytestmark = pytest.mark.anyio


async def ensure(
    run_context: RunContext, *clip_ids: str, batch_id: str | None = None, **options: bool
) -> SubmitResults:
    async with asyncio.timeout(30):
        return await ensure_predictions(
            run_context,
            keys(*clip_ids),
            batch_id=batch_id or run_context.owner,
            may_begin=options.pop("may_begin", True),
            **options,
        )


def spent(ledger: Ledger, production_id: str) -> Decimal:
    return ledger.money.of_production(production_id).committed_usd


async def test_every_clip_is_submitted_once_and_in_flight(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(a="a fox", b="an owl", c="a bear"))
    results = await ensure(run_context, "a", "b", "c")
    assert set(ids(results.ready)) == {"a", "b", "c"}
    assert results.fresh == {attempt.attempt_id for attempt in results.ready.values()}
    assert all(attempt.state is AttemptState.IN_FLIGHT for attempt in results.ready.values())
    assert sandbox.billed == 3
    assert spent(run_context.ledger, made.production_id) == 3 * USD == Decimal(sandbox.bill()["total_usd"])


# ---- faults of a submit


async def test_policy_refusal_fails_the_clip_and_costs_nothing(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(bad="[sandbox:policy] a fox", good="an owl"))
    results = await ensure(run_context, "bad", "good")
    assert set(ids(results.ready)) == {"good"}
    assert "content_policy" in results.failed[key("bad")]
    attempt = latest(run_context.ledger, "bad")
    assert (attempt.state, failure_of(attempt).retryable) == (AttemptState.FAILED, False)
    assert sandbox.billed == 1
    assert spent(run_context.ledger, made.production_id) == USD
    assert run_context.ledger.clips.pending(3) == []


@pytest.mark.parametrize("fault", ["rate-limit-once", "error-503-once"])
async def test_refusal_for_now_is_tried_again_and_billed_once(
    run_context: RunContext, sandbox: Sandbox, production: Producer, fault: str
) -> None:
    production(rows_of(a=f"[sandbox:{fault}] a fox"))
    results = await ensure(run_context, "a")
    assert set(ids(results.ready)) == {"a"}
    assert (sandbox.billed, standing(run_context.ledger, "a").attempts) == (1, 1)


async def test_lasting_refusal_for_now_ends_after_four_submits_whatever_becomes_of_the_runs(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(a="[sandbox:error-503] a fox"))
    results = await ensure(run_context, "a")
    attempt = latest(run_context.ledger, "a")
    assert (attempt.state, failure_of(attempt).retryable) == (AttemptState.FAILED, False)
    assert "refused for now 4 times" in results.failed[key("a")]
    assert (sandbox.billed, spent(run_context.ledger, made.production_id)) == (0, Decimal(0))
    assert run_context.ledger.clips.pending(3) == []
    assert sandbox.bill()["submits"] == standing(run_context.ledger, "a").refusals == 4


async def test_lost_answer_is_parked_not_resent(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(a="[sandbox:lost-answer] a fox"))
    first = await ensure(run_context, "a")
    assert "may have been billed" in first.failed[key("a")]
    assert "sora-pipeline retry --production prompts --clip a" in first.failed[key("a")]
    assert latest(run_context.ledger, "a").state is AttemptState.AMBIGUOUS
    second = await ensure(other_run(run_context), "a")
    assert second.failed[key("a")] == first.failed[key("a")]
    assert sandbox.billed == 1
    assert spent(run_context.ledger, made.production_id) == USD
    assert run_context.ledger.clips.pending(3) == []


@pytest.mark.parametrize("fault", ["html-502", "error-500", "reset"])
async def test_submit_that_may_have_been_accepted_is_parked(
    run_context: RunContext, sandbox: Sandbox, production: Producer, fault: str
) -> None:
    """A cut connection and a gateway's page look the same from here, accepted or not."""
    production(rows_of(a=f"[sandbox:{fault}] a fox"))
    await ensure(run_context, "a")
    assert latest(run_context.ledger, "a").state is AttemptState.AMBIGUOUS
    await ensure(other_run(run_context), "a")
    assert sandbox.billed == 0


async def test_resubmit_setting_begins_another_attempt_and_counts_both(
    contexts: RunContexts, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(a="[sandbox:lost-answer-once] a fox"))
    async with contexts.open(ambiguous_submit="resubmit") as run_context:
        first = await ensure(run_context, "a")
        assert "SORA_AMBIGUOUS_SUBMIT=resubmit" in first.failed[key("a")]
        assert run_context.ledger.clips.pending(3) == keys("a")
        assert spent(run_context.ledger, made.production_id) == USD, "the lost one may have been billed"
        second = await ensure(other_run(run_context), "a")
        assert set(ids(second.ready)) == {"a"}
    assert sandbox.billed == 2
    assert spent(run_context.ledger, made.production_id) == 2 * USD


async def test_resubmit_setting_ends_at_the_most_attempts(
    contexts: RunContexts, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="[sandbox:lost-answer] a fox"))
    async with contexts.open(ambiguous_submit="resubmit", max_attempts=2) as run_context:
        for number in range(2):
            await ensure(other_run(run_context, f"run-{number}"), "a")
        assert run_context.ledger.clips.pending(2) == []
    assert sandbox.billed == 2


async def test_slow_answer_is_waited_for(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="[sandbox:slow-answer] a fox"))
    assert set(ids((await ensure(run_context, "a")).ready)) == {"a"}
    assert sandbox.billed == 1


async def test_silent_change_of_model_is_recorded_and_said(
    contexts: RunContexts, run_context: RunContext, production: Producer
) -> None:
    production(rows_of(a="[sandbox:model-fallback] a fox"))
    results = await ensure(run_context, "a")
    assert results.ready[key("a")].submission.model_returned == "seedance-2"
    assert any("names the model" in sentence and "sora-2-pro" in sentence for sentence in contexts.said)


# ---- what stops everything


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("no-balance", "no_balance"), ("bad-token", "bad_token")],
)
async def test_breaker_opens_and_nothing_further_is_sent(
    run_context: RunContext, sandbox: Sandbox, production: Producer, fault: str, kind: str
) -> None:
    made = production(rows_of(bad=f"[sandbox:{fault}] a fox", good="an owl"))
    first = await ensure(run_context, "bad")
    assert first.stopped is not None
    assert f"submits to the account sandbox are stopped ({kind})" in first.stopped
    assert "sora-pipeline resume" in first.stopped
    breaker = run_context.ledger.breakers.get("sandbox")
    assert breaker is not None
    assert breaker.kind == kind
    second = await ensure(other_run(run_context), "good")
    assert second.waiting[key("good")] == second.stopped
    assert states(run_context.ledger, ["bad", "good"]) == {"bad": None, "good": None}, (
        "reservations are released"
    )
    assert (sandbox.billed, spent(run_context.ledger, made.production_id)) == (0, Decimal(0))
    run_context.ledger.breakers.close("sandbox")
    assert set(ids((await ensure(other_run(run_context), "good")).ready)) == {"good"}


async def test_a_model_that_is_gone_stops_its_own_clips_only(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    rows = rows_of(gone="[sandbox:model-gone] a fox", alike="an owl")
    production([*rows, {"clip_id": "other", "prompt": "a bear", "model": "sora-2"}])
    first = await ensure(run_context, "gone")
    assert first.stopped is None
    assert "clips of the model sora-2-pro at the account sandbox wait" in first.waiting[key("gone")]
    second = await ensure(other_run(run_context), "alike", "other")
    assert set(ids(second.ready)) == {"other"}
    assert "SORA_MODEL" in second.waiting[key("alike")]
    assert run_context.ledger.breakers.get("sandbox") is None
    assert run_context.ledger.breakers.close("sandbox"), "resume means the models as well"
    assert set(ids((await ensure(other_run(run_context, "run-3"), "alike")).ready)) == {"alike"}
    assert sandbox.billed == 2


@pytest.mark.parametrize("late", [False, True])
async def test_many_policy_failures_in_a_row_stop_submits(
    contexts: RunContexts, sandbox: Sandbox, production: Producer, late: bool
) -> None:
    fault = "[sandbox:policy-late]" if late else "[sandbox:policy]"
    bad = [f"bad-{number}" for number in range(3)]
    prompts = {"first": f"{fault} a fox", "fine": "an owl", **{each: f"{fault} {each}" for each in bad}}
    production([{"clip_id": clip_id, "prompt": prompt} for clip_id, prompt in prompts.items()])
    async with contexts.open(max_policy_failures=3) as run_context:

        async def end(*clip_ids: str) -> None:
            await ensure(run_context, *clip_ids)
            await collect_videos(run_context, keys(*clip_ids), resume_timed_out=False)

        await end("first")
        await end("fine")
        await end(*bad[:2])
        assert run_context.ledger.breakers.get("sandbox") is None, "a video in between: not in a row"
        await end(bad[2])
        breaker = run_context.ledger.breakers.get("sandbox")
        assert breaker is not None
        assert breaker.kind == "content_policy"
        assert "the last 3 clips were all refused" in breaker.message
        assert "SORA_MAX_POLICY_FAILURES" in explained(why_stopped(breaker))
        run_context.ledger.breakers.close("sandbox")
        stop_on_failures(run_context.ledger, run_context.settings)
        assert run_context.ledger.breakers.get("sandbox") is None, "what was before it was closed is forgiven"


async def test_clips_that_wait_for_their_turn_are_not_sent_once_the_breaker_is_open(
    contexts: RunContexts, sandbox: Sandbox, production: Producer
) -> None:
    names = [f"clip-{number}" for number in range(6)]  # two may go at once, the last two after nine seconds
    production([{"clip_id": each, "prompt": each} for each in names])
    sandbox.change(key_revoked=True)
    async with contexts.open(submits_per_minute=20) as run_context:
        ensuring = asyncio.create_task(ensure(run_context, *names))
        async with asyncio.timeout(30):
            while run_context.ledger.breakers.get("sandbox") is None:  # noqa: ASYNC110 - the database has no event
                await asyncio.sleep(0.02)
        sandbox.change(key_revoked=False)
        results = await ensuring
    assert set(names[-2:]) <= set(ids(results.waiting)), "only what was on its way already may arrive"
    assert set(ids(results.waiting)) | set(ids(results.ready)) == set(names)
    assert sandbox.billed == len(results.ready)
    assert set(states(run_context.ledger, ids(results.waiting)).values()) == {None}


async def test_budget_ends_submits_where_the_next_clip_no_longer_fits(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(a="a fox", b="an owl", c="a bear"), budget=Decimal("2.50"))
    results = await ensure(run_context, "a", "b", "c")
    assert set(ids(results.ready)) == {"a", "b"}
    assert "2.40 of 2.50 sandbox USD is spent or reserved" in results.waiting[key("c")]
    assert sandbox.billed == 2
    assert spent(run_context.ledger, made.production_id) == 2 * USD


# ---- slots


async def test_more_clips_than_slots_are_all_submitted_and_never_too_many_at_once(
    contexts: RunContexts, sandbox: Sandbox, production: Producer
) -> None:
    names = [f"clip-{number}" for number in range(7)]
    production([{"clip_id": each, "prompt": each} for each in names])
    sandbox.change(max_running=2)  # a third one at a time would be refused
    async with contexts.open(max_in_flight=2, poll_interval_s=0.1) as run_context:
        results = await ensure(run_context, *names)
    assert set(ids(results.ready)) == set(names)
    assert sandbox.billed == 7
    assert not [sentence for sentence in contexts.said if "rate_limited" in sentence]


async def test_sensors_run_begins_nothing_beyond_its_reservations(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(mine="a fox", other="an owl"))
    run_context.ledger.attempts.reserve(
        {key("mine"): 1_200_000},
        account=SANDBOX,
        batch_id="batch",
        limits=Limits(20, 3),
        lease_s=60,
        owner=None,
    )
    results = await ensure(run_context, "mine", "other", batch_id="batch", may_begin=False)
    assert set(ids(results.ready)) == {"mine"}
    assert "no attempt is reserved" in results.waiting[key("other")]
    assert sandbox.billed == 1


async def test_reservations_are_claimed_before_the_first_submit(
    contexts: RunContexts, sandbox: Sandbox, production: Producer
) -> None:
    """Else a run_lock run that submits slowly looks dead to whoever recovers, and is buried."""
    names = [f"clip-{number}" for number in range(6)]  # three may go at once, the last two after four seconds
    production([{"clip_id": each, "prompt": each} for each in names])
    reserved = contexts.ledger.attempts.reserve(
        dict.fromkeys(keys(*names), 1_200_000),
        account=SANDBOX,
        batch_id="batch",
        limits=Limits(20, 3),
        lease_s=60,
    ).reserved
    async with contexts.open(submits_per_minute=30) as run_context:
        ensuring = asyncio.create_task(ensure(run_context, *names, batch_id="batch", may_begin=False))
        async with asyncio.timeout(30):
            while sandbox.billed == 0:  # noqa: ASYNC110 - the server has no event
                await asyncio.sleep(0.05)
        waiting = [run_context.ledger.attempts.get(each.attempt_id) for each in reserved[-2:]]
        await ensuring
    assert {(each.state, each.lease.owner) for each in waiting} == {(AttemptState.RESERVED, "run-1")}


# ---- what is known already


async def test_clip_in_flight_is_attached(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    first = await ensure(run_context, "a")
    second = await ensure(other_run(run_context), "a")
    assert second.ready[key("a")].submission.prediction_id == first.ready[key("a")].submission.prediction_id
    assert second.fresh == set()
    assert sandbox.billed == 1


async def test_delivered_clip_is_attached_and_forced_only_on_demand(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    await ensure(run_context, "a")
    await collect_videos(run_context, keys("a"), resume_timed_out=True)
    again = await ensure(other_run(run_context), "a")
    assert again.ready[key("a")].state is AttemptState.COLLECTED
    assert sandbox.billed == 1
    forced = await ensure(other_run(run_context, "run-3"), "a", force=True)
    assert forced.fresh == {forced.ready[key("a")].attempt_id}
    assert (sandbox.billed, forced.ready[key("a")].number) == (2, 2)


async def test_failed_clip_begins_a_new_round_when_a_person_asks(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="[sandbox:policy] a fox"))
    await ensure(run_context, "a")
    again = await ensure(other_run(run_context), "a")
    assert "content_policy" in again.failed[key("a")]
    assert standing(run_context.ledger, "a").attempts == 2


async def test_unknown_clip_fails_with_what_to_do(run_context: RunContext, production: Producer) -> None:
    production(rows_of(a="a fox"))
    results = await ensure(run_context, "nobody")
    assert "read its manifest first" in results.failed[key("nobody")]


async def test_clip_that_the_manifest_no_longer_names_is_not_submitted(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    production(rows_of(a="a fox"))
    results = await ensure(run_context, "b")
    assert "no longer names" in results.failed[key("b")]
    assert sandbox.billed == 0


async def test_image_that_changed_since_reading_is_not_sent(
    run_context: RunContext, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    draw(tmp_path / "first.png", "red")
    production([{"clip_id": "a", "prompt": "a fox", "image": "first.png"}])
    draw(tmp_path / "first.png", "blue")
    results = await ensure(run_context, "a")
    assert "has changed since the manifest was read" in results.failed[key("a")]
    assert sandbox.billed == 0


async def test_image_is_sent_as_it_is_where_it_fits(
    run_context: RunContext, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    draw(tmp_path / "first.png", "red")
    production([{"clip_id": "a", "prompt": "a fox", "image": "first.png"}])
    results = await ensure(run_context, "a")
    (item,) = sandbox.bill()["items"]
    assert item["image_sha256"] == standing(run_context.ledger, "a").clip.image_sha256
    request = results.ready[key("a")].submission.request
    assert request is not None
    assert request["image"] == "720x1280 PNG"


# ---- several runs, and dead ones


async def test_two_runs_at_once_submit_each_clip_once(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    names = [f"clip-{number}" for number in range(6)]
    production([{"clip_id": each, "prompt": each} for each in names])
    one, two = await asyncio.gather(ensure(run_context, *names), ensure(other_run(run_context), *names))
    assert set(ids(one.ready)) == set(ids(two.ready)) == set(names)
    assert one.fresh.isdisjoint(two.fresh)
    assert sandbox.billed == 6
    assert sandbox.bill()["duplicates"] == []


async def test_submit_of_a_run_that_died_is_parked_by_the_next(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    attempts = run_context.ledger.attempts
    (attempt,) = attempts.reserve(
        {key("a"): 1_200_000},
        account=SANDBOX,
        batch_id="dead",
        limits=Limits(20, 3),
        lease_s=60,
        owner="dead",
    ).reserved
    assert attempts.begin_submit(attempt.attempt_id, "dead", lease_s=60, request_summary={})
    clock.turn(61)
    results = await ensure(run_context, "a")
    assert "died before it recorded the answer" in results.failed[key("a")]
    assert latest(run_context.ledger, "a").state is AttemptState.AMBIGUOUS
    assert sandbox.billed == 0


async def test_reservation_of_a_run_that_died_is_taken_over(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    run_context.ledger.attempts.reserve(
        {key("a"): 1_200_000},
        account=SANDBOX,
        batch_id="dead",
        limits=Limits(20, 3),
        lease_s=60,
        owner="dead",
    )
    clock.turn(61)
    results = await ensure(run_context, "a")
    assert results.ready[key("a")].number == 1
    assert sandbox.billed == 1


async def test_wrong_key_stops_everything(
    contexts: RunContexts, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    async with contexts.open(api_key="not-this-one") as run_context:
        results = await ensure(run_context, "a")
    assert results.stopped is not None
    assert "SORA_API_KEY" in results.stopped
    assert "not-this-one" not in results.stopped


def draw(path: Path, colour: str) -> None:
    from PIL import Image

    Image.new("RGB", (720, 1280), colour).save(path)

import asyncio
from decimal import Decimal
from pathlib import Path

import pytest

from sora_pipeline.ledger import AttemptState, Ledger, Limits
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import Desk
from sora_pipeline.production.ensured import Ensured
from sora_pipeline.production.stopping import stop_on_policy_failures
from sora_pipeline.production.submitting import ensure_predictions, fail_transient
from sora_pipeline_tests.conftest import (
    USD,
    Clock,
    Office,
    Producer,
    Sandbox,
    latest,
    other_run,
    rows_of,
    standing,
    states,
)

pytestmark = pytest.mark.anyio


async def ensure(desk: Desk, *clip_ids: str, batch_id: str | None = None, **options: bool) -> Ensured:
    async with asyncio.timeout(30):
        return await ensure_predictions(
            desk,
            clip_ids,
            batch_id=batch_id or desk.owner,
            may_begin=options.pop("may_begin", True),
            **options,
        )


def spent(ledger: Ledger, production_id: str) -> Decimal:
    return ledger.money.of_production(production_id).committed_usd


async def test_every_clip_is_submitted_once_and_in_flight(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(a="a fox", b="an owl", c="a bear"))
    ensured = await ensure(desk, "a", "b", "c")
    assert set(ensured.ready) == {"a", "b", "c"}
    assert ensured.fresh == {attempt.attempt_id for attempt in ensured.ready.values()}
    assert all(attempt.state is AttemptState.IN_FLIGHT for attempt in ensured.ready.values())
    assert sandbox.billed == 3
    assert spent(desk.ledger, made.production_id) == 3 * USD == Decimal(sandbox.bill()["total_usd"])


# ---- faults of a submit


async def test_policy_refusal_fails_the_clip_and_costs_nothing(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(bad="[sandbox:policy] a fox", good="an owl"))
    ensured = await ensure(desk, "bad", "good")
    assert set(ensured.ready) == {"good"}
    assert "content_policy" in ensured.failed["bad"]
    attempt = latest(desk.ledger, "bad")
    assert (attempt.state, attempt.retryable) == (AttemptState.FAILED, False)
    assert sandbox.billed == 1
    assert spent(desk.ledger, made.production_id) == USD
    assert desk.ledger.clips.pending(3) == []


@pytest.mark.parametrize("fault", ["rate-limit-once", "error-503-once"])
async def test_refusal_for_now_is_tried_again_and_billed_once(
    desk: Desk, sandbox: Sandbox, production: Producer, fault: str
) -> None:
    production(rows_of(a=f"[sandbox:{fault}] a fox"))
    ensured = await ensure(desk, "a")
    assert set(ensured.ready) == {"a"}
    assert (sandbox.billed, standing(desk.ledger, "a").attempts) == (1, 1)


@pytest.mark.parametrize("fault", ["error-500", "error-503"])
async def test_lasting_outage_leaves_the_reservation_for_a_retry(
    desk: Desk, sandbox: Sandbox, production: Producer, fault: str
) -> None:
    made = production(rows_of(a=f"[sandbox:{fault}] a fox"))
    ensured = await ensure(desk, "a")
    assert set(ensured.transient) == {"a"}
    assert latest(desk.ledger, "a").state is AttemptState.RESERVED
    fail_transient(desk, ensured)
    attempt = latest(desk.ledger, "a")
    assert (attempt.state, attempt.retryable) == (AttemptState.FAILED, True)
    assert set(ensured.failed) == {"a"}
    assert (sandbox.billed, spent(desk.ledger, made.production_id)) == (0, 0)
    assert desk.ledger.clips.pending(3) == ["a"]


async def test_lost_answer_is_parked_not_resent(desk: Desk, sandbox: Sandbox, production: Producer) -> None:
    made = production(rows_of(a="[sandbox:lost-answer] a fox"))
    first = await ensure(desk, "a")
    assert "may have been billed" in first.failed["a"]
    assert "sora-pipeline retry --clip a" in first.failed["a"]
    assert latest(desk.ledger, "a").state is AttemptState.AMBIGUOUS
    second = await ensure(other_run(desk), "a")
    assert second.failed["a"] == first.failed["a"]
    assert sandbox.billed == 1
    assert spent(desk.ledger, made.production_id) == USD
    assert desk.ledger.clips.pending(3) == []


@pytest.mark.parametrize("fault", ["html-502", "reset"])
async def test_submit_that_may_have_been_accepted_is_parked(
    desk: Desk, sandbox: Sandbox, production: Producer, fault: str
) -> None:
    """A cut connection and a gateway's page look the same from here, accepted or not."""
    production(rows_of(a=f"[sandbox:{fault}] a fox"))
    await ensure(desk, "a")
    assert latest(desk.ledger, "a").state is AttemptState.AMBIGUOUS
    await ensure(other_run(desk), "a")
    assert sandbox.billed == 0


async def test_resubmit_setting_begins_another_attempt_and_counts_both(
    office: Office, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(a="[sandbox:lost-answer-once] a fox"))
    async with office.open(ambiguous_submit="resubmit") as desk:
        first = await ensure(desk, "a")
        assert "SORA_AMBIGUOUS_SUBMIT=resubmit" in first.failed["a"]
        assert desk.ledger.clips.pending(3) == ["a"]
        assert spent(desk.ledger, made.production_id) == USD, "the lost one may have been billed"
        second = await ensure(other_run(desk), "a")
        assert set(second.ready) == {"a"}
    assert sandbox.billed == 2
    assert spent(desk.ledger, made.production_id) == 2 * USD


async def test_resubmit_setting_ends_at_the_most_attempts(
    office: Office, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="[sandbox:lost-answer] a fox"))
    async with office.open(ambiguous_submit="resubmit", max_attempts=2) as desk:
        for number in range(2):
            await ensure(other_run(desk, f"run-{number}"), "a")
        assert desk.ledger.clips.pending(2) == []
    assert sandbox.billed == 2


async def test_slow_answer_is_waited_for(desk: Desk, sandbox: Sandbox, production: Producer) -> None:
    production(rows_of(a="[sandbox:slow-answer] a fox"))
    assert set((await ensure(desk, "a")).ready) == {"a"}
    assert sandbox.billed == 1


async def test_silent_change_of_model_is_recorded_and_said(
    office: Office, desk: Desk, production: Producer
) -> None:
    production(rows_of(a="[sandbox:model-fallback] a fox"))
    ensured = await ensure(desk, "a")
    assert ensured.ready["a"].model_returned == "seedance-2"
    assert any("names the model" in sentence and "sora-2-pro" in sentence for sentence in office.said)


# ---- what stops everything


@pytest.mark.parametrize(
    ("fault", "kind"),
    [("no-balance", "no_balance"), ("bad-token", "bad_token"), ("model-gone", "model_gone")],
)
async def test_breaker_opens_and_nothing_further_is_sent(
    desk: Desk, sandbox: Sandbox, production: Producer, fault: str, kind: str
) -> None:
    made = production(rows_of(bad=f"[sandbox:{fault}] a fox", good="an owl"))
    first = await ensure(desk, "bad")
    assert first.stopped is not None
    assert f"submits are stopped ({kind})" in first.stopped
    assert "sora-pipeline resume" in first.stopped
    breaker = desk.ledger.breakers.get("sandbox")
    assert breaker is not None
    assert breaker.kind == kind
    second = await ensure(other_run(desk), "good")
    assert second.waiting["good"] == second.stopped
    assert states(desk.ledger, ["bad", "good"]) == {"bad": None, "good": None}, "reservations are released"
    assert (sandbox.billed, spent(desk.ledger, made.production_id)) == (0, 0)
    desk.ledger.breakers.close("sandbox")
    assert set((await ensure(other_run(desk), "good")).ready) == {"good"}


@pytest.mark.parametrize("late", [False, True])
async def test_many_policy_failures_in_a_row_stop_submits(
    office: Office, sandbox: Sandbox, production: Producer, late: bool
) -> None:
    fault = "[sandbox:policy-late]" if late else "[sandbox:policy]"
    bad = [f"bad-{number}" for number in range(3)]
    prompts = {"first": f"{fault} a fox", "fine": "an owl", **{each: f"{fault} {each}" for each in bad}}
    production([{"clip_id": clip_id, "prompt": prompt} for clip_id, prompt in prompts.items()])
    async with office.open(max_policy_failures=3) as desk:

        async def end(*clip_ids: str) -> None:
            await ensure(desk, *clip_ids)
            await collect_videos(desk, list(clip_ids), resume_timed_out=False)

        await end("first")
        await end("fine")
        await end(*bad[:2])
        assert desk.ledger.breakers.get("sandbox") is None, "a video in between: not in a row"
        await end(bad[2])
        breaker = desk.ledger.breakers.get("sandbox")
        assert breaker is not None
        assert breaker.kind == "content_policy"
        assert "SORA_MAX_POLICY_FAILURES" in breaker.message
        desk.ledger.breakers.close("sandbox")
        stop_on_policy_failures(desk)
        assert desk.ledger.breakers.get("sandbox") is None, "what was before it was closed is forgiven"


async def test_clips_that_wait_for_their_turn_are_not_sent_once_the_breaker_is_open(
    office: Office, sandbox: Sandbox, production: Producer
) -> None:
    names = [f"clip-{number}" for number in range(8)]  # six may go at once, the others a second later
    production([{"clip_id": each, "prompt": each} for each in names])
    sandbox.change(key_revoked=True)
    async with office.open(submits_per_minute=60) as desk:
        ensuring = asyncio.create_task(ensure(desk, *names))
        async with asyncio.timeout(5):
            while desk.ledger.breakers.get("sandbox") is None:  # noqa: ASYNC110 - the database has no event
                await asyncio.sleep(0.02)
        sandbox.change(key_revoked=False)
        ensured = await ensuring
    assert {"clip-6", "clip-7"} <= set(ensured.waiting), "only what was on its way already may arrive"
    assert set(ensured.waiting) | set(ensured.ready) == set(names)
    assert sandbox.billed == len(ensured.ready)
    assert set(states(desk.ledger, list(ensured.waiting)).values()) == {None}


async def test_budget_ends_submits_where_the_next_clip_no_longer_fits(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(a="a fox", b="an owl", c="a bear"), budget=Decimal("2.50"))
    ensured = await ensure(desk, "a", "b", "c")
    assert set(ensured.ready) == {"a", "b"}
    assert "2.40 of 2.50 USD are spent or reserved" in ensured.waiting["c"]
    assert sandbox.billed == 2
    assert spent(desk.ledger, made.production_id) == 2 * USD


# ---- slots


async def test_more_clips_than_slots_are_all_submitted_and_never_too_many_at_once(
    office: Office, sandbox: Sandbox, production: Producer
) -> None:
    names = [f"clip-{number}" for number in range(7)]
    production([{"clip_id": each, "prompt": each} for each in names])
    sandbox.change(max_running=2)  # a third one at a time would be refused
    async with office.open(max_in_flight=2, poll_interval_s=0.1) as desk:
        ensured = await ensure(desk, *names)
    assert set(ensured.ready) == set(names)
    assert sandbox.billed == 7
    assert not [sentence for sentence in office.said if "rate_limited" in sentence]


async def test_sensors_run_begins_nothing_beyond_its_reservations(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(mine="a fox", other="an owl"))
    desk.ledger.attempts.reserve(
        {"mine": 1_200_000}, batch_id="batch", limits=Limits(20, 3), lease_s=60, owner=None
    )
    ensured = await ensure(desk, "mine", "other", batch_id="batch", may_begin=False)
    assert set(ensured.ready) == {"mine"}
    assert "no attempt is reserved" in ensured.waiting["other"]
    assert sandbox.billed == 1


async def test_reservations_are_claimed_before_the_first_submit(
    office: Office, sandbox: Sandbox, production: Producer
) -> None:
    """Else a living run that submits slowly looks dead to whoever recovers, and is buried."""
    names = [f"clip-{number}" for number in range(8)]  # six may go at once, the others a second later
    production([{"clip_id": each, "prompt": each} for each in names])
    reserved = office.ledger.attempts.reserve(
        dict.fromkeys(names, 1_200_000), batch_id="batch", limits=Limits(20, 3), lease_s=60
    ).reserved
    async with office.open(submits_per_minute=60) as desk:
        ensuring = asyncio.create_task(ensure(desk, *names, batch_id="batch", may_begin=False))
        async with asyncio.timeout(5):
            while sandbox.billed == 0:  # noqa: ASYNC110 - the server has no event
                await asyncio.sleep(0.05)
        waiting = [desk.ledger.attempts.get(each.attempt_id) for each in reserved[6:]]
        await ensuring
    assert {(each.state, each.owner) for each in waiting} == {(AttemptState.RESERVED, "run-1")}


# ---- what is known already


async def test_clip_in_flight_is_attached(desk: Desk, sandbox: Sandbox, production: Producer) -> None:
    production(rows_of(a="a fox"))
    first = await ensure(desk, "a")
    second = await ensure(other_run(desk), "a")
    assert second.ready["a"].prediction_id == first.ready["a"].prediction_id
    assert second.fresh == set()
    assert sandbox.billed == 1


async def test_delivered_clip_is_attached_and_forced_only_on_demand(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox"))
    await ensure(desk, "a")
    await collect_videos(desk, ["a"], resume_timed_out=True)
    again = await ensure(other_run(desk), "a")
    assert again.ready["a"].state is AttemptState.COLLECTED
    assert sandbox.billed == 1
    forced = await ensure(other_run(desk, "run-3"), "a", force=True)
    assert forced.fresh == {forced.ready["a"].attempt_id}
    assert (sandbox.billed, forced.ready["a"].number) == (2, 2)


async def test_failed_clip_begins_a_new_round_when_a_person_asks(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="[sandbox:policy] a fox"))
    await ensure(desk, "a")
    again = await ensure(other_run(desk), "a")
    assert "content_policy" in again.failed["a"]
    assert standing(desk.ledger, "a").attempts == 2


async def test_unknown_clip_fails_with_what_to_do(desk: Desk, production: Producer) -> None:
    production(rows_of(a="a fox"))
    ensured = await ensure(desk, "nobody")
    assert "materialize prompt_manifest first" in ensured.failed["nobody"]


async def test_clip_that_the_manifest_no_longer_names_is_not_submitted(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    production(rows_of(a="a fox"))
    ensured = await ensure(desk, "b")
    assert "no longer names" in ensured.failed["b"]
    assert sandbox.billed == 0


async def test_image_that_changed_since_reading_is_not_sent(
    desk: Desk, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    draw(tmp_path / "first.png", "red")
    production([{"clip_id": "a", "prompt": "a fox", "image": "first.png"}])
    draw(tmp_path / "first.png", "blue")
    ensured = await ensure(desk, "a")
    assert "has changed since the manifest was read" in ensured.failed["a"]
    assert sandbox.billed == 0


async def test_image_is_sent_as_it_is_where_it_fits(
    desk: Desk, sandbox: Sandbox, production: Producer, tmp_path: Path
) -> None:
    draw(tmp_path / "first.png", "red")
    production([{"clip_id": "a", "prompt": "a fox", "image": "first.png"}])
    ensured = await ensure(desk, "a")
    (item,) = sandbox.bill()["items"]
    assert item["image_sha256"] == standing(desk.ledger, "a").clip.image_sha256
    assert ensured.ready["a"].request_summary is not None
    assert ensured.ready["a"].request_summary["image"] == "720x1280 PNG"


# ---- several runs, and dead ones


async def test_two_runs_at_once_submit_each_clip_once(
    desk: Desk, sandbox: Sandbox, production: Producer
) -> None:
    names = [f"clip-{number}" for number in range(6)]
    production([{"clip_id": each, "prompt": each} for each in names])
    one, two = await asyncio.gather(ensure(desk, *names), ensure(other_run(desk), *names))
    assert set(one.ready) == set(two.ready) == set(names)
    assert one.fresh.isdisjoint(two.fresh)
    assert sandbox.billed == 6
    assert sandbox.bill()["duplicates"] == []


async def test_submit_of_a_run_that_died_is_parked_by_the_next(
    desk: Desk, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    attempts = desk.ledger.attempts
    (attempt,) = attempts.reserve(
        {"a": 1_200_000}, batch_id="dead", limits=Limits(20, 3), lease_s=60, owner="dead"
    ).reserved
    assert attempts.begin_submit(attempt.attempt_id, "dead", lease_s=60, request_summary={})
    clock.turn(61)
    ensured = await ensure(desk, "a")
    assert "died before it recorded the answer" in ensured.failed["a"]
    assert latest(desk.ledger, "a").state is AttemptState.AMBIGUOUS
    assert sandbox.billed == 0


async def test_reservation_of_a_run_that_died_is_taken_over(
    desk: Desk, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    desk.ledger.attempts.reserve(
        {"a": 1_200_000}, batch_id="dead", limits=Limits(20, 3), lease_s=60, owner="dead"
    )
    clock.turn(61)
    ensured = await ensure(desk, "a")
    assert ensured.ready["a"].number == 1
    assert sandbox.billed == 1


async def test_wrong_key_stops_everything(office: Office, sandbox: Sandbox, production: Producer) -> None:
    production(rows_of(a="a fox"))
    async with office.open(api_key="not-this-one") as desk:
        ensured = await ensure(desk, "a")
    assert ensured.stopped is not None
    assert "SORA_API_KEY" in ensured.stopped
    assert "not-this-one" not in ensured.stopped


def draw(path: Path, colour: str) -> None:
    from PIL import Image

    Image.new("RGB", (720, 1280), colour).save(path)

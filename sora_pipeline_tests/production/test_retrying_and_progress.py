from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from functools import partial

import pytest

from sora_pipeline.advice import explained
from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.decisions import Said
from sora_pipeline.production.estimates import Estimate, estimate
from sora_pipeline.production.progress import Progress, progress_of
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline.production.stuck import ask_again
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline_tests.cli.test_commands import submit
from sora_pipeline_tests.conftest import (
    PROMPTS,
    USD,
    Producer,
    RunContexts,
    Sandbox,
    key,
    keys,
    latest,
    other_run,
    rows_of,
    settings_of,
    standing,
)

pytestmark = pytest.mark.anyio


async def make(run_context: RunContext, *clip_ids: str) -> None:
    await ensure_predictions(run_context, keys(*clip_ids), batch_id=run_context.owner, may_begin=True)
    await collect_videos(run_context, keys(*clip_ids), resume_timed_out=False)


def look(ledger: Ledger, production_id: str) -> Progress:
    return progress_of(ledger, ledger.productions.get(production_id), settings_of(), load_catalogue())


async def test_retry_of_all_takes_failed_clips_and_holds_what_may_be_billed(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(
        rows_of(
            policy="[sandbox:policy] a fox",
            lost="[sandbox:lost-answer-once] an owl",
            fine="a bear",
            torn="[sandbox:truncated] a cat",
        )
    )
    await make(run_context, "policy", "lost", "fine", "torn")
    run_context.ledger.attempts.give_up_fetching([latest(run_context.ledger, "torn").attempt_id])
    retried = retry_clips(run_context.ledger, run_context.settings, [PROMPTS], [])
    assert (retried.anew, retried.held, retried.fetched) == (keys("policy"), keys("lost"), keys("torn"))
    assert run_context.ledger.clips.pending(3) == keys("policy")
    assert latest(run_context.ledger, "torn").reported_at is None, "runs fetch it again"
    assert sandbox.billed == 3


async def test_naming_an_ambiguous_clip_pays_for_another(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    made = production(rows_of(lost="[sandbox:lost-answer-once] an owl"))
    await make(run_context, "lost")
    marked = retry_clips(run_context.ledger, run_context.settings, [PROMPTS], [], marked=keys("lost"))
    assert (marked.held, marked.anew) == (keys("lost"), []), "a mark in the gallery names no clip"
    assert retry_clips(run_context.ledger, run_context.settings, [PROMPTS], ["lost"]).anew == keys("lost")
    await make(other_run(run_context), "lost")
    assert standing(run_context.ledger, "lost").delivered is not None
    assert sandbox.billed == 2
    assert run_context.ledger.money.of_production(made.production_id).committed_usd == 2 * USD


async def test_retry_waits_once_more_for_a_timed_out_clip(
    contexts: RunContexts, sandbox: Sandbox, production: Producer
) -> None:
    sandbox.change(render_s=1)
    production(rows_of(a="a fox"))
    async with contexts.open(generation_timeout_s=0.2) as run_context:
        await make(run_context, "a")
        assert latest(run_context.ledger, "a").state == "timed_out"
        assert retry_clips(run_context.ledger, settings_of(), [PROMPTS], []).fetched == keys("a")
        later = other_run(run_context, generation_timeout_s=60)
        await collect_videos(later, keys("a"), resume_timed_out=False)
    assert standing(contexts.ledger, "a").delivered is not None
    assert sandbox.billed == 1


async def test_retry_leaves_alone_what_needs_none_and_names_what_it_does_not_know(
    run_context: RunContext, production: Producer
) -> None:
    production(rows_of(done="a fox", waiting="an owl"))
    await make(run_context, "done")
    retried = retry_clips(
        run_context.ledger, run_context.settings, [PROMPTS], ["done", "waiting", "nobody", "done"]
    )
    assert (retried.fine, retried.unknown, retried.anew) == (keys("done", "waiting"), ["nobody"], [])


async def test_retry_does_not_promise_what_the_manifest_no_longer_names(
    run_context: RunContext, production: Producer
) -> None:
    production(rows_of(a="a fox", b="[sandbox:policy] an owl"))
    await make(run_context, "a", "b")
    production(rows_of(a="a fox"))
    retried = retry_clips(run_context.ledger, run_context.settings, [PROMPTS], ["b"])
    assert (retried.unknown, retried.anew) == (["b"], [])


async def test_progress_counts_every_clip_once(run_context: RunContext, production: Producer) -> None:
    made = production(
        rows_of(
            done="a fox",
            failed="[sandbox:policy] a fox",
            lost="[sandbox:lost-answer] a fox",
            torn="[sandbox:truncated] a fox",
            rendering="[sandbox:stuck] a fox",
            waiting="an owl",
        )
    )
    await make(run_context, "done", "failed", "lost", "torn")
    await ensure_predictions(run_context, keys("rendering"), batch_id="two", may_begin=True)
    seen = look(run_context.ledger, made.production_id)
    assert seen.clips == 6
    assert dict(seen.counts) == {
        "delivered": 1,
        "failed": 1,
        "ambiguous": 1,
        "in_flight": 2,
        "pending": 1,
    }
    assert dict(seen.at_work) == {"succeeded": 1, "in_flight": 1}
    assert (seen.working, seen.settled, seen.published, seen.stopped) == (2, False, False, None)
    assert (seen.spending.spent_usd, seen.spending.committed_usd) == (4 * USD, 4 * USD)


async def test_progress_is_settled_where_nothing_can_change_by_itself(
    run_context: RunContext, production: Producer
) -> None:
    made = production(rows_of(done="a fox", failed="[sandbox:policy] a fox"))
    assert not look(run_context.ledger, made.production_id).settled
    await make(run_context, "done", "failed")
    assert look(run_context.ledger, made.production_id).settled


@pytest.mark.parametrize("why", ["breaker", "budget"])
async def test_progress_says_why_nothing_more_is_submitted(
    run_context: RunContext, production: Producer, why: str
) -> None:
    made = production(rows_of(a="a fox", b="an owl"), budget=Decimal("1.50"))
    await make(run_context, "a")
    if why == "breaker":
        run_context.ledger.breakers.open("sandbox", "no_balance", "HTTP 403: Insufficient balance")
    seen = look(run_context.ledger, made.production_id)
    assert seen.settled
    assert seen.stopped is not None
    assert (
        "top the account up" if why == "breaker" else "1.20 of 1.50 sandbox USD is spent or reserved"
    ) in explained(seen.stopped)


async def test_estimate_leaves_out_what_is_paid_and_what_nobody_has_asked_for(
    run_context: RunContext, production: Producer
) -> None:
    rows = rows_of(done="a fox", failed="[sandbox:policy] a fox", unwanted="a bear", waiting="an owl")
    made, ledger = production(rows), run_context.ledger
    await make(run_context, "done", "failed")
    ledger.cancellations.cancel(made.production_id, 3, keys("unwanted"))
    costs = estimated(ledger, made.production_id)
    assert (costs.total_usd, costs.to_pay_usd, costs.clips_to_pay) == (4 * USD, USD, 1)
    assert (costs.failed_usd, costs.cancelled_usd) == (USD, USD)
    assert costs.fitting(2 * USD) == 1, "a budget is for what this run pays"
    ledger.clips.new_round(keys("failed"))
    assert estimated(ledger, made.production_id).to_pay_usd == 2 * USD, "somebody has asked for it"


async def test_estimate_takes_what_has_no_attempt_left_for_failed_and_a_changed_row_for_unpaid(
    contexts: RunContexts, production: Producer
) -> None:
    made = production(rows_of(a="a fox", b="[sandbox:policy] an owl"))
    async with contexts.open() as run_context:
        await make(run_context, "a", "b")
    ledger = contexts.ledger
    assert estimated(ledger, made.production_id).failed_usd == USD
    changed = [
        replace(each, prompt=f"{each.prompt}, at night") for each in clips_of(ledger, made.production_id)
    ]
    costs = estimate(changed, ledger, made.production_id, load_catalogue(), 3)
    assert (costs.to_pay_usd, costs.failed_usd) == (2 * USD, Decimal(0))
    production(rows_of(c="a bear"))
    submit_in_vain(ledger, "c")
    assert estimated(ledger, made.production_id, max_attempts=2).to_pay_usd == USD
    assert estimated(ledger, made.production_id, max_attempts=1).failed_usd == USD


def clips_of(ledger: Ledger, production_id: str) -> list[Clip]:
    return [each.clip for each in ledger.clips.standings_of(production_id).values()]


def estimated(ledger: Ledger, production_id: str, max_attempts: int = 3) -> Estimate:
    return estimate(clips_of(ledger, production_id), ledger, production_id, load_catalogue(), max_attempts)


def submit_in_vain(ledger: Ledger, clip_id: str) -> None:
    """As if a submit had failed for a cause that passes."""
    submit(ledger, clip_id)
    attempt_id = latest(ledger, clip_id).attempt_id
    assert ledger.attempts.fail(attempt_id, "overloaded", "it says so", retryable=True, reported=True)


async def test_what_has_failed_since_its_price_was_agreed_to_is_left(
    run_context: RunContext, production: Producer
) -> None:
    """A run goes on while somebody reads the question."""
    ledger, made = run_context.ledger, production(rows_of(a="a fox", b="an owl"))

    def fail(clip_id: str) -> None:
        reserved = ledger.attempts.reserve(
            {key(clip_id): 1_200_000},
            account=run_context.account,
            batch_id=clip_id,
            limits=run_context.limits,
            lease_s=90,
        ).reserved[0]
        ledger.attempts.begin_submit(reserved.attempt_id, "run", lease_s=60, request_summary={})
        ledger.attempts.fail(reserved.attempt_id, "content_policy", "no", retryable=False, reported=True)

    fail("a")
    retrying = partial(retry_clips, ledger, run_context.settings, [made.production_id], [])
    found = retrying(dry_run=True)
    assert found.anew == [key("a")]
    fail("b")
    done = retrying(agreed=found.anew)
    assert (done.anew, done.since) == ([key("a")], [key("b")])
    assert ledger.clips.pending(3) == [key("a")]


async def test_answer_that_comes_while_a_retry_is_decided_is_not_paid_for_once_more(
    run_context: RunContext, production: Producer
) -> None:
    """The retry asks the provider about other clips meanwhile, and hashes files: that takes a while."""
    ledger = run_context.ledger
    production(rows_of(lost="[sandbox:lost-answer-once] an owl"))
    await ensure_predictions(run_context, keys("lost"), batch_id=run_context.owner, may_begin=True)
    lost = latest(ledger, "lost")
    assert lost.state is AttemptState.AMBIGUOUS

    def late(_: Sequence[Attempt]) -> dict[int, Said]:
        assert ledger.attempts.accept(
            lost.attempt_id,
            prediction_id="late",
            poll_url=None,
            provider_status="queued",
            model_returned=None,
            deadline_s=600,
            first_poll_s=1,
        )
        return {}

    done = retry_clips(ledger, run_context.settings, [PROMPTS], [key("lost")], ask=late)
    assert (done.anew, done.given_up, done.changed) == ([], {}, [key("lost")])
    assert latest(ledger, "lost").state is AttemptState.IN_FLIGHT
    assert standing(ledger, "lost").round == 1


async def test_second_of_two_retries_at_once_lifts_no_cancellation(
    run_context: RunContext, production: Producer
) -> None:
    """What the first began anew was agreed to; should it come to nothing, nobody has agreed to another."""
    ledger = run_context.ledger
    made = production(rows_of(a="a fox"))
    await ensure_predictions(run_context, keys("a"), batch_id=run_context.owner, may_begin=True)
    attempt_id = latest(ledger, "a").attempt_id
    assert ledger.attempts.time_out(attempt_id, "late")
    ledger.cancellations.cancel(made.production_id, 3, keys("a"))

    def another(_: Sequence[Attempt]) -> dict[int, Said]:
        assert ledger.attempts.resume(attempt_id, 600)
        return {}

    done = retry_clips(ledger, run_context.settings, [PROMPTS], [key("a")], ask=another)
    assert (done.changed, done.uncancelled, done.fine) == (keys("a"), [], [])
    assert standing(ledger, "a").cancelled


async def test_asking_the_provider_again_leaves_what_was_wrong_with_fetching_a_video(
    run_context: RunContext, production: Producer
) -> None:
    """`retry --dry-run` asks; a clip that stays failed keeps its reason until somebody has it fetched once more."""
    ledger = run_context.ledger
    production(rows_of(torn="[sandbox:truncated] a cat"))
    await make(run_context, "torn")
    before = latest(ledger, "torn").failure
    assert before is not None
    assert before.kind == "truncated"
    assert (look(ledger, PROMPTS).trouble or "").startswith("truncated: The file is cut off")
    ledger.attempts.give_up_fetching([latest(ledger, "torn").attempt_id])
    assert look(ledger, PROMPTS).trouble is None, "runs have given it up"
    assert await ask_again(run_context, [latest(ledger, "torn")])
    assert latest(ledger, "torn").failure == before
    ledger.attempts.fetch_again(latest(ledger, "torn").attempt_id)
    assert latest(ledger, "torn").failure is None

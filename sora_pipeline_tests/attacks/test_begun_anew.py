"""What a person asks for anew is begun anew, once the old prediction was asked for and is lost, stuck or given up."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from sora_pipeline.ledger import Attempt, AttemptState, Ledger
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.decisions import Said
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline.production.stuck import ask_again, settle_superseded
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline_tests.conftest import (
    PROMPTS,
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
)

pytestmark = pytest.mark.anyio

Answers = Mapping[int, Said]


TIMEOUT_S = 100.0
"""Less than what counts as a time in which nobody could look."""


@pytest.fixture
async def run_context(contexts: RunContexts) -> AsyncIterator[RunContext]:
    async with contexts.open(generation_timeout_s=TIMEOUT_S) as context:
        yield context


async def submit(context: RunContext, clip_id: str = "a", **options: Any) -> Any:
    return await ensure_predictions(context, keys(clip_id), batch_id=context.owner, may_begin=True, **options)


async def late(context: RunContext, clock: Clock, clip_id: str = "a") -> Attempt:
    """The clip's prediction is past its deadline."""
    await submit(context, clip_id)
    clock.turn(TIMEOUT_S + 1)
    await sweep(context, [latest(context.ledger, clip_id)], budget_s=20)
    attempt = latest(context.ledger, clip_id)
    assert attempt.state is AttemptState.TIMED_OUT
    return attempt


def answers(said: Answers) -> Callable[[Sequence[Attempt]], Answers]:
    return lambda _: said


async def test_a_prediction_that_still_renders_is_waited_for_until_a_person_gives_it_up(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="[sandbox:stuck] a fox"))
    ledger, settings = run_context.ledger, run_context.settings
    attempt = await late(run_context, clock)
    said = await ask_again(run_context, [attempt])
    assert said == {attempt.attempt_id: Said.RUNNING}
    retried = retry_clips(ledger, settings, [PROMPTS], ["a"], ask=answers(said))
    assert (retried.fetched, list(retried.rendering), retried.anew) == (keys("a"), keys("a"), [])
    assert latest(ledger, "a").state is AttemptState.IN_FLIGHT
    clock.turn(TIMEOUT_S + 1)
    await sweep(run_context, [latest(ledger, "a")], budget_s=20)
    unnamed = retry_clips(ledger, settings, [PROMPTS], [], ask=answers(said), give_up=True)
    assert unnamed.anew == [], "only a clip that is named is given up"
    assert latest(ledger, "a").state is AttemptState.IN_FLIGHT, (
        "the command before has said how to give it up"
    )
    silent = retry_clips(ledger, settings, [PROMPTS], ["a"], ask=answers({}), give_up=True)
    assert silent.anew == [], "not before the provider has said how it stands"
    named = retry_clips(ledger, settings, [PROMPTS], ["a"], ask=answers(said), give_up=True)
    assert (named.anew, list(named.given_up)) == (keys("a"), keys("a"))
    assert ledger.clips.pending(3) == keys("a")
    await submit(other_run(run_context))
    assert (latest(ledger, "a").number, sandbox.billed) == (2, 2)


async def test_a_prediction_that_the_provider_has_lost_is_begun_anew(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    ledger, settings = run_context.ledger, run_context.settings
    await submit(run_context)
    sandbox.http.post("/sandbox/reset").raise_for_status()  # it forgets all predictions
    clock.turn(TIMEOUT_S + 1)
    await sweep(run_context, [latest(ledger, "a")], budget_s=20)
    attempt = latest(ledger, "a")
    said = await ask_again(run_context, [attempt])
    assert said == {attempt.attempt_id: Said.LOST}
    assert retry_clips(ledger, settings, [PROMPTS], ["a"], ask=answers(said)).anew == keys("a")
    await submit(other_run(run_context))
    collected = await collect_videos(other_run(run_context), keys("a"), resume_timed_out=False)
    assert ids(collected.delivered) == ["a"]
    assert sandbox.billed == 1, "the bill of the first was forgotten with its prediction"


async def given_up(context: RunContext, sandbox: Sandbox, fault: str = "expired") -> Attempt:
    """A rendered video that runs could not fetch, and gave up."""
    await submit(context)
    await collect_videos(context, keys("a"), resume_timed_out=False)
    attempt = latest(context.ledger, "a")
    if attempt.state is AttemptState.SUCCEEDED:
        context.ledger.attempts.give_up_fetching([attempt.attempt_id])
    return latest(context.ledger, "a")


async def test_a_video_that_is_gone_at_the_provider_is_begun_anew(
    run_context: RunContext, sandbox: Sandbox, production: Producer
) -> None:
    production(rows_of(a="[sandbox:truncated] a fox"))
    ledger, settings = run_context.ledger, run_context.settings
    attempt = await given_up(run_context, sandbox)
    assert attempt.state is AttemptState.SUCCEEDED
    there = await ask_again(run_context, [attempt])
    assert there == {attempt.attempt_id: Said.RENDERED}, "it is there, however damaged"
    assert retry_clips(ledger, settings, [PROMPTS], ["a"], ask=answers(there)).fetched == keys("a")
    ledger.attempts.give_up_fetching([attempt.attempt_id])
    sandbox.http.post("/sandbox/reset").raise_for_status()
    gone = await ask_again(run_context, [latest(ledger, "a")])
    assert gone == {attempt.attempt_id: Said.LOST}
    assert retry_clips(ledger, settings, [PROMPTS], [], ask=answers(gone)).anew == keys("a")
    assert standing(ledger, "a").attempts == 1
    assert latest(ledger, "a").billed, "what it cost stays spent"


@pytest.mark.parametrize("force", [False, True])
async def test_a_persons_run_asks_once_more_and_force_gives_up_what_still_renders(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock, force: bool
) -> None:
    production(rows_of(a="[sandbox:stuck] a fox"))
    await late(run_context, clock)
    await submit(other_run(run_context), force=force)
    assert sandbox.billed == (2 if force else 1)
    assert latest(run_context.ledger, "a").number == (2 if force else 1)


@pytest.mark.parametrize("fault", ["stuck", "truncated"])
async def test_a_changed_row_is_not_attached_to_its_old_prediction_for_ever(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock, fault: str
) -> None:
    made = production(rows_of(a=f"[sandbox:{fault}] a fox"))
    ledger = run_context.ledger
    if fault == "stuck":
        await late(run_context, clock)
    else:
        await given_up(run_context, sandbox)
    assert ledger.attempts.superseded("sandbox", "", limit=9) == []
    production(rows_of(a="a better fox"))
    assert ledger.clips.pending(3) == []
    superseded = ledger.attempts.superseded("sandbox", "", limit=9)
    assert [attempt.clip_key for attempt in superseded] == keys("a")
    assert await settle_superseded(run_context, superseded) == 1
    assert "its row has changed" in latest(ledger, "a").why
    assert ledger.clips.pending(3, made.production_id) == keys("a")
    await submit(other_run(run_context))
    collected = await collect_videos(other_run(run_context), keys("a"), resume_timed_out=False)
    assert ids(collected.delivered) == ["a"]
    assert sandbox.billed == 2


async def test_a_provider_that_does_not_answer_changes_nothing(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock, ledger: Ledger
) -> None:
    production(rows_of(a="[sandbox:stuck] a fox"))
    attempt = await late(run_context, clock)
    sandbox.change(outage="503")
    said = await ask_again(run_context, [attempt])
    assert said == {attempt.attempt_id: Said.NO_ANSWER}
    production(rows_of(a="a better fox"))
    assert await settle_superseded(run_context, [attempt]) == 0
    assert latest(ledger, "a").state is AttemptState.TIMED_OUT
    assert latest(ledger, "a").clip_key == key("a")


async def test_a_forced_run_that_is_executed_again_keeps_the_prediction_that_it_made(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="[sandbox:stuck] a fox"))
    attempt = await late(run_context, clock)
    await ensure_predictions(
        other_run(run_context), keys("a"), batch_id=attempt.batch_id, may_begin=True, force=True
    )
    assert (latest(run_context.ledger, "a").state, sandbox.billed) == (AttemptState.TIMED_OUT, 1)


class OddProvider:
    """A provider some of whose first answers to polls are changed."""

    def __init__(self, provider: Any, change: Callable[[Any, int], Any]) -> None:
        self._provider, self._change = provider, change
        self._polls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._provider, name)

    async def poll(self, prediction_id: str, poll_url: str | None) -> Any:
        answer = await self._provider.poll(prediction_id, poll_url)
        self._polls += 1
        return self._change(answer, self._polls)


async def test_a_video_that_is_missing_from_one_answer_is_not_lost(
    run_context: RunContext, production: Producer
) -> None:
    production(rows_of(a="[sandbox:truncated] a fox"))
    await submit(run_context)
    await collect_videos(run_context, keys("a"), resume_timed_out=False)
    attempt = latest(run_context.ledger, "a")
    run_context.ledger.attempts.give_up_fetching([attempt.attempt_id])

    def empty_at_first(answer: Any, polls: int) -> Any:
        return replace(answer, output_urls=()) if polls == 1 else answer

    odd = replace(run_context, provider=OddProvider(run_context.provider, empty_at_first))
    assert await ask_again(odd, [attempt]) == {attempt.attempt_id: Said.RENDERED}

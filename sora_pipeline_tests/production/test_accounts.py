"""Accounts: each submits, polls and pays its own; nothing simulated is taken for the real thing, in videos or in dollars."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest

from sora_pipeline.admission.holds import UNREAD, Admission, hold_of_all, still_to_pay_usd
from sora_pipeline.admission.limits import account_of, limits_of
from sora_pipeline.advice import explained
from sora_pipeline.ledger import AttemptState, Ledger, Production
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.polling import sweep, time_out_elsewhere
from sora_pipeline.production.progress import open_elsewhere, progress_of, why_left_open
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.retrying import retry_clips
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.provider.config import ProviderConfig
from sora_pipeline.provider.errors import ErrorKind, TransientError
from sora_pipeline.provider.registry import make_provider
from sora_pipeline.sandbox.embedded import running_sandbox
from sora_pipeline.sandbox.settings import SandboxSettings
from sora_pipeline_tests.conftest import (
    PROMPTS,
    QUICK,
    USD,
    Clock,
    Producer,
    RunContexts,
    Sandbox,
    ids,
    key,
    keys,
    latest,
    rows_of,
    settings_of,
    standing,
    states,
)
from sora_pipeline_tests.production.parts import GPTPROTO, SANDBOX, failure_of

pytestmark = pytest.mark.anyio

REAL: dict[str, Any] = {"provider": "gptproto"}
UNIFIED: dict[str, Any] = {"provider": "gptproto-unified"}
SIMULATED: dict[str, Any] = {}
NOTHING = (Decimal(0), Decimal(0))


@pytest.fixture(scope="module")
def real_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    """What stands for the real provider: a server of its own that knows nothing of the sandbox's predictions."""
    settings = SandboxSettings(state_dir=tmp_path_factory.mktemp("real"), shared_renders=True, **QUICK)
    with running_sandbox(settings) as endpoint, httpx.Client(base_url=endpoint.url, trust_env=False) as http:
        yield Sandbox(endpoint, http)


@pytest.fixture
def real(real_server: Sandbox) -> Sandbox:
    real_server.http.post("/sandbox/reset").raise_for_status()
    return real_server


@asynccontextmanager
async def at(
    server: Sandbox, run_context: RunContext, owner: str, **settings: Any
) -> AsyncIterator[RunContext]:
    """A run with these settings, connected to a server by the wire format that they name."""
    used = settings_of(**settings)
    config = ProviderConfig(
        name=used.provider, base_url=server.url, api_key=server.endpoint.api_key, allow_private_outputs=True
    )
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(make_provider(config))
        yield replace(run_context, provider=provider, settings=used, owner=owner)


def hold_sentence(ledger: Ledger, made: Production, **settings: Any) -> str:
    hold = hold_of_all(
        ledger, ledger.productions.get(made.production_id), settings_of(**settings), load_catalogue()
    )
    assert hold is not None
    assert hold.kind == UNREAD
    return explained(hold.reason)


def money(ledger: Ledger, name: str = PROMPTS) -> tuple[Decimal, Decimal]:
    spending = ledger.money.of_production(name)
    return spending.spent_usd, spending.committed_usd


def costs(ledger: Ledger, made: Production, **settings: Any) -> dict[str, float | None]:
    assert publish(ledger, made.production_id, settings_of(**settings), "publisher") is not None
    rows = pq.read_table(Path(made.output_uri) / "metadata.parquet").to_pylist()
    return {row["clip_id"]: row["cost_usd"] for row in rows}


# ---- whose clips


@pytest.mark.parametrize(
    ("read_for", "submitted_by"),
    [
        (SIMULATED, REAL),
        (REAL, SIMULATED),
        (REAL, UNIFIED),
        (REAL, {**REAL, "account": "agency"}),
        (SIMULATED, {"account": "second"}),
    ],
    ids=[
        "sandbox to real",
        "real to sandbox",
        "one format to another",
        "one key to another",
        "two sandboxes",
    ],
)
@pytest.mark.parametrize("force", [False, True])
async def test_a_production_is_submitted_by_the_account_that_it_was_read_for(
    run_context: RunContext,
    sandbox: Sandbox,
    production: Producer,
    ledger: Ledger,
    read_for: dict[str, Any],
    submitted_by: dict[str, Any],
    force: bool,
) -> None:
    made = production(rows_of(a="a fox"), **read_for)
    other, own = account_of(settings_of(**submitted_by)).name, account_of(settings_of(**read_for)).name
    async with at(sandbox, run_context, "run-2", **submitted_by) as context:
        results = await ensure_predictions(context, keys("a"), batch_id="b", may_begin=True, force=force)
    sentence = results.waiting[key("a")]
    assert sentence.startswith(
        f"prompts was last read for the account {own}, and the account is now {other}."
    )
    assert f"`sora-pipeline run {made.manifest_uri} --name prompts`" in sentence
    assert f"made with {other}" in sentence
    assert sentence == hold_sentence(ledger, made, **submitted_by)
    assert hold_of_all(ledger, made, settings_of(**read_for), load_catalogue()) is None
    assert sandbox.billed == 0
    assert states(ledger, ["a"]) == {"a": None}
    assert money(ledger) == NOTHING
    progress = progress_of(ledger, made, settings_of(**submitted_by), load_catalogue())
    assert progress.settled
    assert progress.stopped is not None
    assert explained(progress.stopped) == sentence
    publish(ledger, PROMPTS, settings_of(**submitted_by), "publisher")
    (row,) = pq.read_table(Path(made.output_uri) / "metadata.parquet").to_pylist()
    assert (row["status"], row["error_kind"], row["error_message"]) == ("pending", UNREAD, sentence)


async def test_what_the_sentence_says_helps(
    run_context: RunContext, sandbox: Sandbox, real: Sandbox, production: Producer, ledger: Ledger
) -> None:
    made = production(rows_of(a="a fox"))
    assert hold_sentence(ledger, made, **REAL)
    production(rows_of(a="a fox"), name=PROMPTS, **REAL)
    async with at(real, run_context, "run-2", **REAL) as context:
        results = await ensure_predictions(context, keys("a"), batch_id="b", may_begin=True)
    assert results.ready[key("a")].account == GPTPROTO
    assert (sandbox.billed, real.billed) == (0, 1)


async def test_a_reservation_of_another_account_is_given_back_not_sent(
    run_context: RunContext, sandbox: Sandbox, real: Sandbox, production: Producer, ledger: Ledger
) -> None:
    """Planned for the sandbox; the daemon that takes it up speaks for the real account."""
    production(rows_of(a="a fox"))
    ledger.attempts.reserve(
        {key("a"): 1_200_000}, account=SANDBOX, batch_id="b", limits=limits_of(settings_of()), lease_s=60
    )
    async with at(real, run_context, "run-2", **REAL) as context:
        results = await ensure_predictions(context, keys("a"), batch_id="b", may_begin=False)
    assert "no attempt is reserved" in results.waiting[key("a")]
    assert states(ledger, ["a"]) == {"a": None}
    assert (sandbox.billed, real.billed) == (0, 0)


# ---- attempts at an account that is not configured now


@pytest.fixture
async def left_behind(run_context: RunContext, sandbox: Sandbox, production: Producer) -> Production:
    """Two predictions in flight at the sandbox, and the account is now another one."""
    sandbox.change(render_s=30)
    made = production(rows_of(a="a fox", b="an owl", c="a bear"))
    await ensure_predictions(run_context, keys("a", "b"), batch_id="b", may_begin=True)
    return made


async def test_they_are_listed_with_what_to_do(left_behind: Production, ledger: Ledger) -> None:
    progress = progress_of(ledger, left_behind, settings_of(**REAL), load_catalogue())
    assert progress.elsewhere == {SANDBOX: 2} == open_elsewhere(ledger, settings_of(**REAL), PROMPTS)
    assert progress_of(ledger, left_behind, settings_of(), load_catalogue()).elsewhere == {}
    sentence = explained(why_left_open(SANDBOX, 2))
    for words in (
        "2 attempts",
        "account sandbox",
        "not configured now",
        "timed_out",
        "SORA_PROVIDER=sandbox",
    ):
        assert words in sentence
    named = explained(why_left_open(replace(GPTPROTO, name="agency"), 1))
    assert "SORA_PROVIDER=gptproto, SORA_ACCOUNT=agency" in named


async def test_they_hold_no_slot_of_another_account(
    left_behind: Production, run_context: RunContext, real: Sandbox, production: Producer, ledger: Ledger
) -> None:
    production(rows_of(a="a fox", b="an owl", c="a bear"), name=PROMPTS, **REAL)
    production(rows_of(x="a cat", y="a dog"), file="tuesday.csv", **REAL)
    assert (ledger.attempts.slots_taken("sandbox"), ledger.attempts.slots_taken("gptproto")) == (2, 0)
    async with at(real, run_context, "run-2", **REAL, max_in_flight=2) as context:
        results = await ensure_predictions(
            context, keys("x", "y", production="tuesday"), batch_id="t", may_begin=True
        )
    assert sorted(ids(results.ready)) == ["x", "y"]
    assert real.billed == 2


async def test_they_are_neither_polled_nor_fetched_nor_resumed_with_another_key(
    left_behind: Production,
    run_context: RunContext,
    sandbox: Sandbox,
    real: Sandbox,
    ledger: Ledger,
    clock: Clock,
) -> None:
    clock.turn(5)
    before = latest(ledger, "a")
    async with at(real, run_context, "run-2", **REAL) as context:
        in_flight = ledger.attempts.live(AttemptState.IN_FLIGHT)
        assert not (await sweep(context, in_flight, budget_s=5)).counts
        collected = await collect_videos(context, keys("a", "b"), resume_timed_out=True)
        assert "account sandbox, which is not configured now" in collected.waiting[key("a")]
        assert latest(ledger, "a") == before
        clock.turn(settings_of().generation_timeout_s)
        assert time_out_elsewhere(ledger, "gptproto", "", explained) == 2
        collected = await collect_videos(context, keys("a"), resume_timed_out=True)
        assert "account sandbox" in collected.failed[key("a")][1]
        assert latest(ledger, "a").state is AttemptState.TIMED_OUT, "nobody here could look once more"


async def test_they_time_out_by_their_deadline_and_nothing_is_paid_again(
    left_behind: Production,
    run_context: RunContext,
    sandbox: Sandbox,
    ledger: Ledger,
    clock: Clock,
) -> None:
    assert time_out_elsewhere(ledger, "gptproto", "", explained) == 0, "not before"
    clock.turn(settings_of().generation_timeout_s + 1)
    assert time_out_elsewhere(ledger, "sandbox", "", explained) == 0, "its own account polls, and decides"
    assert time_out_elsewhere(ledger, "gptproto", "beside", explained) == 0, "another pipeline's"
    assert time_out_elsewhere(ledger, "gptproto", "", explained) == 2
    attempt = latest(ledger, "a")
    assert (attempt.state, failure_of(attempt).kind) == (AttemptState.TIMED_OUT, "timed_out")
    assert "at the account sandbox, which is not configured now" in attempt.why
    assert attempt.submission.prediction_id is not None
    assert standing(ledger, "a").status(3) == "failed"
    assert ledger.clips.pending(3) == keys("c"), "nothing is paid again by itself"
    assert ledger.attempts.slots_taken("sandbox") == 0
    assert open_elsewhere(ledger, settings_of(**REAL), PROMPTS) == {SANDBOX: 2}
    assert sandbox.billed == 2


async def test_their_own_account_finds_them_again_once_it_is_back(
    run_context: RunContext, sandbox: Sandbox, production: Producer, ledger: Ledger, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    await ensure_predictions(run_context, keys("a"), batch_id="b", may_begin=True)
    clock.turn(settings_of().generation_timeout_s + 1)
    assert time_out_elsewhere(ledger, "gptproto", "", explained) == 1
    await asyncio.sleep(2 * QUICK["render_s"])  # a prediction so old is polled once a minute
    assert retry_clips(ledger, settings_of(), [PROMPTS], []).fetched == keys("a")
    collected = await collect_videos(run_context, keys("a"), resume_timed_out=False)
    assert ids(collected.delivered) == ["a"]
    assert sandbox.billed == 1


async def test_what_an_account_that_is_gone_made_is_paid_again_only_where_it_is_named(
    run_context: RunContext, sandbox: Sandbox, production: Producer, ledger: Ledger, clock: Clock
) -> None:
    rows = rows_of(a="a fox", b="an owl")
    production(rows)
    await ensure_predictions(run_context, keys("a", "b"), batch_id="b", may_begin=True)
    other = {"account": "agency"}
    production(rows, name=PROMPTS, **other)
    clock.turn(settings_of().generation_timeout_s + 1)
    assert time_out_elsewhere(ledger, "agency", "", explained) == 2
    retried = retry_clips(ledger, settings_of(**other), [PROMPTS], [])
    assert retried.elsewhere == dict.fromkeys(keys("a", "b"), "sandbox")
    assert ledger.clips.pending(3) == retried.anew == retried.fetched == []
    marked = retry_clips(ledger, settings_of(**other), [PROMPTS], [], marked=keys("b"))
    assert (list(marked.elsewhere), marked.anew) == (keys("b"), []), "a mark in the gallery names no clip"
    assert retry_clips(ledger, settings_of(**other), [PROMPTS], ["b"]).anew == keys("b")
    assert ledger.clips.pending(3) == keys("b")
    assert "given up: a person had it submitted again" in latest(ledger, "b").why
    async with at(sandbox, run_context, "run-2", **other) as context:
        await ensure_predictions(context, keys("b"), batch_id="c", may_begin=True)
        assert ids((await collect_videos(context, keys("b"), resume_timed_out=False)).delivered) == ["b"]
    assert sandbox.billed == 3
    production(rows, name=PROMPTS)
    assert retry_clips(ledger, settings_of(), [PROMPTS], []).fetched == keys("a"), "the account is back"


async def test_a_video_that_is_ready_elsewhere_is_fetched_by_its_open_link_and_never_polled(
    run_context: RunContext,
    sandbox: Sandbox,
    real: Sandbox,
    production: Producer,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The link is open to anybody; a poll would ask one provider for another's prediction."""
    production(rows_of(a="a fox", b="[sandbox:wrong-type] an owl"))
    await ensure_predictions(run_context, keys("a", "b"), batch_id="b", may_begin=True)
    while ledger.attempts.live(AttemptState.IN_FLIGHT):
        await sweep(run_context, ledger.attempts.live(AttemptState.IN_FLIGHT), budget_s=5)
    async with at(real, run_context, "run-2", **REAL) as context:
        polled: list[object] = []

        async def poll(*asked: object) -> None:
            polled.append(asked)
            raise TransientError(ErrorKind.UNAVAILABLE, "nobody knows it here")

        monkeypatch.setattr(context.provider, "poll", poll)
        collected = await collect_videos(context, keys("a", "b"), resume_timed_out=True)
    assert polled == []
    assert ids(collected.delivered) == ["a"]
    attempt = latest(ledger, "b")
    assert (attempt.state, failure_of(attempt).kind) == (AttemptState.SUCCEEDED, "download")
    assert attempt.account == SANDBOX
    assert sandbox.billed == 2


# ---- from one wire format to another, and from simulated to real


async def test_another_wire_format_pays_for_nothing_again(
    run_context: RunContext, real: Sandbox, production: Producer, ledger: Ledger
) -> None:
    rows = rows_of(done="a fox", flying="an owl", failed="[sandbox:policy] a cat", new="a bear")
    made = production(rows, **REAL)
    async with at(real, run_context, "run-1", **REAL) as context:
        await ensure_predictions(context, keys("done", "failed"), batch_id="1", may_begin=True)
        await collect_videos(context, keys("done"), resume_timed_out=False)
        real.change(render_s=60)
        await ensure_predictions(context, keys("flying"), batch_id="2", may_begin=True)
        real.change(render_s=QUICK["render_s"])
    before = {
        each.clip.clip_id: each.clip.fingerprint
        for each in ledger.clips.standings(keys("done", "flying")).values()
    }
    production(rows, name=PROMPTS, **UNIFIED)
    for clip_id, fingerprint in before.items():
        assert standing(ledger, clip_id).clip.fingerprint == fingerprint
    assert ledger.clips.pending(3) == keys("new")
    settings = settings_of(**UNIFIED)
    assert still_to_pay_usd(ledger, ledger.productions.get(PROMPTS), settings, load_catalogue()) == USD
    async with at(real, run_context, "run-2", **UNIFIED) as context:
        everything = keys("done", "flying", "new")
        results = await ensure_predictions(context, everything, batch_id="3", may_begin=True)
        collected = await collect_videos(context, everything, resume_timed_out=False)
    assert sorted(ids(results.ready)) == ["done", "flying", "new"]
    assert sorted(ids(collected.delivered)) == ["done", "new"]
    assert "account gptproto" in collected.waiting[key("flying")]
    assert latest(ledger, "new").account.name == "gptproto-unified"
    assert latest(ledger, "flying").account.name == "gptproto", "it was paid there, and is polled there"
    assert real.billed == 3
    assert real.bill()["duplicates"] == []
    assert money(ledger) == (3 * USD, 3 * USD), "both accounts' bills are this production's"
    assert costs(ledger, made, **UNIFIED) == {"done": 1.2, "flying": 1.2, "new": 1.2, "failed": None}


async def test_what_the_sandbox_made_is_neither_a_real_video_nor_real_money(
    run_context: RunContext, sandbox: Sandbox, real: Sandbox, production: Producer, ledger: Ledger
) -> None:
    rows = rows_of(a="a fox", b="[sandbox:lost-answer-once] an owl", c="a bear")
    made = production(rows, budget=Decimal("2.40"))
    await ensure_predictions(run_context, keys("a", "b"), batch_id="1", may_begin=True)
    await collect_videos(run_context, keys("a"), resume_timed_out=False)
    assert money(ledger) == (2 * USD, 2 * USD)
    assert costs(ledger, made) == {"a": 1.2, "b": 1.2, "c": None}

    production(rows, name=PROMPTS, **REAL)
    assert money(ledger) == NOTHING, "the whole budget is left"
    assert ids(ledger.clips.pending(3)) == ["a", "c"], (
        "a lost answer is a person's to decide, whoever lost it"
    )
    assert standing(ledger, "a").delivered is None
    assert costs(ledger, made, **REAL) == {"a": None, "b": None, "c": None}
    async with at(real, run_context, "run-2", **REAL) as context:
        results = await ensure_predictions(context, keys("a", "c"), batch_id="2", may_begin=True)
        assert sorted(ids(results.ready)) == ["a", "c"]
        await collect_videos(context, keys("a", "c"), resume_timed_out=False)
        production(rows_of(a="a fox", b="another owl", c="a bear", d="a wolf"), name=PROMPTS, **REAL)
        results = await ensure_predictions(context, keys("d"), batch_id="3", may_begin=True)
    assert "2.40 of 2.40 USD is spent or reserved" in results.waiting[key("d")]
    assert money(ledger) == (2 * USD, 2 * USD)
    assert costs(ledger, made, **REAL) == {"a": 1.2, "b": None, "c": 1.2, "d": None}
    assert (sandbox.billed, real.billed) == (2, 2)

    production(rows, name=PROMPTS)
    assert standing(ledger, "a").delivered is not None, "what the sandbox made is there again"
    assert standing(ledger, "a").delivered.account == SANDBOX  # type: ignore[union-attr]
    assert money(ledger) == (2 * USD, 2 * USD)
    assert costs(ledger, made) == {"a": 1.2, "b": 1.2, "c": None}
    assert (sandbox.billed, real.billed) == (2, 2)


async def test_the_days_budget_is_the_accounts(
    run_context: RunContext, sandbox: Sandbox, real: Sandbox, production: Producer, ledger: Ledger
) -> None:
    production(rows_of(a="a fox", b="an owl"), file="monday.csv")
    tuesday = production(rows_of(a="a cat", b="a dog"), file="tuesday.csv", **REAL)
    owl = ledger.clips.of_production("tuesday")[1]
    await ensure_predictions(run_context, keys("a", "b", production="monday"), batch_id="1", may_begin=True)
    async with at(real, run_context, "run-2", **REAL, budget_daily_usd=Decimal("1.20")) as context:
        results = await ensure_predictions(
            context, keys("a", "b", production="tuesday"), batch_id="2", may_begin=True
        )
        hold = Admission(ledger, tuesday, context.settings, context.catalogue).of(owl)
    assert ids(results.ready) == ["a"]
    assert "1.20 of 1.20 USD" in results.waiting[key("b", "tuesday")]
    assert hold is not None
    assert hold.kind == "daily_budget"
    assert (sandbox.billed, real.billed) == (2, 1)


async def test_a_breaker_stops_its_own_account_only(
    contexts: RunContexts, run_context: RunContext, real: Sandbox, production: Producer, ledger: Ledger
) -> None:
    monday = production(rows_of(a="a fox"), file="monday.csv")
    tuesday = production(rows_of(a="a cat"), file="tuesday.csv", **REAL)
    ledger.breakers.open("sandbox", "no_balance", "HTTP 403: Insufficient balance")
    held = hold_of_all(ledger, monday, settings_of(), load_catalogue())
    assert held is not None
    assert "submits to the account sandbox are stopped" in held.reason.sentence
    assert hold_of_all(ledger, tuesday, settings_of(**REAL), load_catalogue()) is None
    async with at(real, run_context, "run-2", **REAL) as context:
        results = await ensure_predictions(
            context, keys("a", production="tuesday"), batch_id="2", may_begin=True
        )
    assert ids(results.ready) == ["a"]

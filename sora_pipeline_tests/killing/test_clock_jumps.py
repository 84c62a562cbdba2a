"""A clock that is set, by an hour ahead and back again: nothing is paid twice, and nothing waits for the hour."""

import asyncio
import os
import time
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sora_pipeline.automation.planning import plan_recovery
from sora_pipeline.automation.requests import requested_lease_s
from sora_pipeline.headless.home import daemon_is_alive, note_daemon_stopped
from sora_pipeline.ledger import Account, AttemptState, Ledger, Limits, Plan, Production
from sora_pipeline.production.collecting import collect_videos
from sora_pipeline.production.context import RunContext
from sora_pipeline.production.polling import sweep
from sora_pipeline.production.publishing import publish
from sora_pipeline.production.submitting import ensure_predictions
from sora_pipeline.settings import Settings
from sora_pipeline_tests.conftest import Clock, Producer, Sandbox, key, keys, latest, other_run, rows_of
from sora_pipeline_tests.killing.referee import violations

pytestmark = pytest.mark.anyio

HOUR = 3600.0
COST = 1_200_000
LEASE_S = requested_lease_s(Settings())


async def bring_home(run_context: RunContext, *clip_ids: str) -> None:
    """What sensors and runs do, as long as it takes; nothing here may take an hour."""
    clips = keys(*clip_ids)
    async with asyncio.timeout(30):
        results = await ensure_predictions(run_context, clips, batch_id="later", may_begin=True)
        assert set(results.ready) == set(clips), results
        await sweep(
            run_context, run_context.ledger.attempts.due(100, account=run_context.account.name), budget_s=5
        )
        collected = await collect_videos(run_context, clips, resume_timed_out=False)
        assert set(collected.delivered) == set(clips), collected


def judge(run_context: RunContext, sandbox: Sandbox, production_id: str) -> None:
    assert publish(run_context.ledger, production_id, run_context.settings, "judge") is not None
    assert violations(run_context.ledger, {"sandbox": sandbox.bill()}) == []
    assert sandbox.bill()["duplicates"] == []


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
async def test_clock_that_is_set_while_clips_render_makes_none_late(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock, jump: float
) -> None:
    sandbox.change(render_s=1.5)
    made = production(rows_of(a="a fox", b="an owl"))
    await ensure_predictions(run_context, keys("a", "b"), batch_id="batch", may_begin=True)
    clock.turn(jump)
    await sweep(
        run_context, run_context.ledger.attempts.due(100, account=run_context.account.name), budget_s=5
    )
    clock.turn(-jump)
    await bring_home(run_context, "a", "b")
    judge(run_context, sandbox, made.production_id)


async def test_video_claimed_by_a_run_that_died_in_the_wrong_hour_is_fetched(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    made = production(rows_of(a="a fox"))
    await ensure_predictions(run_context, keys("a"), batch_id="batch", may_begin=True)
    async with asyncio.timeout(10):
        while sandbox.bill()["items"][0]["outcome"] is None:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    clock.turn(HOUR)
    await sweep(
        run_context, run_context.ledger.attempts.due(100, account=run_context.account.name), budget_s=5
    )
    dead = latest(run_context.ledger, "a").attempt_id
    run_context.ledger.attempts.expect_collect([dead], LEASE_S)
    assert run_context.ledger.attempts.claim_collect(dead, "dead", run_context.lease_s)
    clock.turn(-HOUR)
    assert [each.attempt_id for each in run_context.ledger.attempts.unreported()] == [dead]
    await bring_home(other_run(run_context), "a")
    judge(run_context, sandbox, made.production_id)


async def test_submit_of_a_run_that_died_in_the_wrong_hour_is_parked_and_not_repeated(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    made = production(rows_of(sent="a fox", planned="an owl"))
    attempts = run_context.ledger.attempts
    clock.turn(HOUR)
    sent, planned = attempts.reserve(
        dict.fromkeys(keys("sent", "planned"), COST),
        account=run_context.account,
        batch_id="dead",
        limits=Limits(20, 3),
        lease_s=LEASE_S,
    ).reserved
    assert attempts.begin_submit(sent.attempt_id, "dead", lease_s=run_context.lease_s, request_summary={})
    clock.turn(-HOUR)
    recovery = plan_recovery(attempts.live(AttemptState.RESERVED, AttemptState.SUBMITTING), clock())
    assert [each.attempt_id for each in recovery.lost] == [sent.attempt_id]
    assert [each.attempt_id for each in recovery.unclaimed["dead"]] == [planned.attempt_id]
    results = await ensure_predictions(run_context, keys("sent"), batch_id="later", may_begin=True)
    assert "died before it recorded the answer" in results.failed[key("sent")]
    await bring_home(run_context, "planned")
    assert sandbox.billed == 1
    judge(run_context, sandbox, made.production_id)


async def test_run_whose_claims_only_seem_to_have_expired_keeps_its_answer(
    run_context: RunContext, sandbox: Sandbox, production: Producer, clock: Clock
) -> None:
    """The clock jumps ahead while the provider has the request: everybody else believes its run dead."""
    made = production(rows_of(a="[sandbox:slow-answer] a fox"))
    submitting = asyncio.create_task(
        ensure_predictions(run_context, keys("a"), batch_id="batch", may_begin=True)
    )
    async with asyncio.timeout(10):
        while sandbox.billed == 0:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    clock.turn(HOUR)
    seen = await ensure_predictions(other_run(run_context), keys("a"), batch_id="other", may_begin=True)
    assert "may have been billed" in seen.failed[key("a")]
    assert set((await submitting).ready) == {key("a")}, "the answer counts, whoever has parked it meanwhile"
    clock.turn(-HOUR)
    await bring_home(run_context, "a")
    assert sandbox.billed == 1
    judge(run_context, sandbox, made.production_id)


async def test_pauses_probes_and_publishers_of_the_wrong_hour_hold_nobody_up(
    run_context: RunContext, production: Producer, clock: Clock
) -> None:
    ledger, account = run_context.ledger, run_context.account.name
    made = production(rows_of(a="a fox"))
    clock.turn(HOUR)
    ledger.pauses.pause(account, 60)
    ledger.breakers.open(account, "no_balance", "HTTP 403")
    assert ledger.productions.claim_publish(made.production_id, "dead", run_context.lease_s)
    clock.turn(-HOUR)
    assert ledger.pauses.left_s(account) == 0
    ledger.pauses.pause(account, 20)
    assert 15 < ledger.pauses.left_s(account) <= 20
    assert ledger.breakers.begin_probe(account, "batch")
    assert not ledger.breakers.begin_probe(account, "batch"), "the next one is planned by the right clock"
    assert publish(ledger, made.production_id, run_context.settings, "run") is not None


def plan_of(made: Production, budget: Decimal | None = None) -> Plan:
    account = Account("sandbox", "sandbox", simulated=True)
    return Plan(made.production_id, made.pipeline, made.manifest_uri, made.output_uri, account, budget)


def test_request_of_the_wrong_hour_is_met_by_the_next_reading(
    ledger: Ledger, production: Producer, clock: Clock
) -> None:
    made = production(rows_of(a="a fox"))
    clock.turn(HOUR)
    ledger.productions.request(plan_of(made, Decimal(5)))
    clock.turn(-HOUR)
    assert ledger.productions.requested(""), "it is asked for"
    production(rows_of(a="a fox", b="an owl"))
    assert ledger.productions.requested("") == [], "and was read once"


def test_request_after_a_reading_of_the_wrong_hour_is_read(
    ledger: Ledger, production: Producer, clock: Clock
) -> None:
    clock.turn(HOUR)
    made = production(rows_of(a="a fox"))
    clock.turn(-HOUR)
    ledger.productions.request(plan_of(made))
    (asked,) = ledger.productions.requested("")
    assert asked.production_id == made.production_id


class Beating:
    """A Dagster instance as far as it is asked for heartbeats; making one up is no part of Dagster's public API."""

    def __init__(self, at: float) -> None:
        self._at = at

    def get_daemon_heartbeats(self) -> Any:
        return {"SENSOR": SimpleNamespace(timestamp=self._at)}


@pytest.mark.parametrize(("ahead", "alive"), [(HOUR, False), (-1.0, True), (-HOUR, False)])
def test_heartbeat_of_the_wrong_hour_is_no_daemon(home: Path, ahead: float, alive: bool) -> None:
    instance: Any = Beating(time.time() + ahead)
    assert daemon_is_alive(instance, home) is alive


def test_stop_of_the_wrong_hour_does_not_hide_a_daemon(home: Path) -> None:
    note_daemon_stopped(home)
    in_an_hour = time.time() + HOUR
    os.utime(home / "daemon.stopped", (in_an_hour, in_an_hour))
    instance: Any = Beating(time.time() - 1)
    assert daemon_is_alive(instance, home)

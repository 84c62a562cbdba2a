"""What a person stops stays stopped, what is forced is paid for once, and no single clip keeps the others waiting."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import dagster as dg
import pytest
from sqlalchemy import event

from sora_pipeline.admission.limits import account_of, limits_of
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.ledger.breakers import FIRST_PROBE_S
from sora_pipeline.names import BATCH_TAG, GENERATIONS_JOB, PARENT_RUN_TAG, ROOT_RUN_TAG, RUN_KEY_TAG
from sora_pipeline_tests.assets.conftest import Studio
from sora_pipeline_tests.automation.conftest import LEASE_S, Daemon, range_of
from sora_pipeline_tests.conftest import (
    Clock,
    Producer,
    Sandbox,
    key,
    keys,
    latest,
    rows_of,
    settings_of,
    standing,
)
from sora_pipeline_tests.production.parts import failure_of

DISPATCH = "dispatch_sensor"


# ---- runs that a person ends


@pytest.mark.parametrize("begun", [False, True])
def test_a_terminated_runs_clips_wait_for_a_persons_word(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock, sandbox: Sandbox, begun: bool
) -> None:
    """Ended while it was queued, or after it had taken its reservations."""
    production(rows_of(a="a fox", b="an owl"))
    request = daemon.tick(DISPATCH).request
    run = daemon.a_run(dg.DagsterRunStatus.CANCELED, {**request.tags, RUN_KEY_TAG: request.run_key or ""})
    if begun:
        reserved = [latest(ledger, clip_id).attempt_id for clip_id in ("a", "b")]
        ledger.attempts.claim(reserved, run.run_id, LEASE_S)
    clock.turn(LEASE_S + 1)
    tick = daemon.tick(DISPATCH)
    assert (tick.requests, tick.skipped) == ([], "no clip is pending")
    for clip_id in ("a", "b"):
        attempt = latest(ledger, clip_id)
        assert (attempt.state, failure_of(attempt).kind) == (AttemptState.FAILED, "terminated")
        assert f"sora-pipeline retry --production prompts --clip {clip_id}" in failure_of(attempt).message
    ledger.clips.new_round(keys("b"))  # a person's word
    assert range_of(daemon.tick(DISPATCH).request) == (key("b"), key("b"))
    assert sandbox.billed == 0


def test_a_persons_own_terminated_run_begins_nothing_by_itself(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    run = daemon.a_run(dg.DagsterRunStatus.CANCELED, {})
    settings = settings_of()
    ledger.attempts.reserve(
        {key("a"): 1_200_000},
        account=account_of(settings),
        batch_id=run.run_id,
        limits=limits_of(settings),
        lease_s=LEASE_S,
        owner=run.run_id,
    )
    clock.turn(LEASE_S + 1)
    assert daemon.tick(DISPATCH).requests == []
    assert failure_of(latest(ledger, "a")).kind == "terminated"


def test_a_run_that_failed_is_requested_again_all_the_same(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    request = daemon.tick(DISPATCH).request
    daemon.a_run(dg.DagsterRunStatus.FAILURE, {**request.tags, RUN_KEY_TAG: request.run_key or ""})
    clock.turn(LEASE_S + 1)
    assert daemon.tick(DISPATCH).request.tags[BATCH_TAG] == request.tags[BATCH_TAG]


# ---- forced runs


@pytest.mark.parametrize("asset", ["generations", "videos"])
def test_a_forced_run_is_worth_one_new_attempt_however_often_it_is_re_executed(
    studio: Studio, sandbox: Sandbox, ledger: Ledger, asset: str
) -> None:
    studio.read(rows_of(a="a fox", b="an owl"))
    assert studio.materialize(["generations", "videos"], ("a", "b")).success
    assert sandbox.billed == 2
    force = {name: {"config": {"force": True}} for name in (asset,)}
    first = studio.materialize([asset], ("a", "b"), config=force)
    assert (first.success, sandbox.billed) == (True, 4)
    studio.materialize(["videos"], ("a", "b"))
    parent = first.run_id
    for _ in range(2):
        tags = {ROOT_RUN_TAG: first.run_id, PARENT_RUN_TAG: parent}
        again = studio.materialize([asset], ("a", "b"), config=force, tags=tags)
        parent = again.run_id
        assert again.success
        assert sandbox.billed == 4
    assert studio.materialize([asset], ("a", "b"), config=force).success
    assert sandbox.billed == 6, "a run of its own is a word of its own"


# ---- probes


def test_a_clip_that_is_refused_for_itself_does_not_hold_the_others_back(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, clock: Clock
) -> None:
    production(rows_of(a="[sandbox:policy] a fox", b="an owl", c="a bear"))
    ledger.breakers.open("sandbox", "no_balance", "HTTP 403: Insufficient balance")
    clock.turn(FIRST_PROBE_S + 1)
    assert not daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB).success
    assert ledger.breakers.get("sandbox") is not None, "it says nothing about the balance"
    probe = daemon.tick(DISPATCH).request
    assert range_of(probe) == (key("b"), key("b")), "another one, and at once"
    assert daemon.run(probe, GENERATIONS_JOB).success
    assert ledger.breakers.get("sandbox") is None
    assert sandbox.billed == 1


def test_a_model_that_is_gone_is_probed_while_the_others_go_on(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, clock: Clock
) -> None:
    production(
        [
            {"clip_id": "gone", "prompt": "a fox", "model": "sora-2"},
            {"clip_id": "fine", "prompt": "an owl", "model": "sora-2-pro"},
        ]
    )
    ledger.breakers.open("sandbox", "model_gone", "the model is retired", model="sora-2")
    assert range_of(daemon.tick(DISPATCH).request) == (key("fine"), key("fine"))
    waiting = daemon.tick(DISPATCH).skipped
    assert "clips of the model sora-2 at the account sandbox wait (model_gone)" in waiting
    clock.turn(FIRST_PROBE_S + 1)
    probe = next(each for each in daemon.tick(DISPATCH).requests if range_of(each)[0] == key("gone"))
    assert daemon.run(probe, GENERATIONS_JOB).success
    assert ledger.breakers.of_models("sandbox") == {}


def test_a_clip_whose_model_left_the_catalogue_waits_and_the_others_go_on(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox
) -> None:
    production(rows_of(fine="an owl", left="a fox"))
    with ledger.database.write() as connection:
        connection.exec_driver_sql(
            "UPDATE clips SET spec = replace(CAST(spec AS TEXT), 'sora-2-pro', 'own-model') WHERE clip_id = 'left'"
            if "sqlite" in str(ledger.database.engine.url)
            else "UPDATE clips SET spec = replace(spec::text, 'sora-2-pro', 'own-model')::json WHERE clip_id = 'left'"
        )
    assert range_of(daemon.tick(DISPATCH).request) == (key("fine"), key("fine"))
    assert "unknown model 'own-model'" in daemon.tick(DISPATCH).skipped
    assert standing(ledger, "left").latest is None
    assert sandbox.billed == 0


# ---- many pending clips, and no money


@contextmanager
def counted(ledger: Ledger) -> Iterator[Callable[[], int]]:
    """Counts the statements that are executed meanwhile."""
    executed = 0

    def count(*_: Any) -> None:
        nonlocal executed
        executed += 1

    event.listen(ledger.database.engine, "after_cursor_execute", count)
    yield lambda: executed
    event.remove(ledger.database.engine, "after_cursor_execute", count)


def test_a_used_up_budget_costs_the_tick_no_more_the_more_clips_are_pending(
    daemon: Daemon, ledger: Ledger, production: Producer
) -> None:
    statements = []
    for size in (100, 1000):
        rows = [{"clip_id": f"c{number}", "prompt": f"clip {number}"} for number in range(size)]
        production(rows, budget=Decimal(0), name=f"of-{size}", file=f"of-{size}.csv")
        with counted(ledger) as executed:
            tick = daemon.tick(DISPATCH)
        assert "--budget" in tick.skipped
        statements.append(executed())
    assert statements[1] < statements[0] + 20

from decimal import Decimal
from functools import partial

import dagster as dg
import pytest

from sora_pipeline.automation.dispatch import MOST_TRIES
from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import AttemptState, Ledger, Limits
from sora_pipeline.ledger.batches import GENERATIONS
from sora_pipeline.ledger.breakers import FIRST_PROBE_S
from sora_pipeline.names import (
    BATCH_TAG,
    GENERATIONS_JOB,
    RANGE_START_TAG,
    REQUESTED_BY_TAG,
    RUN_KEY_TAG,
)
from sora_pipeline_tests.automation.conftest import LEASE_S, Daemon, range_of
from sora_pipeline_tests.conftest import (
    Clock,
    Producer,
    Sandbox,
    key,
    keys,
    latest,
    rows_of,
    standing,
    states,
)
from sora_pipeline_tests.production.parts import SANDBOX, failure_of

DISPATCH = "dispatch_sensor"
AMBIGUOUS, RESERVED = AttemptState.AMBIGUOUS, AttemptState.RESERVED
COST = 1_200_000
IDLE_S = 300
WAITING = "1 clip is pending; waiting for slots (0 free)"


def reserve(ledger: Ledger, *clip_ids: str, batch_id: str = "batch", owner: str | None = None) -> list[int]:
    made = ledger.attempts.reserve(
        dict.fromkeys(keys(*clip_ids), COST),
        account=SANDBOX,
        batch_id=batch_id,
        limits=Limits(20, 3),
        lease_s=LEASE_S,
        owner=owner,
    )
    return [each.attempt_id for each in made.reserved]


def test_pending_clips_are_reserved_and_one_range_is_requested(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox
) -> None:
    production(rows_of(a="a fox", b="an owl", c="a bear"))
    request = daemon.tick(DISPATCH).request
    assert range_of(request) == ("prompts:a", "prompts:c")
    assert request.tags[REQUESTED_BY_TAG] == DISPATCH
    assert set(states(ledger, ["a", "b", "c"]).values()) == {RESERVED}
    assert daemon.tick(DISPATCH).skipped == "no clip is pending that no run owns", "it is on its way"
    assert daemon.run(request, GENERATIONS_JOB).success
    assert set(states(ledger, ["a", "b", "c"]).values()) == {AttemptState.IN_FLIGHT}
    assert {latest(ledger, each).batch_id for each in "abc"} == {request.tags[BATCH_TAG]}
    assert sandbox.billed == 3


def test_clips_without_a_partition_get_one(daemon: Daemon, ledger: Ledger, production: Producer) -> None:
    """Those of a ledger that was migrated, rebuilt or adopted have none; a range over a key that is none fails a tick."""
    production(rows_of(a="a fox", b="an owl", c="a bear"))
    daemon.instance.delete_dynamic_partition("sora_clips", key("b"))
    assert range_of(daemon.tick(DISPATCH).request) == (key("a"), key("b")), "the new one comes last"
    assert daemon.instance.get_dynamic_partitions("sora_clips") == keys("a", "c", "b")
    assert set(states(ledger, ["a", "b", "c"]).values()) == {RESERVED}


def test_partition_that_a_person_deletes_poisons_no_tick(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock, sandbox: Sandbox
) -> None:
    """Between the request and its run it is gone; the batch is requested again, with a partition for each clip."""
    production(rows_of(a="a fox", b="an owl"))
    daemon.tick(DISPATCH)
    for each in keys("a", "b"):
        daemon.instance.delete_dynamic_partition("sora_clips", each)
    clock.turn(LEASE_S + 1)
    assert daemon.run(daemon.tick(DISPATCH).request).success
    assert sandbox.billed == 2


def test_ticks_without_work_say_why(
    daemon: Daemon, ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert daemon.tick(DISPATCH).skipped == "no clip is pending"
    production(rows_of(a="a fox", b="an owl"))
    reserve(ledger, "a")
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", "1")
    assert daemon.tick(DISPATCH).skipped == WAITING
    monkeypatch.setenv("SORA_BATCH_SIZE", "1")
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", "2")
    production(rows_of(a="a fox", b="an owl", c="a bear"))
    assert len(daemon.tick(DISPATCH).requests) == 1
    assert daemon.tick(DISPATCH).skipped == WAITING
    ledger.breakers.open("sandbox", "no_balance", "HTTP 403: Insufficient balance")
    assert "top the account up" in daemon.tick(DISPATCH).skipped


@pytest.fixture
def full_slots(daemon: Daemon, production: Producer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only slot was filled just now, and another clip is pending."""
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", "1")
    production(rows_of(a="a fox"))
    assert daemon.run(daemon.tick(DISPATCH).request).success
    production(rows_of(a="a fox", b="an owl"))


@pytest.mark.usefixtures("full_slots")
def test_run_is_requested_while_slots_are_full_and_were_filled_lately(
    daemon: Daemon, ledger: Ledger, clock: Clock
) -> None:
    """It starts while renders go on, and submits as soon as one ends; where nothing moves for long, none is started again and again."""
    clock.turn(IDLE_S + 1)
    assert daemon.tick(DISPATCH).skipped == WAITING
    clock.turn(-IDLE_S - 61)
    assert daemon.tick(DISPATCH).skipped == WAITING, "a clock that was set back tells nothing"
    clock.turn(120)
    assert range_of(daemon.tick(DISPATCH).request) == (key("b"), key("b"))
    assert standing(ledger, "b").latest is None, "nothing is reserved beyond the slots"
    assert daemon.tick(DISPATCH).skipped == "no clip is pending that no run owns"


@pytest.mark.usefixtures("full_slots")
def test_no_run_waits_for_slots_after_one_that_never_began(daemon: Daemon, ledger: Ledger) -> None:
    request = daemon.tick(DISPATCH).request
    ledger.batches.end(request.tags[BATCH_TAG])  # as the sensor does with one whose run failed
    assert daemon.tick(DISPATCH).skipped == WAITING


def test_next_run_is_requested_once_no_more_is_left_to_the_one_at_work_than_may_end_at_once(
    daemon: Daemon, ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_MAX_IN_FLIGHT", "1")
    monkeypatch.setenv("SORA_BATCH_SIZE", "3")
    production(rows_of(a="a fox", b="an owl", c="a bear", d="a cat"))
    batch_id = daemon.tick(DISPATCH).request.tags[BATCH_TAG]
    of_run = {"pipeline": "", "account": "sandbox", "asset": GENERATIONS, "lease_s": LEASE_S}
    ledger.batches.begin(batch_id, "run", keys=keys("a", "b", "c"), **of_run)
    ledger.attempts.begin_submit(latest(ledger, "a").attempt_id, "run", lease_s=LEASE_S, request_summary={})
    assert daemon.tick(DISPATCH).skipped == "1 clip is pending; next for the runs at work", "it has not said"
    for left, requested in ((2, False), (1, True)):
        ledger.batches.sign(batch_id, "run", lease_s=LEASE_S, wanted={"prompts": left})
        assert bool(daemon.tick(DISPATCH).requests) is requested


@pytest.mark.usefixtures("full_slots")
def test_production_that_no_run_serves_gets_none_while_nothing_moves(
    daemon: Daemon, production: Producer, clock: Clock
) -> None:
    first = daemon.tick(DISPATCH).request
    production(rows_of(a="another fox"), file="other.csv")
    second = daemon.tick(DISPATCH).request
    assert {range_of(request)[0] for request in (first, second)} == {key("b"), clip_key("other", "a")}
    production(rows_of(a="a third fox"), file="third.csv")
    clock.turn(IDLE_S + 1)
    assert "waiting for slots (0 free)" in daemon.tick(DISPATCH).skipped


def test_budget_is_named_where_it_holds_clips_back(
    daemon: Daemon, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl"), budget=Decimal("1.50"))
    assert daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB).success
    skipped = daemon.tick(DISPATCH).skipped
    assert "1.20 of 1.50 sandbox USD" in skipped
    assert "--budget" in skipped
    assert standing(ledger, "b").latest is None
    production(rows_of(a="a fox", b="an owl"), budget=Decimal("2.40"))
    assert daemon.tick(DISPATCH).request.tags[RANGE_START_TAG] == key("b"), "raised, it goes on"


def test_budget_of_the_day_holds_all_productions_together(
    daemon: Daemon, ledger: Ledger, production: Producer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_BUDGET_DAILY_USD", "2.50")
    production(rows_of(a="a fox"), file="one.csv")
    production(rows_of(b="an owl", c="a bear"), file="two.csv")
    daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB)
    assert len(ledger.attempts.live(AttemptState.IN_FLIGHT)) == 2, "both were neighbours, and one run's"
    skipped = daemon.tick(DISPATCH).skipped
    assert "2.40 of 2.50 sandbox USD" in skipped
    assert "SORA_BUDGET_DAILY_USD" in skipped


def test_breaker_lets_one_clip_through_in_time_and_closes_when_it_is_accepted(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, clock: Clock
) -> None:
    production(rows_of(a="a fox", b="an owl", c="a bear"))
    production(rows_of(poor="a lion"), budget=Decimal(0), file="poor.csv")
    sandbox.change(balance_usd=0)
    daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB)
    assert "top the account up" in daemon.tick(DISPATCH).skipped
    clock.turn(FIRST_PROBE_S)
    probe = daemon.tick(DISPATCH).request
    assert range_of(probe) == (key("a"), key("a"))
    assert daemon.tick(DISPATCH).requests == [], "one at a time"
    daemon.run(probe, GENERATIONS_JOB)
    assert sandbox.billed == 0
    assert set(states(ledger, ["a", "b", "c"]).values()) == {None}
    sandbox.change(balance_usd=100)
    clock.turn(FIRST_PROBE_S)
    assert daemon.tick(DISPATCH).requests == [], "the second probe waits twice as long"
    clock.turn(FIRST_PROBE_S)
    again = daemon.tick(DISPATCH).request
    assert range_of(again) == (key("b"), key("b")), "another one each time"
    assert daemon.run(again, GENERATIONS_JOB).success
    assert ledger.breakers.get("sandbox") is None
    for clip_id in ("a", "c"):
        rest = daemon.tick(DISPATCH).request
        assert range_of(rest) == (key(clip_id), key(clip_id))
        assert daemon.run(rest, GENERATIONS_JOB).success
    assert sandbox.billed == 3


def test_production_without_money_does_not_stop_another(
    daemon: Daemon, ledger: Ledger, production: Producer
) -> None:
    production(rows_of(a="a fox", b="an owl", c="a bear"), budget=Decimal(0), file="poor.csv")
    production(rows_of(a="a lion"), file="rich.csv")
    request = daemon.tick(DISPATCH).request
    assert request.tags[RANGE_START_TAG] == "rich:a"
    assert latest(ledger, "a", "rich").state is RESERVED
    assert standing(ledger, "a", "poor").latest is None


def test_submit_whose_lease_ran_out_is_parked(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    ledger.batches.plan(
        "batch", pipeline="", account="sandbox", asset=GENERATIONS, keys=keys("a"), lease_s=60
    )
    (attempt_id,) = reserve(ledger, "a")
    dead = daemon.a_run(dg.DagsterRunStatus.STARTED, {BATCH_TAG: "batch"})
    assert ledger.attempts.begin_submit(attempt_id, dead.run_id, lease_s=60, request_summary={})
    daemon.tick(DISPATCH)
    assert latest(ledger, "a").state is AttemptState.SUBMITTING
    clock.turn(61)
    shows = daemon.tick(DISPATCH).request
    assert latest(ledger, "a").state is AMBIGUOUS
    assert daemon.tick(DISPATCH).requests == []
    assert not daemon.run(shows, GENERATIONS_JOB).success, "and so its partition is red"
    clock.turn(LEASE_S + 1)
    assert daemon.tick(DISPATCH).requests == [], "it was shown"
    buried = daemon.instance.get_run_by_id(dead.run_id)
    assert buried is not None
    assert buried.status is dg.DagsterRunStatus.FAILURE


def test_reservation_is_requested_again_with_a_new_try_and_given_up_in_the_end(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    run_keys = []
    for _ in range(MOST_TRIES):
        request = daemon.tick(DISPATCH).request
        run_keys.append(request.run_key)
        daemon.a_run(dg.DagsterRunStatus.FAILURE, {**request.tags, RUN_KEY_TAG: request.run_key or ""})
        assert daemon.tick(DISPATCH).requests == []
        clock.turn(LEASE_S + 1)
    assert len(set(run_keys)) == MOST_TRIES
    clock.turn(LEASE_S + 1)
    assert daemon.tick(DISPATCH).requests == []
    for clip_id in ("a", "b"):
        attempt = latest(ledger, clip_id)
        assert (attempt.state, failure_of(attempt).kind) == (AttemptState.FAILED, "run_failed")
        assert "sora-pipeline retry" in failure_of(attempt).message


def test_reservation_that_no_run_was_requested_for_is_requested(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    """The daemon died between the reservation and the request."""
    production(rows_of(a="a fox"))
    reserve(ledger, "a")
    clock.turn(LEASE_S + 1)
    assert daemon.tick(DISPATCH).request.tags[BATCH_TAG] == "batch"
    assert latest(ledger, "a").state is RESERVED


def test_reservations_of_a_persons_run_that_died_are_planned_anew(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    reserve(ledger, "a", batch_id="run-of-a-person", owner="run-of-a-person")
    clock.turn(LEASE_S + 1)
    request = daemon.tick(DISPATCH).request
    assert (request.tags[RANGE_START_TAG], request.tags[BATCH_TAG]) == (
        key("a"),
        latest(ledger, "a").batch_id,
    )
    assert latest(ledger, "a").state is RESERVED


def test_run_that_has_not_begun_is_waited_for(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock
) -> None:
    production(rows_of(a="a fox"))
    request = daemon.tick(DISPATCH).request
    daemon.a_run(dg.DagsterRunStatus.NOT_STARTED, dict(request.tags))
    clock.turn(LEASE_S + 1)
    assert daemon.tick(DISPATCH).requests == []
    attempt = latest(ledger, "a")
    assert attempt.state is RESERVED
    assert attempt.lease.until is not None
    assert attempt.lease.until > clock()


def test_refused_for_now_four_times_is_not_dispatched_again(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox
) -> None:
    production(rows_of(a="[sandbox:error-503] a fox"))
    assert not daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB).success
    assert latest(ledger, "a").number == 1
    assert daemon.tick(DISPATCH).skipped == "no clip is pending"
    assert sandbox.billed == 0


def two_runs_of_a_batch(
    daemon: Daemon, ledger: Ledger, *, first_is_newest: bool
) -> tuple[dg.DagsterRun, dg.DagsterRun]:
    """Two runs at work over parts of a batch: the first has the batch and the clip a, the second one of its own and b."""
    runs = [daemon.a_run(dg.DagsterRunStatus.STARTED, {BATCH_TAG: "batch"}) for _ in range(2)]
    first, second = runs[::-1] if first_is_newest else runs
    begin = partial(
        ledger.batches.begin, "batch", pipeline="", account=SANDBOX.name, asset=GENERATIONS, lease_s=LEASE_S
    )
    assert begin(first.run_id, keys=keys("a")) == "batch"
    assert begin(second.run_id, keys=keys("b")) == second.run_id
    return first, second


@pytest.mark.parametrize("newest", ["terminated", "at work"])
def test_of_two_runs_over_parts_of_a_batch_one_is_terminated_and_only_its_clips_wait_for_a_word(
    daemon: Daemon, ledger: Ledger, production: Producer, newest: str
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    first, second = two_runs_of_a_batch(daemon, ledger, first_is_newest=newest == "terminated")
    daemon.instance.report_run_canceled(first)
    assert daemon.tick(DISPATCH).requests == []
    assert failure_of(latest(ledger, "a")).kind == "terminated"
    assert standing(ledger, "b").latest is None
    assert [batch.batch_id for batch in ledger.batches.unfinished("")] == [second.run_id]


@pytest.mark.parametrize("newest", ["terminated", "dead"])
def test_of_two_runs_over_parts_of_a_batch_one_is_dead_and_its_clips_are_planned_again(
    daemon: Daemon, ledger: Ledger, production: Producer, newest: str
) -> None:
    production(rows_of(a="a fox", b="an owl"))
    first, second = two_runs_of_a_batch(daemon, ledger, first_is_newest=newest == "dead")
    daemon.instance.report_run_failed(first)
    daemon.instance.report_run_canceled(second)
    assert range_of(daemon.tick(DISPATCH).request) == (key("a"), key("a"))
    assert latest(ledger, "a").state is RESERVED
    assert failure_of(latest(ledger, "b")).kind == "terminated"

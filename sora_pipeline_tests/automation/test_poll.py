import time
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from sora_pipeline import runtime
from sora_pipeline.automation.poll import MOST_TRIES
from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline.names import GENERATIONS_JOB, VIDEOS_JOB
from sora_pipeline_tests.automation.conftest import LEASE_S, Daemon, range_of, wait_until_rendered
from sora_pipeline_tests.conftest import Clock, Producer, Rows, Sandbox, key, latest, rows_of, standing
from sora_pipeline_tests.production.parts import failure_of

DISPATCH, POLL = "dispatch_sensor", "poll_sensor"


def submit(daemon: Daemon, production: Producer, rows: Rows) -> None:
    production(rows)
    daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB)


def test_tick_records_what_became_of_everything_and_requests_it_once(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, clock: Clock
) -> None:
    submit(daemon, production, rows_of(a="a fox", b="[sandbox:policy-late] an owl", c="a bear"))
    wait_until_rendered(sandbox, clock)
    request = daemon.tick(POLL).request
    assert range_of(request) == (key("a"), key("c"))
    assert latest(ledger, "a").state is AttemptState.SUCCEEDED
    assert latest(ledger, "b").state is AttemptState.FAILED
    assert daemon.tick(POLL).requests == [], "a run is on its way"
    clock.turn(LEASE_S + 1)
    again = daemon.tick(POLL).request
    assert again.run_key != request.run_key
    assert not daemon.run(again, VIDEOS_JOB).success
    clock.turn(LEASE_S + 1)
    assert daemon.tick(POLL).requests == [], "everything is delivered or shown"
    assert standing(ledger, "a").delivered is not None


def test_another_ledger_on_the_same_home_requests_runs_of_its_own(
    daemon: Daemon,
    production: Producer,
    sandbox: Sandbox,
    clock: Clock,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Run keys deduplicate for ever, and the first attempt of every ledger has the number 1."""
    submit(daemon, production, rows_of(a="a fox"))
    wait_until_rendered(sandbox, clock)
    request = daemon.tick(POLL).request
    other = Ledger(f"sqlite:///{tmp_path / 'other.db'}", now=clock)
    monkeypatch.setattr(runtime, "open_ledger", lambda url: other)
    monkeypatch.setenv("SORA_OUTPUT", str(tmp_path / "other"))
    submit(daemon, replace(production, ledger=other), rows_of(a="a fox"))
    wait_until_rendered(sandbox, clock)
    assert daemon.tick(POLL).request.run_key != request.run_key
    other.close()


def test_first_that_is_rendered_brings_a_run_that_goes_on_with_its_neighbours(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, clock: Clock
) -> None:
    submit(daemon, production, rows_of(a="a fox", b="[sandbox:stuck] an owl", c="[sandbox:stuck] a bear"))
    deadline = time.monotonic() + 20
    while not (requests := daemon.tick(POLL).requests):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        clock.turn(2)
    assert range_of(requests[0]) == (key("a"), key("c"))
    assert latest(ledger, "a").state is AttemptState.SUCCEEDED
    assert daemon.tick(POLL).requests == [], "a run is on its way"


def test_run_that_nothing_comes_for_leaves_and_no_partition_turns_red_for_it(
    daemon: Daemon,
    ledger: Ledger,
    production: Producer,
    sandbox: Sandbox,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SORA_IDLE_S", "1")
    submit(
        daemon, production, rows_of(a="a fox", b="[sandbox:stuck] an owl", c="[sandbox:policy-late] a bear")
    )
    deadline = time.monotonic() + 20
    while not (requests := daemon.tick(POLL).requests):
        assert time.monotonic() < deadline
        time.sleep(0.1)
        clock.turn(2)
    assert daemon.run(requests[0], VIDEOS_JOB).success, "what still renders is left to another"
    assert standing(ledger, "a").delivered is not None
    assert latest(ledger, "b").state is AttemptState.IN_FLIGHT
    clock.turn(LEASE_S + 1)
    shows = daemon.tick(POLL).request
    assert range_of(shows)[1] == key("c"), "the failed one is shown by a run that may fail"


def test_failed_render_that_may_succeed_is_dispatched_again_and_not_shown(
    daemon: Daemon,
    ledger: Ledger,
    production: Producer,
    sandbox: Sandbox,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("SORA_MAX_ATTEMPTS", "2")
    submit(daemon, production, rows_of(a="[sandbox:no-resource] a fox"))
    wait_until_rendered(sandbox, clock)
    assert daemon.tick(POLL).requests == []
    assert latest(ledger, "a").state is AttemptState.FAILED
    daemon.run(daemon.tick(DISPATCH).request, GENERATIONS_JOB)
    assert latest(ledger, "a").number == 2
    assert daemon.tick(POLL).requests == [], "the first failure is history, the second attempt renders"
    wait_until_rendered(sandbox, clock)
    request = daemon.tick(POLL).request
    assert daemon.tick(DISPATCH).skipped == "no clip is pending"
    result = daemon.run(request, VIDEOS_JOB)
    assert not result.success
    assert sandbox.billed == 2


def test_clip_that_cannot_be_fetched_is_left_in_the_end_and_stays_fetchable(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, clock: Clock
) -> None:
    submit(daemon, production, rows_of(a="a fox"))
    wait_until_rendered(sandbox, clock)
    run_keys = set()
    for _ in range(MOST_TRIES):
        request = daemon.tick(POLL).request
        daemon.a_run(dg.DagsterRunStatus.FAILURE, dict(request.tags), VIDEOS_JOB)  # it died
        run_keys.add(request.run_key)
        clock.turn(LEASE_S + 1)
    assert daemon.tick(POLL).requests == []
    attempt = latest(ledger, "a")
    assert (attempt.state, failure_of(attempt).kind) == (AttemptState.SUCCEEDED, "run_failed")
    assert attempt.reported_at is not None
    ledger.attempts.fetch_again(attempt.attempt_id)
    again = daemon.tick(POLL).request
    assert again.run_key not in run_keys, "Dagster would take it for done"
    assert daemon.run(again, VIDEOS_JOB).success
    assert sandbox.billed == 1


def test_requests_that_were_lost_with_their_ticks_try_nothing(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, clock: Clock
) -> None:
    submit(daemon, production, rows_of(a="a fox"))
    wait_until_rendered(sandbox, clock)
    for _ in range(MOST_TRIES + 2):
        assert len(daemon.tick(POLL).requests) == 1
        clock.turn(LEASE_S + 1)
    assert daemon.run(daemon.tick(POLL).request, VIDEOS_JOB).success
    assert standing(ledger, "a").delivered is not None


def test_clip_past_its_deadline_is_shown_and_keeps_its_prediction(
    daemon: Daemon, ledger: Ledger, production: Producer, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SORA_GENERATION_TIMEOUT_S", "100")
    submit(daemon, production, rows_of(a="[sandbox:stuck] a fox"))
    clock.turn(101)
    request = daemon.tick(POLL).request
    assert latest(ledger, "a").state is AttemptState.TIMED_OUT
    assert not daemon.run(request, VIDEOS_JOB).success
    assert daemon.tick(DISPATCH).skipped == "no clip is pending", "nothing is paid for again"
    assert daemon.tick(POLL).requests == []


def test_outage_changes_nothing(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, clock: Clock
) -> None:
    submit(daemon, production, rows_of(a="a fox"))
    sandbox.change(outage="503")
    clock.turn(2)
    assert daemon.tick(POLL).requests == []
    assert latest(ledger, "a").state is AttemptState.IN_FLIGHT


def test_videos_whose_run_is_still_queued_are_not_asked_for_again(
    daemon: Daemon, ledger: Ledger, production: Producer, sandbox: Sandbox, clock: Clock
) -> None:
    """A long queue is no reason to give a video up."""
    submit(daemon, production, rows_of(a="a fox", b="an owl"))
    wait_until_rendered(sandbox, clock)
    request = daemon.tick(POLL).request
    daemon.a_run(dg.DagsterRunStatus.NOT_STARTED, dict(request.tags), VIDEOS_JOB)
    for _ in range(MOST_TRIES + 1):
        clock.turn(LEASE_S + 1)
        assert daemon.tick(POLL).requests == []
    assert {latest(ledger, each).result.collect_tries for each in ("a", "b")} == {1}

"""Turns: a rate that holds over everybody who works with a ledger, and a clock that all machines share."""

import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context

import pytest
import time_machine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.exc import OperationalError

from sora_pipeline.ledger import Ledger, database
from sora_pipeline.ledger.server_clock import ServerClock
from sora_pipeline_tests.ledger import racing
from sora_pipeline_tests.ledger.world import SANDBOX, Clock, World


def most_in_a_minute(passed: list[float]) -> int:
    return max((sum(begin <= each < begin + 59.999 for each in passed) for begin in passed), default=0)


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    per_minute=st.sampled_from([1, 2, 7, 30, 120]),
    waits=st.lists(st.floats(0, 90), max_size=20),
    wanted=st.integers(1, 9),
)
def test_no_minute_sees_more_than_the_limit_and_nobody_waits_for_ever(
    empty: Callable[[], Ledger], per_minute: int, waits: list[float], wanted: int
) -> None:
    ledger = empty()
    clock = ledger.now
    assert isinstance(clock, Clock)
    began, passed = clock.moment, []
    for wait_s in waits:
        clock.turn(wait_s)
        for _ in range(5):
            while not (taken := ledger.turns.take("sandbox", per_minute, wanted)).turns:
                assert 0 < taken.wait_s <= 61.001
                clock.turn(taken.wait_s)
            passed += [(clock.moment - began).total_seconds()] * taken.turns
    assert most_in_a_minute(passed) <= per_minute


def test_accounts_have_turns_of_their_own(ledger: Ledger) -> None:
    assert [ledger.turns.take(name, 1).turns for name in ("a", "a", "b", "b")] == [1, 0, 1, 0]


def test_as_many_turns_are_taken_at_once_as_have_come(ledger: Ledger, clock: Clock) -> None:
    burst, apart_s = 6, 61 / 55
    assert ledger.turns.take("sandbox", 60, 4) == (4, 0)
    assert ledger.turns.take("sandbox", 60, 100) == (burst - 4, 0)
    none = ledger.turns.take("sandbox", 60, 100)
    assert none.turns == 0
    assert none.wait_s == pytest.approx(apart_s, abs=1e-3)
    clock.turn(2 * apart_s)
    assert ledger.turns.take("sandbox", 60, 100) == (2, 0)
    assert ledger.turns.take("sandbox", 60, 100).turns == 0


def test_turn_that_a_fast_clock_took_holds_nobody_up(ledger: Ledger, clock: Clock) -> None:
    clock.turn(3600)
    ledger.turns.take("sandbox", 60)
    clock.turn(-3600)
    assert ledger.turns.take("sandbox", 60) == (1, 0)


def test_nobody_passes_while_the_ledger_cannot_be_read(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a turn nor the end of a pause can be seen; that is no clip's fault."""

    def away() -> None:
        raise OperationalError("SELECT 1", {}, sqlite3.OperationalError("unable to open database file"))

    monkeypatch.setattr(ledger.database.engine, "connect", away)
    monkeypatch.setattr(database, "OUTAGE_S", 0.1)
    monkeypatch.setattr(ledger.database, "_outage_s", 0.1)
    assert ledger.turns.take("sandbox", 60) == (0, database.AWAY_S)
    assert ledger.pauses.left_s("sandbox") == database.AWAY_S


def test_higher_rate_holds_at_once(ledger: Ledger) -> None:
    ledger.turns.take("sandbox", 1)
    assert ledger.turns.take("sandbox", 600) == (1, 0)


def test_processes_share_a_rate(url: str) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as processes:
        list(processes.map(warm_up, range(4)))
        start = time.time() + 0.5
        took = list(processes.map(partial(racing.take_turns, url, start, 3.0, 600), range(4)))
    passed = sum(took)
    # Sixty at once, and ten a second less those: never more, and nearly all of them.
    assert 60 + 2.0 * 9 <= passed <= 60 + 3.2 * 9.2


def warm_up(_: int) -> int:
    return racing.warm_up()


@pytest.mark.services
@pytest.mark.parametrize("new_url", ["postgresql"], indirect=True)
@pytest.mark.parametrize("off_s", [-300, 300])
def test_machine_whose_clock_is_off_agrees_with_the_others(new_url: Callable[[], str], off_s: int) -> None:
    """What it takes is neither taken over at once nor held for minutes."""
    url = new_url()
    right = Ledger(url)
    assert isinstance(right.now, ServerClock)
    with time_machine.travel(datetime.now(UTC) + timedelta(seconds=off_s), tick=True):
        wrong = Ledger(url)
        assert abs((wrong.now() - right.now()).total_seconds()) < 1
        world = World(wrong, wrong.now)  # type: ignore[arg-type]  # only asked what time it is
        world.register("a")
        attempt_id = world.submitting("a", owner="wrong")
    right.attempts.claim([attempt_id], "right", 60)
    attempt = right.attempts.get(attempt_id)
    left_s = (attempt.lease.until - right.now()).total_seconds() if attempt.lease.until else 0
    assert attempt.lease.owner == "wrong"
    assert 55 < left_s <= 60
    assert right.turns.take(SANDBOX.name, 1) == (1, 0)
    for ledger in (right, wrong):
        ledger.close()


@pytest.mark.services
@pytest.mark.parametrize("new_url", ["postgresql"], indirect=True)
def test_clock_that_is_set_while_a_run_goes_on_changes_nothing(new_url: Callable[[], str]) -> None:
    ledger = Ledger(new_url())
    before = ledger.now()
    with time_machine.travel(datetime.now(UTC) + timedelta(hours=2), tick=True):
        assert abs((ledger.now() - before).total_seconds()) < 5
    ledger.close()

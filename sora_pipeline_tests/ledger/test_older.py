"""A ledger is copied, goes on, is lost, and the copy learns what was paid for since: the newer ledger is what is told of it."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from sora_pipeline.ledger import Attempt, Ledger
from sora_pipeline.ledger.backup import back_up
from sora_pipeline.ledger.database import LedgerError
from sora_pipeline.ledger.restore import LOST_END, LedgerContents
from sora_pipeline_tests.conftest import refusal
from sora_pipeline_tests.ledger.recount import require_right_counters
from sora_pipeline_tests.ledger.world import SANDBOX, VIDEO, Clock, World


@pytest.fixture
def sqlite_ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'ledger.db'}", now=Clock())


@pytest.fixture
def world(sqlite_ledger: Ledger) -> World:
    clock = sqlite_ledger.now
    assert isinstance(clock, Clock)
    world = World(sqlite_ledger, clock)
    world.register("a", "b", "c", "d")
    return world


@pytest.fixture
def copied(world: World, tmp_path: Path) -> Callable[[], World]:
    """Makes a copy of the ledger as it is, and opens that."""

    def copy() -> World:
        file = tmp_path / "copy.db"
        back_up(world.ledger.database, file, world.clock())
        ledger = Ledger(f"sqlite:///{file}", now=world.clock)
        return World.known(ledger, world.clock, ledger.productions.get(world.production_id), SANDBOX)

    return copy


def told_by(world: World) -> LedgerContents:
    return LedgerContents(world.ledger.productions.all(), (), world.all_attempts())


def short(attempts: list[Attempt]) -> list[tuple[str, int, str, str | None]]:
    return [(a.clip_id, a.number, a.state.value, a.submission.prediction_id) for a in attempts]


def learn(copy: World, world: World) -> int:
    learned = copy.ledger.older.learn(told_by(world), {world.production_id: world.production.change_seq})
    require_right_counters(copy.ledger)
    assert copy.production.paused_at is not None
    assert copy.production.change_seq > world.production.change_seq
    return learned


def test_copy_is_whole_private_and_paused(world: World, copied: Callable[[], World], tmp_path: Path) -> None:
    world.at("in_flight", "a")
    copy = copied()
    assert short(copy.all_attempts()) == short(world.all_attempts())
    assert copy.production.paused_at is not None
    assert world.production.paused_at is None
    assert (tmp_path / "copy.db").stat().st_mode & 0o077 == 0
    with sqlite3.connect(tmp_path / "copy.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    with pytest.raises(LedgerError, match="nothing is written over"):
        back_up(world.ledger.database, tmp_path / "copy.db", world.clock())
    with pytest.raises(LedgerError, match="cannot be written"):
        back_up(world.ledger.database, tmp_path / "nowhere" / "copy.db", world.clock())
    assert [each.name for each in tmp_path.glob("*.unfinished*")] == []


def test_what_was_submitted_since_is_known_and_nothing_else_changes(
    world: World, copied: Callable[[], World]
) -> None:
    world.at("collected", "a")
    copy = copied()
    world.at("in_flight", "b")
    world.at("collected", "c")
    assert learn(copy, world) == 2
    assert short(copy.all_attempts()) == short(world.all_attempts())
    assert copy.pending() == ["d"]
    assert learn(copy, world) == 0, "what is known is learned once"


def test_what_lived_and_was_stored_since_is_collected(world: World, copied: Callable[[], World]) -> None:
    attempt_id = world.at("in_flight", "a")
    copy = copied()
    world.succeed(attempt_id)
    assert world.attempts.collect(attempt_id, VIDEO, run_id="run")
    assert learn(copy, world) == 0
    assert short(copy.all_attempts()) == short(world.all_attempts())


def test_what_was_stored_since_and_made_once_more_is_both(world: World, copied: Callable[[], World]) -> None:
    attempt_id = world.at("in_flight", "a")
    copy = copied()
    world.succeed(attempt_id)
    assert world.attempts.collect(attempt_id, VIDEO, run_id="run")
    world.in_flight("a", force=True)
    assert learn(copy, world) == 1
    assert short(copy.all_attempts()) == short(world.all_attempts())


def test_attempt_that_followed_ends_the_one_that_lived(world: World, copied: Callable[[], World]) -> None:
    attempt_id = world.at("in_flight", "a")
    copy = copied()
    assert world.attempts.fail(attempt_id, "oops", "it failed", retryable=True, reported=True)
    world.at("in_flight", "a")
    assert learn(copy, world) == 1
    first, second = copy.all_attempts()
    assert first.failure is not None
    assert (first.state, first.failure.message, first.billed) == ("failed", LOST_END, True)
    assert short([second]) == short(world.all_attempts()[1:])
    assert copy.pending() == ["b", "c", "d"]


def test_submit_that_was_under_way_is_known_by_its_prediction(
    world: World, copied: Callable[[], World]
) -> None:
    attempt_id = world.at("submitting", "a")
    copy = copied()
    world.accept(attempt_id)
    assert learn(copy, world) == 1
    assert short(copy.all_attempts()) == short(world.all_attempts())


def test_reservation_is_given_up_and_waits_for_a_person(world: World, copied: Callable[[], World]) -> None:
    world.at("reserved", "a")
    copy = copied()
    assert learn(copy, world) == 0
    assert copy.all_attempts() == []
    assert copy.try_reserve("a") == []


def test_production_that_began_since_comes_along(world: World, copied: Callable[[], World]) -> None:
    copy = copied()
    later = World(world.ledger, world.clock, name="later")
    told = LedgerContents([later.production], (), ())
    assert copy.ledger.older.learn(told, {}) == 0
    found = copy.ledger.productions.get("later")
    assert found.paused_at is not None


def test_ledger_on_a_server_is_backed_up_by_its_own_tools(ledger: Ledger, tmp_path: Path) -> None:
    if ledger.database.is_sqlite:
        back_up(ledger.database, tmp_path / "copy.db", ledger.now())
        return
    with refusal(LedgerError, "pg_dump"):
        back_up(ledger.database, tmp_path / "copy.db", ledger.now())

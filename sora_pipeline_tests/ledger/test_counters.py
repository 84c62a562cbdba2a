"""Counters of clips and money: right after every transition, whatever the settings are, and none moves without its cause.

That they are right is asked after every test of this folder (``conftest.ledger``), after random histories, and after races.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, update

from benchmarks.many_attempts import ACCOUNT, Sizes, fill, key_of, production_of
from sora_pipeline.admission.holds import still_to_pay_usd
from sora_pipeline.clip import Size
from sora_pipeline.ledger import AttemptState, Ledger, Limits
from sora_pipeline.ledger.schema import charges, clip_counts
from sora_pipeline.ledger.types import ClipCounts, PendingKind
from sora_pipeline.production.progress import progress_of
from sora_pipeline.provider.catalogue import load_catalogue
from sora_pipeline.settings import Settings
from sora_pipeline_tests.ledger.recount import require_right_counters
from sora_pipeline_tests.ledger.world import VIDEO, World, clip


def test_attempts_that_a_clip_may_have_are_a_setting_that_may_change(world: World) -> None:
    world.register("a", "b")
    for _ in range(2):
        world.failed("a", retryable=True)
    counts = world.ledger.clips.counts
    assert [counts(world.production_id, most).pending for most in (1, 2, 3)] == [1, 1, 2]
    assert [counts(world.production_id, most).failed for most in (1, 2, 3)] == [1, 1, 0]


def test_rendered_video_that_nobody_fetches_is_told_from_one_that_is_fetched(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    assert world.counts().live == {(AttemptState.SUCCEEDED, False): 1}
    world.attempts.give_up_fetching([attempt_id])
    assert world.counts().live == {(AttemptState.SUCCEEDED, True): 1}
    assert world.attempts.fetch_again(attempt_id)
    assert world.counts().live == {(AttemptState.SUCCEEDED, False): 1}


def test_clip_that_is_made_once_more_is_delivered_again_where_that_fails(world: World) -> None:
    world.register("a")
    world.collected()
    attempt_id = world.in_flight(force=True)
    assert (world.counts().delivered, world.counts().live) == (0, {(AttemptState.IN_FLIGHT, False): 1})
    assert world.attempts.fail(attempt_id, "oops", "no", retryable=True, reported=True)
    assert (world.counts().delivered, world.counts().live) == (1, {})


def test_lost_file_is_no_delivery_any_more(world: World) -> None:
    world.register("a")
    attempt_id = world.collected()
    assert world.attempts.fetch_lost(attempt_id)
    assert world.counts().delivered == 0
    assert world.attempts.collect(attempt_id, VIDEO, run_id="run")
    assert world.counts().delivered == 1


def test_clips_that_a_manifest_names_no_longer_count_for_nothing_until_it_does(world: World) -> None:
    world.register("a", "b", "c")
    world.collected("a")
    under_way = world.in_flight("b")
    world.register("c")
    assert world.counts() == ClipCounts(clips=1, live={}, delivered=0, pending=1, failed=0)
    assert world.succeed(under_way)
    assert world.counts().clips == 1
    world.register("a", "b", "c")
    assert world.counts().live == {(AttemptState.SUCCEEDED, False): 1}
    assert (world.counts().delivered, world.counts().pending) == (1, 1)


def test_request_for_other_clips_stops_counting_those_it_does_not_ask_for(world: World) -> None:
    world.register("a", "b")
    world.ledger.productions.request(world.plan, wanted=[world.made_here(clip("b"))])
    assert (world.counts().clips, world.pending()) == (1, ["b"])


def test_pending_clips_are_told_by_what_decides_their_price_the_most_frequent_first(world: World) -> None:
    long = replace(clip("c"), duration=8, size=Size(1280, 720))
    world.register("a", "b", long, replace(clip("d"), model="sora-2-pro"))
    world.collected("d")
    kinds = world.ledger.clips.pending_kinds(world.production_id, 3)
    assert kinds == [
        PendingKind("sora-2", 4, Size(720, 1280), 2),
        PendingKind("sora-2", 8, Size(1280, 720), 1),
    ]


def test_reading_a_manifest_puts_counters_right_that_were_wrong(world: World) -> None:
    world.register("a", "b")
    world.collected("a")
    with world.ledger.database.write() as connection:
        for table, wrong in ((clip_counts, {"clips": 7}), (charges, {"sent_micros": 7})):
            mine = table.c.production_id == world.production_id
            connection.execute(update(table).where(mine).values(**wrong))
    assert world.counts().clips > 2
    assert world.committed() < 1
    world.register("a", "b")
    assert (world.counts().clips, world.committed()) == (2, 1)


@contextmanager
def failing(ledger: Ledger, what: str) -> Iterator[None]:
    """A database that takes everything but one kind of statement."""

    def refuse(_connection: Any, _cursor: Any, sql: str, *_: Any) -> None:
        if sql.startswith(what):
            raise RuntimeError(what)

    event.listen(ledger.database.engine, "before_cursor_execute", refuse)
    try:
        with pytest.raises(RuntimeError, match=what):
            yield
    finally:
        event.remove(ledger.database.engine, "before_cursor_execute", refuse)


@pytest.mark.parametrize("what", ["INSERT INTO clip_counts", "INSERT INTO charges", "UPDATE clips"])
def test_what_cannot_be_counted_does_not_happen(world: World, what: str) -> None:
    world.register("a", "b")
    before = world.snapshot()
    with failing(world.ledger, what):
        world.try_reserve("a")
    assert world.snapshot() == before
    attempt_id = world.submitting("b")
    before = world.snapshot()
    with failing(world.ledger, what):
        world.attempts.fail(attempt_id, "oops", "no", retryable=True, reported=True)
    assert world.snapshot() == before
    with failing(world.ledger, "INSERT INTO clip_counts"):
        world.register("b")
    assert world.snapshot() == before


def test_transition_that_does_not_happen_counts_nothing(world: World) -> None:
    world.register("a")
    attempt_id = world.collected()
    before = world.snapshot()
    assert not world.accept(attempt_id)
    assert not world.attempts.release(attempt_id)
    assert not world.attempts.time_out(attempt_id, "late")
    assert world.snapshot() == before


class Steps:
    """Counts what SQLite's machine does, which no load of the computer changes."""

    EVERY = 10

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def of(self, call: Callable[[], object]) -> int:
        taken = 0

        def note() -> int:
            nonlocal taken
            taken += self.EVERY
            return 0

        def watch(connection: Any, *_: Any) -> None:
            connection.set_progress_handler(note, self.EVERY)

        engine = self._ledger.database.engine
        call()  # not what is done once
        event.listen(engine, "checkout", watch)
        call()
        event.remove(engine, "checkout", watch)
        with engine.connect() as connection:
            raw: Any = connection.connection.dbapi_connection
            raw.set_progress_handler(None, 0)
        return taken


def looks(ledger: Ledger, clips: int) -> dict[str, int]:
    """What each look at a ledger of so many clips makes SQLite do, and each transition."""
    sizes = Sizes(clips, live=20, waiting=clips // 2, productions=1)
    fill(ledger, sizes)
    require_right_counters(ledger)
    production = ledger.productions.get(production_of(1, sizes))
    settings, catalogue = Settings(provider="gptproto", api_key="none"), load_catalogue(None)
    attempts, account = ledger.attempts, ACCOUNT.name
    waiting, in_flight = iter(range(clips, 0, -1)), iter(attempts.live(AttemptState.IN_FLIGHT))
    limits = Limits(max_in_flight=1000, max_attempts=3, daily_micros=10**15)

    def reserve() -> None:
        costs = {key_of(next(waiting), sizes): 1}
        made = attempts.reserve(costs, account=ACCOUNT, batch_id="new", limits=limits, lease_s=60)
        assert len(made.reserved) == 1

    calls: dict[str, Callable[[], object]] = {
        "progress": lambda: progress_of(ledger, production, settings, catalogue),
        "still to pay": lambda: still_to_pay_usd(ledger, production, settings, catalogue),
        "money of today": lambda: ledger.money.of_today(account),
        "the next clips": lambda: ledger.clips.pending_clips(3, pipeline="", account=account, limit=10),
        "free slots": lambda: attempts.slots_taken(account),
        "what is due": lambda: attempts.due(10, account=account, pipeline=""),
        "what ended": lambda: attempts.unreported(""),
        "what stands in the way": lambda: attempts.superseded(account, "", limit=10),
        "open accounts": attempts.open_accounts,
        "last ends": lambda: attempts.last_ends(account, 10, since=None),
        "a reservation": reserve,
        "a transition": lambda: attempts.time_out(next(in_flight).attempt_id, "late"),
        "a heartbeat": lambda: attempts.heartbeat("run-1", 60),
    }
    return {name: Steps(ledger).of(call) for name, call in calls.items()}


@pytest.mark.parametrize("new_url", ["sqlite"], indirect=True)
def test_looks_and_transitions_take_as_long_at_many_clips_as_at_few(empty: Callable[[], Ledger]) -> None:
    few, many = looks(empty(), 200), looks(empty(), 10_000)
    assert few["progress"] > 100
    assert {name: steps for name, steps in many.items() if steps > 2 * few[name]} == {}


def test_committed_money_counts_what_was_reserved_and_not_sent_once(world: World) -> None:
    world.register("a")
    attempt_id = world.submitting()
    for _ in range(2):
        assert world.attempts.withdraw(attempt_id, "rate_limited", "later")
        assert world.ledger.money.of_today(world.account.name).committed_usd >= 1
        assert world.committed() == 1
        assert world.begin_submit(attempt_id)
    assert world.committed() == 1

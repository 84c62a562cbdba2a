"""Threads and processes that want the same thing at the same moment: the database lets exactly one have it."""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from multiprocessing import get_context
from typing import Any

import pytest
from sqlalchemy import update

from sora_pipeline.ledger import Ledger, Limits, database, server_clock
from sora_pipeline.ledger.counters import count_production, lock_productions
from sora_pipeline.ledger.reservations import give_up_reservations
from sora_pipeline.ledger.schema import attempts, clips
from sora_pipeline_tests.ledger import racing
from sora_pipeline_tests.ledger.recount import require_right_counters
from sora_pipeline_tests.ledger.world import DOLLAR, REAL, SECOND, Clock, World

RACERS = 3
CENT = DOLLAR // 100
WIDE = Limits(max_in_flight=1000, max_attempts=3)


@pytest.fixture(scope="module")
def processes() -> Iterator[Executor]:
    with ProcessPoolExecutor(RACERS, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(racing.warm_up) for _ in range(RACERS)]:
            future.result()
        yield pool


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    with ThreadPoolExecutor(RACERS) as pool:
        yield pool


@pytest.fixture(params=["threads", "processes"])
def racers(request: pytest.FixtureRequest) -> Executor:
    pool: Executor = request.getfixturevalue(request.param)
    return pool


@pytest.fixture
def worlds(ledger: Ledger, clock: Clock) -> list[World]:
    """Two productions with the same clip ids at one account, and one at another; racers have the real clock."""
    clock.moment = datetime.now(UTC)
    return [
        World(ledger, clock, name="monday", account=REAL),
        World(ledger, clock, name="tuesday", account=REAL),
        World(ledger, clock, name="wednesday", account=SECOND),
    ]


def keys_of(worlds: Sequence[World], clips: Sequence[str]) -> list[str]:
    """The clips' keys in all of these, in turn."""
    return [world.key(clip) for clip in clips for world in worlds]


def race(racers: Executor, run: Callable[..., Any], url: str, each: Sequence[tuple[Any, ...]]) -> list[Any]:
    start = time.time() + 0.2
    return [future.result() for future in [racers.submit(run, url, start, *mine) for mine in each]]


def test_racing_reservations_of_the_same_clips_have_one_winner_each(
    worlds: list[World], racers: Executor, url: str
) -> None:
    clips = [f"clip-{number}" for number in range(10)]
    for world in worlds:
        world.register(*clips)
    wanted = keys_of(worlds, clips)
    won = race(racers, racing.reserve_each, url, [(wanted, DOLLAR, WIDE, REAL)] * RACERS)
    assert Counter(key for mine in won for key in mine) == dict.fromkeys(keys_of(worlds[:2], clips), 1)
    won = race(racers, racing.reserve_each, url, [(wanted, DOLLAR, WIDE, SECOND)] * RACERS)
    assert Counter(key for mine in won for key in mine) == dict.fromkeys(keys_of(worlds[2:], clips), 1)


def test_racing_submits_of_the_same_attempts_have_one_winner_each(
    worlds: list[World], racers: Executor, url: str
) -> None:
    ids = reserved_in(worlds)
    won = race(racers, racing.begin_each, url, [(ids, f"run {number}") for number in range(RACERS)])
    assert Counter(attempt for mine in won for attempt in mine) == dict.fromkeys(ids, 1)


def reserved_in(worlds: list[World]) -> list[int]:
    """Attempts of all worlds, the same clip ids in each, in turn."""
    clips = [f"clip-{number}" for number in range(8)]
    made = []
    for world in worlds:
        world.register(*clips)
        made.append([each.attempt_id for each in world.try_reserve(*clips)])
    return [attempt for each in zip(*made, strict=True) for attempt in each]


def test_one_run_that_submits_an_attempt_twice_at_once_sends_it_once(
    worlds: list[World], racers: Executor, url: str
) -> None:
    """A step that was retried while its first try still lives has the same owner."""
    ids = reserved_in(worlds)
    won = race(racers, racing.begin_each, url, [(ids, "the same run")] * RACERS)
    assert Counter(attempt for mine in won for attempt in mine) == dict.fromkeys(ids, 1)


def test_racing_collectors_of_the_same_videos_have_one_winner_each(
    worlds: list[World], racers: Executor, url: str
) -> None:
    clips = [f"clip-{number}" for number in range(5)]
    ids = []
    for world in worlds:
        world.register(*clips)
        ids += [world.succeeded(each) for each in clips]
    won = race(racers, racing.collect_each, url, [(ids, f"run {number}") for number in range(RACERS)])
    assert Counter(attempt for mine in won for attempt in mine) == dict.fromkeys(ids, 1)


def test_slots_of_an_account_are_never_overspent_by_racers_and_never_taken_by_another(
    worlds: list[World], racers: Executor, url: str
) -> None:
    clips = [f"clip-{number}" for number in range(10)]
    for world in worlds:
        world.register(*clips)
    limits = Limits(max_in_flight=7, max_attempts=3)
    each = [
        (keys_of(worlds[:2], clips), DOLLAR, limits, REAL),
        (keys_of(worlds[1:], clips), DOLLAR, limits, REAL),
        (keys_of(worlds, clips), DOLLAR, limits, SECOND),
    ]
    won = race(racers, racing.reserve_each, url, each)
    assert len(won[0]) + len(won[1]) == 7
    assert len(won[2]) == 7
    assert [world.slots_taken() for world in worlds] == [7, 7, 7]


def test_budget_is_never_overspent_by_racers_not_by_a_cent(
    ledger: Ledger, clock: Clock, racers: Executor, url: str
) -> None:
    worlds = [
        World(ledger, clock, name=name, account=REAL, budget=Decimal("5.00")) for name in ("one", "two")
    ]
    clips = [f"clip-{number}" for number in range(10)]
    for world in worlds:
        world.register(*clips)
    cost = 111 * CENT  # four fit each, and some cents stay
    won = race(racers, racing.reserve_each, url, [(keys_of(worlds, clips), cost, WIDE, REAL)] * RACERS)
    assert sum(len(each) for each in won) == 8
    assert [world.committed() for world in worlds] == [Decimal("4.44"), Decimal("4.44")]


def test_days_budget_of_an_account_is_never_overspent_by_racers_not_by_a_cent(
    worlds: list[World], racers: Executor, url: str
) -> None:
    clips = [f"clip-{number}" for number in range(10)]
    for world in worlds:
        world.register(*clips)
    limits = Limits(max_in_flight=1000, max_attempts=3, daily_micros=1000 * CENT)
    mine = [(keys_of(worlds[:2], clips), 111 * CENT, limits, REAL)] * 2
    won = race(
        racers, racing.reserve_each, url, [*mine, (keys_of(worlds[2:], clips), 111 * CENT, limits, SECOND)]
    )
    assert (len(won[0]) + len(won[1]), len(won[2])) == (9, 9)
    for account in (REAL, SECOND):
        assert worlds[0].ledger.money.of_today(account.name).committed_usd == Decimal("9.99")


def test_what_is_sent_while_others_reserve_is_not_missed_in_the_days_budget(
    ledger: Ledger, clock: Clock, racers: Executor, url: str
) -> None:
    clock.moment = datetime.now(UTC)
    worlds = [World(ledger, clock, name=name, account=REAL) for name in ("one", "two")]
    clips = [f"clip-{number}" for number in range(10)]
    for world in worlds:
        world.register(*clips)
    ids = [each.attempt_id for world in worlds for each in world.try_reserve(*clips[:4], cost=DOLLAR)]
    full = Limits(max_in_flight=1000, max_attempts=3, daily_micros=len(ids) * DOLLAR)
    start = time.time() + 0.2
    sending = racers.submit(racing.send_and_withdraw, url, start, ids, "run")
    wanted = keys_of(worlds, clips[4:]) * 5
    assert racers.submit(racing.reserve_each, url, start, wanted, DOLLAR, full, REAL).result() == []
    sending.result()


@pytest.mark.parametrize("change", ["wanted no longer", "given up"])
def test_submit_that_waits_for_a_change_of_its_production_goes_by_what_is_wanted_then(
    worlds: list[World], threads: Executor, change: str
) -> None:
    world = worlds[0]
    world.register("a")
    attempt_id = world.reserved()
    with world.ledger.database.exclusive() as connection:  # as whoever reads a manifest, or cancels
        lock_productions(connection, [world.production_id])
        begun = threads.submit(world.begin_submit, attempt_id)
        time.sleep(0.3)
        if change == "given up":
            give_up_reservations(connection, attempts.c.clip_key == world.key("a"))
        else:
            connection.execute(update(clips).where(clips.c.clip_key == world.key("a")).values(active=False))
            count_production(connection, world.production_id)
    assert begun.result() is False


def test_more_threads_than_connections_wait_for_one(
    worlds: list[World], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An accepted submit is paid for, however long somebody else holds its production."""
    monkeypatch.setattr(database, "POOL_PATIENCE_S", 0.2)
    monkeypatch.setattr(server_clock, "AGAIN_S", 0.1)
    several = Ledger(url)
    world, names = worlds[0], [f"clip-{number}" for number in range(20)]
    world.register(*names)
    ids = [world.submitting(name) for name in names]
    theirs = World.known(several, Clock(), world.production, REAL)
    with ThreadPoolExecutor(len(ids)) as pool:
        with world.ledger.database.exclusive() as connection:
            lock_productions(connection, [world.production_id])
            accepted = [pool.submit(theirs.accept, attempt_id) for attempt_id in ids]
            time.sleep(1)
        assert all(each.result() for each in accepted)
    several.close()


def test_whole_lives_side_by_side_neither_lock_up_nor_overspend(
    ledger: Ledger, clock: Clock, racers: Executor, url: str
) -> None:
    budgets = {"one": Decimal("6.00"), "two": Decimal("4.00"), "three": Decimal("2.00")}
    accounts = {"one": REAL, "two": REAL, "three": SECOND}
    worlds = [
        World(ledger, clock, name=name, account=accounts[name], budget=budget)
        for name, budget in budgets.items()
    ]
    clips = [f"clip-{number}" for number in range(4)]
    for world in worlds:
        world.register(*clips)
    wanted = keys_of(worlds, clips) * 2
    each = [
        (wanted, DOLLAR, Limits(2, 3), account, f"run {number}")
        for number, account in enumerate([REAL, REAL, SECOND])
    ]
    accepted = race(racers, racing.whole_lives, url, each)
    assert accepted[0] + accepted[1] == worlds[0].committed() + worlds[1].committed()
    assert accepted[2] == worlds[2].committed()
    assert all(world.committed() <= budgets[world.production_id] for world in worlds)
    for world in worlds:
        assert all(standing.attempts <= 3 for standing in world.standings(*clips).values())
        assert {attempt.account for attempt in world.all_attempts()} <= {accounts[world.production_id]}


@pytest.mark.parametrize("seed", range(2))
def test_counters_are_right_whatever_is_done_at_once(
    worlds: list[World], racers: Executor, url: str, seed: int
) -> None:
    """Few clips in few productions, so that the same ones are changed at the same moment."""
    clips = ["a", "b", "c", "d"]
    for world in worlds:
        world.register(*clips)
    names = [world.production_id for world in worlds[1:]]
    each = [(seed * RACERS + number, names, clips) for number in range(RACERS)]
    assert min(race(racers, racing.anything, url, each)) > 5
    require_right_counters(worlds[0].ledger)


@pytest.mark.parametrize("time", range(3))
def test_fresh_ledger_is_opened_by_many_at_once(
    new_url: Callable[[], str], processes: Executor, time: int
) -> None:
    race(processes, racing.open_ledger, new_url(), [()] * RACERS)

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

from sora_pipeline.ledger import Ledger, Limits
from sora_pipeline_tests.ledger import racing
from sora_pipeline_tests.ledger.world import DOLLAR, Clock, World

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
def real_time_world(world: World) -> World:
    """Other threads and processes have the real clock."""
    world.clock.moment = datetime.now(UTC)
    return world


def race(racers: Executor, run: Callable[..., Any], url: str, each: Sequence[tuple[Any, ...]]) -> list[Any]:
    start = time.time() + 0.2
    return [future.result() for future in [racers.submit(run, url, start, *mine) for mine in each]]


def test_racing_reservations_of_the_same_clips_have_one_winner_each(
    real_time_world: World, racers: Executor, url: str
) -> None:
    clips = [f"clip-{number}" for number in range(20)]
    real_time_world.register(*clips)
    won = race(racers, racing.reserve_each, url, [(clips, DOLLAR, WIDE)] * RACERS)
    assert Counter(clip for mine in won for clip in mine) == dict.fromkeys(clips, 1)


def test_racing_submits_of_the_same_attempts_have_one_winner_each(
    real_time_world: World, racers: Executor, url: str
) -> None:
    clips = [f"clip-{number}" for number in range(20)]
    real_time_world.register(*clips)
    ids = [each.attempt_id for each in real_time_world.try_reserve(*clips)]
    won = race(racers, racing.begin_each, url, [(ids, f"run {number}") for number in range(RACERS)])
    assert Counter(attempt for mine in won for attempt in mine) == dict.fromkeys(ids, 1)


def test_one_run_that_submits_an_attempt_twice_at_once_sends_it_once(
    real_time_world: World, racers: Executor, url: str
) -> None:
    """A step that was retried while its first try still lives has the same owner."""
    clips = [f"clip-{number}" for number in range(20)]
    real_time_world.register(*clips)
    ids = [each.attempt_id for each in real_time_world.try_reserve(*clips)]
    won = race(racers, racing.begin_each, url, [(ids, "the same run")] * RACERS)
    assert Counter(attempt for mine in won for attempt in mine) == dict.fromkeys(ids, 1)


def test_racing_collectors_of_the_same_videos_have_one_winner_each(
    real_time_world: World, racers: Executor, url: str
) -> None:
    clips = [f"clip-{number}" for number in range(10)]
    real_time_world.register(*clips)
    ids = [real_time_world.succeeded(each) for each in clips]
    won = race(racers, racing.collect_each, url, [(ids, f"run {number}") for number in range(RACERS)])
    assert Counter(attempt for mine in won for attempt in mine) == dict.fromkeys(ids, 1)


def test_slots_are_never_overspent_by_racers(real_time_world: World, racers: Executor, url: str) -> None:
    mine = [[f"clip-{racer}-{number}" for number in range(10)] for racer in range(RACERS)]
    real_time_world.register(*(clip for clips in mine for clip in clips))
    limits = Limits(max_in_flight=7, max_attempts=3)
    won = race(racers, racing.reserve_each, url, [(clips, DOLLAR, limits) for clips in mine])
    assert sum(len(clips) for clips in won) == 7
    assert real_time_world.attempts.slots_taken() == 7


def test_budget_is_never_overspent_by_racers_not_by_a_cent(
    ledger: Ledger, clock: Clock, racers: Executor, url: str
) -> None:
    world = World(ledger, clock, budget=Decimal("10.00"))
    mine = [[f"clip-{racer}-{number}" for number in range(10)] for racer in range(RACERS)]
    world.register(*(clip for clips in mine for clip in clips))
    cost = 111 * CENT  # nine fit, and one cent stays
    won = race(racers, racing.reserve_each, url, [(clips, cost, WIDE) for clips in mine])
    assert sum(len(clips) for clips in won) == 9
    assert world.committed() == Decimal("9.99")


def test_days_budget_is_never_overspent_by_racers_not_by_a_cent(
    real_time_world: World, racers: Executor, url: str
) -> None:
    mine = [[f"clip-{racer}-{number}" for number in range(10)] for racer in range(RACERS)]
    real_time_world.register(*(clip for clips in mine for clip in clips))
    limits = Limits(max_in_flight=1000, max_attempts=3, daily_micros=1000 * CENT)
    won = race(racers, racing.reserve_each, url, [(clips, 111 * CENT, limits) for clips in mine])
    assert sum(len(clips) for clips in won) == 9
    assert real_time_world.ledger.money.of_today("sandbox").committed_usd == Decimal("9.99")


def test_whole_lives_side_by_side_neither_lock_up_nor_overspend(
    ledger: Ledger, clock: Clock, racers: Executor, url: str
) -> None:
    world = World(ledger, clock, budget=Decimal("12.00"))
    clips = [f"clip-{number}" for number in range(8)]
    world.register(*clips)
    each = [(clips * 2, DOLLAR, Limits(2, 3), f"run {number}") for number in range(RACERS)]
    accepted = race(racers, racing.whole_lives, url, each)
    assert sum(accepted) <= 12
    assert world.committed() == sum(accepted)
    assert all(standing.attempts <= 3 for standing in ledger.clips.standings(clips).values())


@pytest.mark.parametrize("time", range(3))
def test_fresh_ledger_is_opened_by_many_at_once(
    new_url: Callable[[], str], processes: Executor, time: int
) -> None:
    race(processes, racing.open_ledger, new_url(), [()] * RACERS)

"""Money: budgets hold to the cent, per production and per day, and the report adds up to the bill."""

from dataclasses import replace
from decimal import Decimal

from sora_pipeline.ledger import Ledger, Limits
from sora_pipeline_tests.ledger.world import DOLLAR, REAL, SANDBOX, SECOND, Clock, World, clip

DAY_S = 86_400.0


def with_daily(world: World, dollars: float) -> World:
    world.limits = Limits(max_in_flight=100, max_attempts=3, daily_micros=int(dollars * DOLLAR))
    return world


def test_day_is_spent_to_the_cent_and_goes_on_after_midnight(world_apart: World) -> None:
    world = with_daily(world_apart, 2)
    world.register("a", "b", "c")
    assert [each.clip_id for each in world.try_reserve("a", "b", "c")] == ["a", "b"]
    assert world.try_reserve("c") == []
    for attempt in world.of_clips("a", "b"):
        assert world.begin_submit(attempt.attempt_id)
        assert world.accept(attempt.attempt_id)
    world.clock.turn(DAY_S / 2 - 1)
    assert world.try_reserve("c") == []
    world.clock.turn(1)  # the clock of the tests stood at noon
    assert [each.clip_id for each in world.try_reserve("c")] == ["c"]


def test_what_was_reserved_yesterday_and_not_sent_yet_counts_today(world_apart: World) -> None:
    world = with_daily(world_apart, 2)
    world.register("a", "b", "c")
    world.try_reserve("a", "b")
    world.clock.turn(DAY_S)
    assert world.try_reserve("c") == []
    assert world.ledger.money.of_today("sandbox").committed_usd == 2
    (attempt,) = world.of_clips("a")
    assert world.attempts.release(attempt.attempt_id)
    assert len(world.try_reserve("c")) == 1


def test_day_counts_lost_answers_and_every_billed_attempt_but_no_refusal(world_apart: World) -> None:
    world = with_daily(world_apart, 3)
    world.register("lost", "failed", "refused", "next", "late")
    world.ambiguous("lost")
    world.failed("failed", retryable=False)
    refused = world.submitting("refused")
    assert world.attempts.fail(refused, "invalid", "no", retryable=False, reported=True)
    today = world.ledger.money.of_today("sandbox")
    assert (today.spent_usd, today.committed_usd) == (2, 2)
    assert [each.clip_id for each in world.try_reserve("next", "late")] == ["next"]


def test_days_of_accounts_are_apart_and_of_productions_are_not(ledger: Ledger, clock: Clock) -> None:
    monday = with_daily(World(ledger, clock, name="monday", account=REAL), 2)
    tuesday = with_daily(World(ledger, clock, name="tuesday", account=REAL), 2)
    other = with_daily(World(ledger, clock, name="other", account=SECOND), 2)
    for world in (monday, tuesday, other):
        world.register("a", "b", "c")
    assert len(monday.try_reserve("a")) == 1
    assert [each.clip_id for each in tuesday.try_reserve("a", "b")] == ["a"]
    assert [each.clip_id for each in other.try_reserve("a", "b", "c")] == ["a", "b"]
    assert monday.try_reserve("b") == []
    assert tuesday.reserve({"c": DOLLAR}).no_budget == ["tuesday:c"]
    assert [ledger.money.of_today(name).committed_usd for name in ("gptproto", "second", "sandbox")] == [
        2,
        2,
        0,
    ]


def test_real_and_simulated_dollars_of_a_production_are_never_mixed(ledger: Ledger, clock: Clock) -> None:
    """Tried in the sandbox with the budget all spent, the production starts from zero at the real account."""
    world = World(ledger, clock, budget=Decimal(2))
    world.register("a", "b", "c")
    world.collected("a")
    world.in_flight("b")
    assert world.try_reserve("c") == []
    assert world.committed() == 2
    world.account = REAL
    world.register("a", "b", "c")
    assert world.committed() == 0, "sandbox dollars are nobody's"
    assert world.pending() == ["a", "c"], (
        "what the sandbox made is not the real thing, what it makes is still to come"
    )
    assert [each.clip_id for each in world.try_reserve("a", "c")] == ["a", "c"]
    assert world.committed() == 2
    assert [(line.simulated, line.spent_usd) for line in ledger.money.report([])] == [(True, 2)]
    for attempt in world.of_clips("a", "c"):
        if attempt.account == REAL:
            assert world.begin_submit(attempt.attempt_id)
            assert world.accept(attempt.attempt_id)
    lines = [(line.simulated, line.keys, line.spent_usd) for line in ledger.money.report(["account"])]
    assert lines == [(False, ("gptproto",), 2), (True, ("sandbox",), 2)]
    world.account = SANDBOX
    world.register("a", "b", "c")
    assert world.committed() == 2
    assert world.standing("a").delivered is not None, "the sandbox's video is its own again"


def test_raised_budget_lets_go_on_what_was_held(poor_world: World) -> None:
    poor_world.register("a", "b", "c", "d")
    assert len(poor_world.try_reserve("a", "b", "c", "d")) == 3
    assert poor_world.pending() == ["d"]
    poor_world.budget = Decimal(4)
    poor_world.register("a", "b", "c", "d")
    assert [each.clip_id for each in poor_world.try_reserve("d")] == ["d"]
    assert poor_world.committed() == 4


def test_report_by_day_model_and_carried_column_adds_up(world_apart: World) -> None:
    world = world_apart
    world.register(
        replace(clip("a"), carried={"campaign": "spring"}),
        replace(clip("b"), carried={"campaign": "spring"}),
        replace(clip("c"), carried={"campaign": "autumn"}, model="sora-2-pro"),
        clip("d"),
        clip("never sent"),
    )
    world.collected("a")
    world.failed("b", retryable=True)
    world.clock.turn(DAY_S)
    world.collected("b")
    world.in_flight("c")
    world.ambiguous("d")
    money = world.ledger.money
    by_campaign = {line.keys: line for line in money.report(["campaign"], ["campaign"])}
    spring = by_campaign["spring",]
    assert (spring.clips, spring.attempts, spring.delivered, spring.spent_usd) == (2, 3, 2, 3)
    assert (by_campaign["autumn",].spent_usd, by_campaign["",].spent_usd) == (1, 1)
    assert [(line.keys, line.spent_usd) for line in money.report(["day", "model"], ["campaign"])] == [
        (("2026-01-01", "sora-2"), 2),
        (("2026-01-02", "sora-2"), 2),
        (("2026-01-02", "sora-2-pro"), 1),
    ]
    spent = money.of_production(world.production_id).spent_usd
    for by in (["day"], ["model"], ["provider"], ["production"], ["campaign", "day"], ["no such column"]):
        assert sum(line.spent_usd for line in money.report(by, ["campaign"])) == spent == 5
        assert sum(line.spent_usd for line in money.report(by) if line.simulated) == spent
    assert money.report(["day"], ["another production"]) == []
    beside = money.report(["production"], ["campaign-2"])
    assert [line.keys for line in beside] == [("campaign-2",)]


def test_report_of_nothing_is_empty(ledger: Ledger) -> None:
    assert ledger.money.report(["day"]) == []
    assert ledger.money.report([]) == []

"""Cancelled clips and paused productions and accounts: nothing more is reserved or sent, nothing paid is lost."""

import pytest

from sora_pipeline.ledger import AttemptState, Ledger
from sora_pipeline_tests.ledger.world import DOLLAR, Clock, World, clip


def cancel(world: World, *clip_ids: str) -> tuple[int, int, int]:
    keys = world.keys(*clip_ids) or None
    done = world.ledger.cancellations.cancel(world.production_id, world.limits.max_attempts, keys)
    return done.stopped, done.under_way, done.under_way_micros


def test_cancelled_production_submits_nothing_more_and_keeps_what_is_under_way(world: World) -> None:
    world.register("a", "b", "c", "d", "e")
    world.collected("a")
    rendering = world.in_flight("b")
    world.reserved("c")
    world.failed("d", retryable=False)
    assert cancel(world) == (2, 1, DOLLAR)
    assert world.pending() == []
    assert world.counts().failed == 3
    assert world.committed() == 3  # a, b and d; the reservation of c is gone
    assert world.try_reserve("c", "e", force=True) == []
    assert world.succeed(rendering)
    assert world.counts().live == {(AttemptState.SUCCEEDED, False): 1}


def test_cancelled_clip_that_fails_at_the_provider_is_not_begun_again(world: World) -> None:
    world.register("a", "b")
    rendering = world.in_flight("a")
    assert cancel(world, "a") == (0, 1, DOLLAR)
    assert world.attempts.fail(rendering, "overloaded", "busy", retryable=True, reported=True)
    assert world.standing("a").cancelled
    assert world.pending() == ["b"]


def test_reservation_that_is_about_to_be_sent_is_not_sent_any_more(world: World) -> None:
    world.register("a")
    attempt_id = world.reserved("a")
    cancel(world)
    assert not world.begin_submit(attempt_id)


def test_submit_that_was_refused_for_now_is_not_sent_again_once_cancelled(world: World) -> None:
    world.register("a")
    attempt_id = world.submitting("a")
    assert cancel(world) == (0, 1, DOLLAR)
    assert world.attempts.withdraw(attempt_id, "connect", "refused")
    assert not world.begin_submit(attempt_id)


@pytest.mark.parametrize("how", ["retry", "changed row"])
def test_whoever_asks_for_a_cancelled_clip_has_it_made(world: World, how: str) -> None:
    world.register("a", "b")
    cancel(world)
    world.register("a", "b")
    assert world.pending() == []  # reading the manifest again is no wish for what was cancelled
    if how == "retry":
        world.ledger.clips.new_round(world.keys("a"))
    else:
        world.register(clip("a", "another prompt"), "b")
    assert world.pending() == ["a"]


def test_cancelling_one_production_leaves_the_other_with_the_same_ids(ledger: Ledger, clock: Clock) -> None:
    monday, tuesday = (World(ledger, clock, name=name) for name in ("monday", "tuesday"))
    for world in (monday, tuesday):
        world.register("a", "b")
    tuesday.reserved("b")
    assert cancel(monday) == (2, 0, 0)
    assert tuesday.state(tuesday.standing("b").latest.attempt_id) == AttemptState.RESERVED  # type: ignore[union-attr]
    assert tuesday.pending() == ["a"]


def test_cancelling_twice_finds_nothing_left(world: World) -> None:
    world.register("a")
    assert (cancel(world), cancel(world)) == ((1, 0, 0), (0, 0, 0))


@pytest.mark.parametrize("what", ["production", "account"])
def test_nothing_is_reserved_or_sent_while_paused(world: World, what: str) -> None:
    world.register("a", "b", "c")
    rendering, waiting = world.in_flight("a"), world.reserved("b")
    paused = world.ledger.paused
    pause, resume, name = {
        "production": (paused.pause_production, paused.resume_production, world.production_id),
        "account": (paused.pause_account, paused.resume_account, world.account.name),
    }[what]
    assert (pause(name), pause(name)) == (True, False)
    assert world.committed() == 1  # only what renders
    assert not world.begin_submit(waiting)
    refused = world.reserve({"b": DOLLAR, "c": DOLLAR})
    assert (refused.reserved, refused.elsewhere) == ([], world.keys("b", "c"))
    assert world.succeed(rendering)
    assert world.pending() == ["b", "c"]
    assert (resume(name), resume(name)) == (True, False)
    assert [each.clip_id for each in world.try_reserve("b", "c")] == ["b", "c"]


def test_paused_production_leaves_another_one_of_the_account_alone(ledger: Ledger, clock: Clock) -> None:
    monday, tuesday = (World(ledger, clock, name=name) for name in ("monday", "tuesday"))
    for world in (monday, tuesday):
        world.register("a")
    ledger.paused.pause_production("monday")
    assert (monday.try_reserve("a"), len(tuesday.try_reserve("a"))) == ([], 1)

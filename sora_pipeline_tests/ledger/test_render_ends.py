"""How long predictions took, as far as polls tell."""

from typing import Any

from sora_pipeline.ledger.types import RenderEnd, RenderKind
from sora_pipeline_tests.ledger.world import LEASE_S, POLL_S, SANDBOX, SECOND, Clock, World

SHORT = RenderKind("sora-2", 4, "720x1280")
LONG = RenderKind("sora-2", 12, "720x1280")
MOST = 300


def in_flight(world: World, clip_id: str = "a", kind: RenderKind = SHORT, **more: Any) -> int:
    """A prediction of this kind, accepted now."""
    attempt_id = world.reserved(clip_id)
    request = {"model": kind.model, "duration": kind.duration, "size": kind.size, **more}
    assert world.attempts.begin_submit(attempt_id, "run", lease_s=LEASE_S, request_summary=request)
    assert world.accept(attempt_id)
    return attempt_id


def ends(world: World) -> list[RenderEnd]:
    """Those of predictions whose request the ledger knows: the neighbours of these tests say nothing of theirs."""
    return world.attempts.render_ends(world.account.name, MOST)


def poll_unfinished(world: World, clock: Clock, attempt_id: int, after_s: float, **more: Any) -> None:
    clock.turn(after_s)
    assert world.attempts.still_running(attempt_id, more.pop("status", "processing"), POLL_S, **more)


def test_an_end_lies_between_the_last_poll_that_found_it_unfinished_and_the_one_that_found_it(
    world: World, clock: Clock
) -> None:
    world.register("a")
    attempt_id = in_flight(world)
    poll_unfinished(world, clock, attempt_id, 20)
    poll_unfinished(world, clock, attempt_id, 30)
    clock.turn(10)
    assert ends(world) == []
    assert world.succeed(attempt_id)
    (end,) = ends(world)
    assert (end.kind.duration, end.kind.size) == (4, "720x1280")
    assert (end.after_s, end.until_s) == (50, 60)


def test_one_that_the_first_poll_finds_ended_may_have_ended_at_any_time_before(
    world: World, clock: Clock
) -> None:
    world.register("a")
    attempt_id = in_flight(world)
    clock.turn(15)
    assert world.succeed(attempt_id)
    assert [(end.after_s, end.until_s) for end in ends(world)] == [(0, 15)]


def test_a_failure_is_an_end_like_a_video(world: World, clock: Clock) -> None:
    world.register("a")
    attempt_id = in_flight(world)
    poll_unfinished(world, clock, attempt_id, 3)
    clock.turn(3)
    assert world.attempts.fail(attempt_id, "content_policy", "no", retryable=False, reported=False)
    assert [(end.after_s, end.until_s) for end in ends(world)] == [(3, 6)]


def test_polls_without_an_answer_say_nothing_of_when_it_ended(world: World, clock: Clock) -> None:
    world.register("a", "b")
    answered, never_answered = in_flight(world, "a"), in_flight(world, "b")
    poll_unfinished(world, clock, answered, 10)
    for attempt_id in (answered, never_answered):
        poll_unfinished(world, clock, attempt_id, 10, status=None)
    clock.turn(10)
    assert world.succeed(never_answered)
    assert ends(world) == [], "polled, and nobody knows when it was unfinished"
    assert world.succeed(answered)
    assert [(end.after_s, end.until_s) for end in ends(world)] == [(10, 40)]


def test_one_that_is_completed_and_has_no_output_yet_is_not_unfinished(world: World, clock: Clock) -> None:
    world.register("a")
    attempt_id = in_flight(world)
    poll_unfinished(world, clock, attempt_id, 10)
    poll_unfinished(world, clock, attempt_id, 10, status="completed", empty=True)
    clock.turn(5)
    assert world.succeed(attempt_id)
    assert [(end.after_s, end.until_s) for end in ends(world)] == [(10, 25)]


def test_newest_ends_of_the_account_come_first_and_no_others(world: World, clock: Clock) -> None:
    world.register("a", "b", "c")
    elsewhere = World(world.ledger, clock, name="elsewhere", account=SECOND)
    elsewhere.register("a")
    other = in_flight(elsewhere)
    attempts = [
        in_flight(world, clip_id, kind) for clip_id, kind in zip("abc", (SHORT, LONG, SHORT), strict=True)
    ]
    for attempt_id in (*attempts, other):
        clock.turn(10)
        assert world.succeed(attempt_id)
    assert [(end.kind.duration, end.until_s) for end in ends(world)] == [(4, 30), (12, 20), (4, 10)]
    assert world.attempts.render_ends(SANDBOX.name, 2) == ends(world)[:2]


def test_what_was_refused_at_submit_or_asked_for_in_unknown_words_is_no_end(
    world: World, clock: Clock
) -> None:
    world.register("a", "b")
    refused = world.submitting("a")
    assert world.attempts.fail(refused, "content_policy", "no", retryable=False, reported=True)
    unknown = world.in_flight("b")
    clock.turn(10)
    assert world.succeed(unknown)
    assert ends(world) == []

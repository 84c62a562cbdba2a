"""Which clips may begin an attempt without anybody asking: the rule that decides what is paid for."""

import pytest

from sora_pipeline.ledger import ClipStanding, Ledger
from sora_pipeline.ledger.types import LIVE_STATES
from sora_pipeline_tests.ledger.world import VIDEO, World, clip


def standing(world: World, clip_id: str = "a") -> ClipStanding:
    return world.standing(clip_id)


def test_clips_never_tried_are_pending_in_manifest_order(world: World) -> None:
    world.register("c", "a", "b")
    assert world.pending() == ["c", "a", "b"]
    world.register("b", "c", "a")
    assert world.pending() == ["b", "c", "a"]


@pytest.mark.parametrize("state", LIVE_STATES)
def test_clip_with_a_live_attempt_is_not_pending(world: World, state: str) -> None:
    world.register("a")
    world.at(state)
    assert world.pending() == []


def test_delivered_clip_is_not_pending(world: World) -> None:
    world.register("a")
    world.collected()
    assert world.pending() == []
    world.register("a")
    assert world.pending() == []
    assert standing(world).delivered is not None


def test_changed_row_makes_a_delivered_clip_pending(world: World) -> None:
    world.register("a")
    world.collected()
    world.register(clip("a", "a dog"))
    assert world.pending() == ["a"]
    assert standing(world).delivered is None
    assert standing(world).round == 2


def test_row_changed_back_to_what_was_delivered_is_not_paid_again(world: World) -> None:
    world.register("a")
    first = world.collected()
    world.register(clip("a", "a dog"))
    world.collected()
    world.register(clip("a"))
    assert world.pending() == []
    delivered = standing(world).delivered
    assert delivered is not None
    assert delivered.attempt_id == first


def test_row_changed_while_its_clip_renders_is_pending_once_that_has_ended(world: World) -> None:
    world.register("a")
    attempt_id = world.succeeded()
    world.register(clip("a", "a dog"))
    assert world.pending() == []
    world.attempts.collect(attempt_id, VIDEO, run_id="run")
    assert world.pending() == ["a"]
    assert standing(world).delivered is None


def test_what_does_not_decide_the_picture_begins_no_round(world: World) -> None:
    world.register("a")
    world.collected()
    world.read([clip("b"), clip("a")])  # another row number, another place
    assert world.pending() == ["b"]
    assert standing(world).round == 1


def test_retryable_failure_is_pending_until_the_attempts_are_used_up(world: World) -> None:
    world.register("a")
    for tried in range(1, world.limits.max_attempts + 1):
        world.failed(retryable=True)
        assert standing(world).attempts_in_round == tried
        assert world.pending() == (["a"] if tried < world.limits.max_attempts else [])
    assert world.try_reserve("a") == []


def test_permanent_failure_is_not_pending(world: World) -> None:
    world.register("a")
    world.failed(retryable=False)
    assert world.pending() == []


def test_last_failure_of_a_round_decides(world: World) -> None:
    world.register("a")
    world.failed(retryable=True)
    world.failed(retryable=False)
    assert world.pending() == []


def test_changed_row_is_attempted_anew_after_a_permanent_failure(world: World) -> None:
    world.register("a")
    world.failed(retryable=False)
    world.register(clip("a", "a dog"))
    assert world.pending() == ["a"]
    world.failed(retryable=True)
    assert world.pending() == ["a"]
    assert standing(world).attempts_in_round == 1
    assert standing(world).attempts == 2


def test_new_round_lets_a_failed_clip_be_attempted_anew(world: World) -> None:
    world.register("a", "b", "c")
    world.failed("a", retryable=False)
    world.failed("b", retryable=False)
    world.collected("c")
    world.ledger.clips.new_round(world.keys("a", "c"))
    assert world.pending() == ["a"]


def test_new_round_does_not_free_a_clip_with_a_live_attempt(world: World) -> None:
    world.register("a")
    world.ambiguous()
    world.ledger.clips.new_round(world.keys("a"))
    assert world.pending() == []


def test_clip_that_left_the_manifest_is_known_but_not_pending(world: World) -> None:
    world.register("a", "b")
    world.failed("a", retryable=True)
    world.register("b")
    assert world.pending() == ["b"]
    assert not standing(world).active
    assert not standing(world).pending(world.limits.max_attempts)
    assert standing(world).attempts == 1
    world.register("a", "b")
    assert world.pending() == ["a", "b"]


def test_empty_manifest_wants_nothing(world: World) -> None:
    world.register("a")
    world.register()
    assert world.pending() == []
    assert world.ledger.clips.standings_of(world.production_id) == {}


def test_standings_leave_out_unknown_clips(world: World) -> None:
    world.register("a")
    assert list(world.standings("nobody", "a")) == ["a"]


def test_standings_of_a_production_come_in_manifest_order(world: World) -> None:
    world.register("c", "a", "b")
    assert list(world.ledger.clips.standings_of(world.production_id)) == world.keys("c", "a", "b")


def test_clip_comes_back_as_it_was_registered(world: World) -> None:
    wanted = clip("ä-1", "a “quoted” prompt\nwith a second line 🎬")
    world.read([wanted])
    assert standing(world, "ä-1").clip == wanted


def test_many_clips_register_and_are_pending(ledger: Ledger, world: World) -> None:
    """More than one statement's parameters."""
    world.register(*(f"clip-{number:05d}" for number in range(3000)))
    pending = world.pending()
    assert len(pending) == 3000
    assert len(world.standings(*pending)) == 3000
    ledger.clips.new_round(world.keys(*pending))
    assert world.standing("clip-02999").round == 2

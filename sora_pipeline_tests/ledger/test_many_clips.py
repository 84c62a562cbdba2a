"""What is wanted, and asked about, in more than one stretch."""

from dataclasses import replace

from sora_pipeline.clip import Clip, Size
from sora_pipeline.streams import STRETCH
from sora_pipeline_tests.ledger.world import World, clip


def many(world: World) -> list[Clip]:
    """More clips than are held at a time, registered."""
    clips = [replace(clip(f"clip-{n}"), row_number=n + 1) for n in range(STRETCH + 10)]
    world.register(*clips)
    return [world.made_here(each) for each in clips]


def test_clips_are_begun_as_asked_where_the_very_same_is_delivered_or_under_way(world: World) -> None:
    asked = many(world)
    far = STRETCH + 5
    world.collected("clip-1")
    world.in_flight(f"clip-{far}")
    world.failed("clip-2", retryable=False)
    begun = world.ledger.clips.begun_as_asked
    assert begun(world.production_id, asked) == {"clip-1", f"clip-{far}"}
    changed = [replace(asked[1], prompt="another"), *asked[2:]]
    assert begun(world.production_id, changed) == {f"clip-{far}"}
    world.in_flight("clip-1", force=True)
    assert begun(world.production_id, asked) == {"clip-1", f"clip-{far}"}
    assert begun("another", asked) == set()


def test_a_delivered_clip_stays_begun_while_a_forced_attempt_fails(world: World) -> None:
    world.register("a")
    world.collected("a")
    world.failed("a", retryable=True, force=True)
    asked = [world.made_here(clip("a"))]
    assert world.ledger.clips.begun_as_asked(world.production_id, asked) == {"a"}


def test_attempts_and_payments_are_known_of_the_production_that_has_them(world: World) -> None:
    world.register("a", "b", "c")
    clips = world.ledger.clips
    assert not clips.has_attempts(world.production_id)
    world.failed("a", retryable=False)
    world.reserved("b")
    assert clips.has_attempts(world.production_id)
    assert not clips.has_attempts("another")
    assert clips.paid_or_under_way(world.keys("a", "c"))
    assert clips.paid_or_under_way(world.keys("b"))
    assert not clips.paid_or_under_way(world.keys("c"))


def test_only_what_is_wanted_at_present_is_wanted_among_others(world: World) -> None:
    asked = many(world)
    world.register(*asked[5:])
    found = world.ledger.clips.wanted_among(
        world.production_id, ["clip-1", "clip-7", f"clip-{STRETCH + 1}", "x"]
    )
    assert found.keys() == {"clip-7", f"clip-{STRETCH + 1}"}
    assert found["clip-7"].row_number == 3


def test_everything_that_was_ever_wanted_is_handed_over(world: World) -> None:
    asked = many(world)
    world.register(*asked[5:])
    ever: list[Clip] = []
    world.ledger.clips.ever_wanted(world.production_id, ever.append)
    assert sorted(each.clip_id for each in ever) == sorted(each.clip_id for each in asked)


def test_what_a_request_asks_for_no_longer_is_stopped_in_whichever_stretch(world: World) -> None:
    asked = many(world)
    changed = [*asked]
    changed[STRETCH + 5] = replace(asked[STRETCH + 5], size=Size(1280, 720))
    del changed[7]
    world.ledger.productions.request(world.plan, wanted=changed)
    gone = {"clip-7", f"clip-{STRETCH + 5}"}
    assert world.pending() == [each.clip_id for each in asked if each.clip_id not in gone]

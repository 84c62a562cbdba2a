from typing import Any

from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import Ledger
from sora_pipeline.ledger.batches import GENERATIONS, KEPT, VIDEOS, Batch
from sora_pipeline_tests.ledger.world import LEASE_S, Clock, World, clip

PIPELINE = {"pipeline": "", "account": "sandbox", "lease_s": LEASE_S}


def plan(ledger: Ledger, batch_id: str = "b1", **values: Any) -> None:
    ledger.batches.plan(batch_id, **{"asset": GENERATIONS, "keys": ["p:a", "p:b"], **PIPELINE, **values})


def begin(ledger: Ledger, run_id: str, batch_id: str = "b1", **values: Any) -> str:
    return ledger.batches.begin(
        batch_id, run_id, **{"asset": GENERATIONS, "keys": ["p:a", "p:b"], **PIPELINE, **values}
    )


def only(ledger: Ledger) -> Batch:
    (batch,) = ledger.batches.unfinished("")
    return batch


def test_a_planned_batch_is_held_until_its_lease_is_over(ledger: Ledger, clock: Clock) -> None:
    plan(ledger)
    assert (only(ledger).keys, only(ledger).run_id) == (("p:a", "p:b"), None)
    assert only(ledger).is_held(clock())
    clock.turn(LEASE_S + 1)
    assert not only(ledger).is_held(clock())
    assert ledger.batches.unfinished("another pipeline") == []


def test_the_batch_that_ended_last_says_whether_its_run_began(ledger: Ledger, clock: Clock) -> None:
    began = clock()
    assert ledger.batches.last_ended("", GENERATIONS, since=began) is None
    for batch_id, asset in (("b1", GENERATIONS), ("b2", GENERATIONS), ("b3", VIDEOS)):
        plan(ledger, batch_id, asset=asset)
    begin(ledger, "run-1", "b2")
    for batch_id in ("b2", "b1", "b3"):
        clock.turn(1)
        ledger.batches.end(batch_id)
    last = ledger.batches.last_ended("", GENERATIONS, since=began)
    assert last is not None
    assert (last.batch_id, last.begun_at) == ("b1", None)
    assert ledger.batches.last_ended("another pipeline", GENERATIONS, since=began) is None
    assert ledger.batches.last_ended("", GENERATIONS, since=clock()) is None


def test_one_run_holds_a_batch_and_another_takes_it_over_once_that_is_dead(
    ledger: Ledger, clock: Clock
) -> None:
    plan(ledger)
    assert begin(ledger, "run-1") == "b1"
    assert begin(ledger, "run-2") == "run-2", "it has one of its own"
    assert {batch.batch_id: batch.run_id for batch in ledger.batches.unfinished("")} == {
        "b1": "run-1",
        "run-2": "run-2",
    }
    ledger.batches.end("run-2", "run-2")
    clock.turn(LEASE_S - 1)
    ledger.batches.sign("b1", "run-1", lease_s=LEASE_S)
    clock.turn(LEASE_S - 1)
    assert begin(ledger, "run-2") == "run-2", "it has given a sign of life"
    ledger.batches.end("run-2", "run-2")
    clock.turn(2)
    assert begin(ledger, "run-2") == "b1"
    assert ledger.batches.end("b1", "run-1") is None
    assert only(ledger).run_id == "run-2", "the dead run's end is not the batch's"


def test_what_a_dead_run_left_behind_stays_its_batchs_when_another_begins_with_a_part(
    ledger: Ledger, clock: Clock
) -> None:
    """Else nobody would look whether the rest is materialized in Dagster."""
    plan(ledger)
    begin(ledger, "run-1")
    clock.turn(LEASE_S + 1)
    assert begin(ledger, "run-2", keys=["p:a"]) == "b1"
    assert {(batch.batch_id, batch.run_id): batch.keys for batch in ledger.batches.unfinished("")} == {
        ("b1", "run-2"): ("p:a",),
        ("b1-run-1", "run-1"): ("p:b",),
    }
    clock.turn(LEASE_S + 1)
    assert begin(ledger, "run-3", keys=["p:a", "p:c"]) == "b1", "all of it, and more"
    assert len(ledger.batches.unfinished("")) == 2


def test_a_sign_of_life_says_what_is_left_and_hears_whether_to_leave(ledger: Ledger, clock: Clock) -> None:
    plan(ledger, asset=VIDEOS)
    begin(ledger, "run-1", asset=VIDEOS)
    assert not ledger.batches.sign("b1", "run-1", lease_s=LEASE_S, keys=["p:b"], wanted={"p": 1})
    assert (only(ledger).keys, only(ledger).wanted) == (("p:b",), {"p": 1})
    ledger.batches.tell_to_leave("b1")
    assert ledger.batches.sign("b1", "run-1", lease_s=LEASE_S)
    assert not ledger.batches.sign("b1", "run-2", lease_s=LEASE_S), "only its own run is told"
    assert begin(ledger, "run-1") == "b1", "the next time it begins it may stay"
    assert not only(ledger).told_to_leave


def test_batches_that_ended_are_forgotten_after_a_day(ledger: Ledger, clock: Clock) -> None:
    plan(ledger)
    ledger.batches.end("b1")
    assert ledger.batches.unfinished("") == []
    assert ledger.batches.get("b1") is not None
    clock.turn(KEPT.total_seconds() + 1)
    plan(ledger, "b2")
    assert ledger.batches.get("b1") is None


def test_slots_are_shared_with_productions_that_runs_at_work_wait_to_submit_for(
    ledger: Ledger, clock: Clock
) -> None:
    large, small = World(ledger, clock, name="large"), World(ledger, clock, name="small")
    large.read([clip(f"c{number}") for number in range(9)])
    small.read([clip("only")])
    plan(ledger, keys=[clip_key("small", "only")])
    begin(ledger, "run-1", keys=[clip_key("small", "only")])
    ledger.batches.sign("b1", "run-1", lease_s=LEASE_S, wanted={"small": 1})
    limits = type(large.limits)(max_in_flight=4, max_attempts=3)

    def reserve(world: World, *ids: str) -> list[str]:
        costs = {clip_key(world.production_id, each): 1 for each in ids}
        made = ledger.attempts.reserve(
            costs, account=world.account, batch_id="b", limits=limits, lease_s=LEASE_S
        )
        return [each.clip_id for each in made.reserved]

    assert reserve(large, *(f"c{number}" for number in range(9))) == ["c0", "c1", "c2"]
    assert reserve(large, "c5") == [], "the fourth is the small one's"
    assert reserve(small, "only") == ["only"]
    clock.turn(LEASE_S + 1)
    assert reserve(large, "c5") == [], "all four are taken"


def test_a_share_that_a_dead_run_waited_for_is_everybodys(ledger: Ledger, clock: Clock) -> None:
    large = World(ledger, clock, name="large")
    large.read([clip(f"c{number}") for number in range(9)])
    begin(ledger, "run-1", keys=["small:only"])
    ledger.batches.sign("b1", "run-1", lease_s=LEASE_S, wanted={"small": 5})
    clock.turn(LEASE_S + 1)
    costs = {clip_key("large", f"c{number}"): 1 for number in range(9)}
    limits = type(large.limits)(max_in_flight=4, max_attempts=3)
    made = ledger.attempts.reserve(costs, account=large.account, batch_id="b", limits=limits, lease_s=LEASE_S)
    assert len(made.reserved) == 4

from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.automation.planning import (
    COLLECT_WAIT,
    NEARLY_SETTLED,
    contiguous_ranges,
    plan_collect,
    plan_dispatch,
    plan_recovery,
)
from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import Attempt, AttemptState
from sora_pipeline.ledger.types import SLOT_STATES, Lease, Result
from sora_pipeline_tests.conftest import key
from sora_pipeline_tests.production.parts import SANDBOX

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = [
    clip_key(production, f"clip-{number:02}") for production in ("monday", "tuesday") for number in range(12)
]
"""Two productions number their clips alike; in one pipeline their partitions stand in one order, neighbours or not."""
ENDED = (AttemptState.SUCCEEDED, AttemptState.FAILED, AttemptState.TIMED_OUT)

orders = st.permutations(KEYS).map(lambda keys: {key: at for at, key in enumerate(keys)})
wanted_keys = st.lists(st.sampled_from([*KEYS, "unknown-1", "unknown-2"]), unique=True)


def attempt(attempt_id: int, clip: str, state: AttemptState, **values: Any) -> Attempt:
    usual: dict[str, Any] = {
        "number": 1,
        "round": 1,
        "fingerprint": "f" * 64,
        "batch_id": "batch",
        "account": SANDBOX,
        "model": "sora-2-pro",
        "cost_micros": 1,
        "reserved_at": NOW,
    }
    return Attempt(attempt_id=attempt_id, clip_key=clip, state=state, **{**usual, **values})


@given(wanted=wanted_keys, order=orders, longest=st.integers(1, 30))
def test_stretches_cover_every_known_key_once_with_neighbours_within_the_limit(
    wanted: list[str], order: dict[str, int], longest: int
) -> None:
    found = contiguous_ranges(wanted, order, longest)
    assert sorted(key for each in found for key in each.keys) == sorted(key for key in wanted if key in order)
    for each in found:
        positions = [order[key] for key in each.keys]
        assert positions == list(range(positions[0], positions[0] + len(positions)))
        assert len(positions) <= longest
        assert (each.first, each.last) == (each.keys[0], each.keys[-1])


@given(wanted=wanted_keys, order=orders, longest=st.integers(1, 30))
def test_stretches_are_as_few_as_neighbours_and_limit_allow(
    wanted: list[str], order: dict[str, int], longest: int
) -> None:
    positions = sorted(order[key] for key in wanted if key in order)
    runs: list[int] = []
    for at, position in enumerate(positions):
        if at and position == positions[at - 1] + 1:
            runs[-1] += 1
        else:
            runs.append(1)
    assert len(contiguous_ranges(wanted, order, longest)) == sum(ceil(length / longest) for length in runs)


@given(
    pending=wanted_keys,
    order=orders,
    free=st.integers(-5, 40),
    batch_size=st.integers(1, 30),
    slots=st.integers(1, 40),
)
def test_dispatch_never_exceeds_slots_or_batch_and_asks_only_for_pending_partitions(
    pending: list[str], order: dict[str, int], free: int, batch_size: int, slots: int
) -> None:
    stretch = plan_dispatch(pending, order, free_slots=free, batch_size=batch_size, max_in_flight=slots)
    if stretch is None:
        return
    assert 0 < len(stretch.keys) <= min(free, batch_size)
    assert set(stretch.keys) <= set(pending) & set(order)


@given(pending=wanted_keys, order=orders, batch_size=st.integers(1, 30), slots=st.integers(1, 40))
def test_dispatch_goes_on_whenever_all_slots_are_free(
    pending: list[str], order: dict[str, int], batch_size: int, slots: int
) -> None:
    stretch = plan_dispatch(pending, order, free_slots=slots, batch_size=batch_size, max_in_flight=slots)
    assert (stretch is not None) == any(key in order for key in pending)


def test_dispatch_waits_until_a_run_is_worth_its_while() -> None:
    order = {key: at for at, key in enumerate(KEYS)}

    def plan(pending: int, free: int) -> int | None:
        stretch = plan_dispatch(KEYS[:pending], order, free_slots=free, batch_size=50, max_in_flight=20)
        return None if stretch is None else len(stretch.keys)

    assert plan(20, 4) is None, "a quarter of twenty slots is five"
    assert plan(20, 5) == 5
    assert plan(3, 3) == 3, "the last few are not held back"
    assert plan(3, 2) is None
    assert plan(0, 20) is None


@given(
    states=st.lists(st.sampled_from(list(AttemptState)), min_size=1, max_size=len(KEYS)),
    age=st.integers(0, 90),
    left=st.data(),
)
def test_collecting_takes_each_ended_clip_once_and_never_one_that_is_tried_again(
    states: list[AttemptState], age: int, left: st.DataObject
) -> None:
    mates = [
        attempt(number, KEYS[number], state, result=Result(completed_at=NOW - timedelta(seconds=age)))
        for number, state in enumerate(states)
    ]
    ended = [each for each in mates if each.state in ENDED]
    again = {each.attempt_id: left.draw(st.booleans()) for each in ended if each.state is AttemptState.FAILED}
    order = {key: at for at, key in enumerate(KEYS)}
    planned = plan_collect(ended, mates, order, now=NOW, batch_size=50, attempts_left=again)
    keys = [key for each in planned for key in each.keys]
    shown = {each.clip_key for each in ended if not again.get(each.attempt_id)}
    assert len(keys) == len(set(keys))
    assert set(keys) <= shown
    settled = 1 - sum(each.state in SLOT_STATES for each in mates) / len(mates)
    ready = settled >= NEARLY_SETTLED or timedelta(seconds=age) >= COLLECT_WAIT
    assert set(keys) == (shown if ready else set())


def test_clip_whose_fetch_did_not_work_waits_for_no_batch_mates() -> None:
    torn = attempt(1, key("a"), AttemptState.SUCCEEDED, result=Result(completed_at=NOW, collect_tries=1))
    others = [attempt(number, key(f"b{number}"), AttemptState.IN_FLIGHT) for number in range(2, 9)]
    (stretch,) = plan_collect(
        [torn], [torn, *others], {key("a"): 0}, now=NOW, batch_size=50, attempts_left={}
    )
    assert stretch.keys == (key("a"),)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(list(AttemptState)),
            st.sampled_from(["one", "two"]),
            st.one_of(st.none(), st.integers(-100, 100)),
        ),
        max_size=20,
    )
)
def test_recovery_takes_what_no_lease_protects(
    given_attempts: list[tuple[AttemptState, str, int | None]],
) -> None:
    attempts = [
        attempt(
            number,
            key(f"clip-{number}"),
            state,
            batch_id=batch,
            lease=Lease(until=None if lease is None else NOW + timedelta(seconds=lease)),
        )
        for number, (state, batch, lease) in enumerate(given_attempts)
    ]
    recovery = plan_recovery(attempts, NOW)
    free = [each for each in attempts if each.lease.until is None or each.lease.until <= NOW]
    assert recovery.lost == [each for each in free if each.state is AttemptState.SUBMITTING]
    assert [each for batch in recovery.unclaimed.values() for each in batch] == sorted(
        (each for each in free if each.state is AttemptState.RESERVED),
        key=lambda each: list(recovery.unclaimed).index(each.batch_id),
    )
    assert all(each.batch_id == batch for batch, mine in recovery.unclaimed.items() for each in mine)

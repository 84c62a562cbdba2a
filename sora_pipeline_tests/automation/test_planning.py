from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.automation.planning import (
    contiguous_ranges,
    plan_batch,
    plan_fetching,
    plan_recovery,
)
from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import Attempt, AttemptState
from sora_pipeline.ledger.types import Lease
from sora_pipeline_tests.production.parts import SANDBOX

NOW = datetime(2026, 1, 1, tzinfo=UTC)
KEYS = [
    clip_key(production, f"clip-{number:02}") for production in ("monday", "tuesday") for number in range(12)
]
"""Two productions number their clips alike; in one pipeline their partitions stand in one order, neighbours or not."""

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


@given(pending=wanted_keys, order=orders, longest=st.integers(1, 30), unserved=st.booleans())
def test_batch_is_the_longest_range_of_pending_clips_and_serves_whom_nobody_serves(
    pending: list[str], order: dict[str, int], longest: int, unserved: bool
) -> None:
    ready = {key: key.partition(":")[0] for key in pending}
    first = {"tuesday"} if unserved else set()
    planned = plan_batch(ready, order, first=first, longest=longest)
    ranges = contiguous_ranges(pending, order, longest)
    fitting = [each for each in ranges if not first or any(key.startswith("tuesday") for key in each.keys)]
    assert (planned is None) == (not fitting)
    if planned is not None:
        assert planned in fitting
        assert len(planned.keys) == max(len(each.keys) for each in fitting)


@given(ended=wanted_keys, neighbours=wanted_keys, order=orders, longest=st.integers(1, 30))
def test_everything_that_has_ended_is_fetched_once_and_nothing_without_an_end(
    ended: list[str], neighbours: list[str], order: dict[str, int], longest: int
) -> None:
    ranges = plan_fetching(ended, neighbours, order, longest=longest)
    keys = [key for each in ranges for key in each.keys]
    assert len(keys) == len(set(keys))
    assert set(ended) & set(order) <= set(keys) <= {*ended, *neighbours}
    assert all(set(each.keys) & set(ended) and len(each.keys) <= longest for each in ranges)


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
            clip_key("prompts", f"clip-{number}"),
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

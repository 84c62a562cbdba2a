from hypothesis import given
from hypothesis import strategies as st

from sora_pipeline.ledger.shares import fair_shares

demands = st.dictionaries(st.sampled_from(["monday", "tuesday", "autumn", "spring"]), st.integers(0, 60))


@given(slots=st.integers(-5, 100), demands=demands)
def test_no_slot_is_idle_that_anybody_wants_and_none_is_given_twice(
    slots: int, demands: dict[str, int]
) -> None:
    shares = fair_shares(slots, demands)
    assert shares.keys() == demands.keys()
    assert sum(shares.values()) == min(max(slots, 0), sum(demands.values()))
    assert all(0 <= shares[key] <= demands[key] for key in demands)


@given(slots=st.integers(0, 100), demands=demands)
def test_who_gets_less_than_wanted_gets_no_less_than_any_other(slots: int, demands: dict[str, int]) -> None:
    shares = fair_shares(slots, demands)
    for key, share in shares.items():
        if share < demands[key]:
            assert all(share >= other - 1 for other in shares.values())


def test_a_small_production_is_not_kept_waiting_by_a_large_one() -> None:
    assert fair_shares(20, {"large": 500, "small": 3}) == {"small": 3, "large": 17}
    assert fair_shares(20, {"large": 500, "other": 400}) == {"other": 10, "large": 10}

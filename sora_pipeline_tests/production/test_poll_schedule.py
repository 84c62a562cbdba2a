"""When predictions are polled: bounds that hold whatever was learned, and what is learned from providers of every habit."""

import math
import random
from collections.abc import Sequence
from statistics import fmean

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from benchmarks.polling import SCENARIOS, Figures, Fixed, Learning, Scenario, simulate
from sora_pipeline.ledger.types import RenderEnd, RenderKind
from sora_pipeline.production.poll_schedule import (
    FEWEST,
    REMEMBERED,
    PollSchedule,
    closest_s,
    longest_s,
    poll_schedule,
    unlearned_wait_s,
)

KIND = RenderKind("sora-2-pro", 4, "720x1280")
INTERVAL_S = 5.0
LOOKED_FOR_S = 7200.0

seconds = st.floats(0.01, LOOKED_FOR_S, allow_nan=False)
intervals = st.floats(1, 600)


@st.composite
def ends(draw: st.DrawFn, fewest: int = 0, most: int = REMEMBERED + 5) -> list[RenderEnd]:
    """Ends as any provider may have them, and any habit of looking at them."""
    until = draw(st.lists(seconds, min_size=fewest, max_size=most))
    return [RenderEnd(KIND, draw(st.floats(0, age)), age) for age in until]


def seen(*times_s: float, after_s: float = 1.0, until_s: float = 0.5) -> list[RenderEnd]:
    """Ends that polls have noticed closely."""
    return [RenderEnd(KIND, max(0.0, time - after_s), time + until_s) for time in times_s]


def polled_at(schedule: PollSchedule, until_s: float) -> list[float]:
    """The ages at which a prediction is polled that takes so long."""
    ages = [schedule.wait_s(0.0)]
    while ages[-1] < until_s:
        ages.append(ages[-1] + schedule.wait_s(ages[-1]))
    return ages


def late_s(schedule: PollSchedule, time_s: float) -> float:
    return polled_at(schedule, time_s)[-1] - time_s


def scenario(name: str) -> Scenario:
    (found,) = (each for each in SCENARIOS if each.name == name)
    return found


def fixed_and_learned(
    name: str, *, clips: int = 200, first: int = 0, last: int = 10**9
) -> tuple[Figures, Figures]:
    """What a fixed interval and what is learned come to, of the clips of these numbers."""
    figures = []
    for rule in (Fixed(INTERVAL_S), Learning(INTERVAL_S)):
        noticed = simulate(scenario(name).render, rule, clips=clips, slots=20, look_s=0, seed=3)
        figures.append(Figures.of([each for each in noticed if first <= each.number < last]))
    return figures[0], figures[1]


# ---- bounds


@settings(deadline=None)
@given(ends(), intervals, st.none() | seconds, st.floats(0, LOOKED_FOR_S))
def test_polls_are_never_too_close_together_and_never_too_far_apart(
    known: list[RenderEnd], interval_s: float, expected_s: float | None, age_s: float
) -> None:
    wait_s = poll_schedule(known, interval_s=interval_s, expected_s=expected_s).wait_s(age_s)
    assert closest_s(interval_s) - 1e-9 <= wait_s <= longest_s(interval_s) + closest_s(interval_s)


@settings(deadline=None)
@given(ends(fewest=FEWEST), intervals, seconds)
def test_no_end_is_noticed_later_than_a_share_of_what_renders_took_or_some_intervals(
    known: list[RenderEnd], interval_s: float, time_s: float
) -> None:
    """Whatever was learned, and however wrong that has become."""
    longest_seen_s = max(end.until_s for end in known)
    share_s = max(0.4 * longest_seen_s, 0.1 * time_s)
    bound_s = max(3 * interval_s, min(share_s, 60.0)) + 2 * closest_s(interval_s)
    assert late_s(poll_schedule(known, interval_s=interval_s), time_s) <= bound_s


@settings(deadline=None)
@given(ends(most=FEWEST - 1), intervals, seconds)
@example([RenderEnd(KIND, 0.0, 1.0), RenderEnd(KIND, 2380.0, 2390.0), RenderEnd(KIND, 0.0, 1.0)], 1.0, 100.0)
def test_a_few_ends_make_nothing_later_than_where_nothing_is_known(
    known: list[RenderEnd], interval_s: float, time_s: float
) -> None:
    schedule = poll_schedule(known, interval_s=interval_s)
    for age_s in polled_at(schedule, time_s):
        assert schedule.wait_s(age_s) <= 1.1 * unlearned_wait_s(age_s, interval_s) + 2 * closest_s(interval_s)


def late_on_average_s(times_s: Sequence[float], seed: int) -> float:
    """How late ends are noticed of a mixture of render times that was seen."""
    drawn = random.Random(seed).choices(times_s, k=REMEMBERED)
    schedule = poll_schedule(seen(*drawn), interval_s=INTERVAL_S)
    return fmean(late_s(schedule, time_s) for time_s in drawn)


@pytest.mark.parametrize("seed", range(50))
def test_ends_like_those_seen_are_noticed_as_soon_as_at_a_fixed_interval(seed: int) -> None:
    """Mixtures of up to five render times."""
    drawn = random.Random(seed)
    times_s = [drawn.uniform(20, 300) for _ in range(drawn.randint(1, 5))]
    assert late_on_average_s(times_s, seed) <= INTERVAL_S / 2


@settings(deadline=None)
@given(st.lists(st.floats(20, 300), min_size=1, max_size=5), st.integers(0, 2**32))
@example([295.0, 300.0, 51.0, 300.0, 77.0], 740566)  # 3.2 s
def test_there_is_no_mixture_of_which_ends_are_noticed_much_later(
    times_s: Sequence[float], seed: int
) -> None:
    """One in a thousand is noticed a little later than at a fixed interval, where most renders take nearly as long as the longest."""
    assert late_on_average_s(times_s, seed) <= 0.8 * INTERVAL_S


def test_where_nothing_is_known_polls_are_an_interval_or_a_tenth_of_the_age_apart() -> None:
    schedule = poll_schedule([], interval_s=INTERVAL_S)
    assert [schedule.wait_s(age_s) for age_s in (0, 40, 100, 300, 3600)] == [5, 5, 10, 30, 60]


def test_an_interval_longer_than_a_minute_stays_one() -> None:
    assert poll_schedule([], interval_s=300).wait_s(10) == 300


def test_past_all_that_was_seen_polls_are_an_interval_apart_and_then_as_where_nothing_is_known() -> None:
    schedule = poll_schedule(seen(*[60.0] * 20), interval_s=INTERVAL_S)
    assert schedule.wait_s(70) <= INTERVAL_S + 1
    assert schedule.wait_s(1000) == unlearned_wait_s(1000, INTERVAL_S)


# ---- what is learned from


@pytest.mark.parametrize("takes_s", [12.0, 30.0, 60.0, 300.0, 1200.0])
def test_renders_that_always_take_the_same_are_noticed_at_once(takes_s: float) -> None:
    schedule = poll_schedule(seen(*[takes_s] * REMEMBERED), interval_s=INTERVAL_S)
    ages = polled_at(schedule, takes_s)
    assert ages[-1] - takes_s < 1
    assert len(ages) <= 4 + takes_s / 45  # nothing waits for more than a minute


def test_ends_between_two_polls_are_looked_for_between_them() -> None:
    """All were noticed at 63 s by polls at 45 s: they may have ended any time between."""
    schedule = poll_schedule([RenderEnd(KIND, 45, 63)] * 30, interval_s=INTERVAL_S)
    assert len([age for age in polled_at(schedule, 63) if 45 < age < 62]) >= 2


def test_early_failures_are_looked_for_early() -> None:
    """Refusals come early, whatever a render takes."""
    all_rendered = poll_schedule(seen(*[90.0] * 50), interval_s=INTERVAL_S)
    some_refused = poll_schedule(seen(*[90.0, 90.0, 90.0, 6.0, 90.0] * 10), interval_s=INTERVAL_S)
    assert all_rendered.wait_s(0) > 15
    assert 6 <= some_refused.wait_s(0) < 9


def test_what_nobody_looked_at_for_hours_teaches_nothing() -> None:
    slept = [RenderEnd(KIND, 50, 30_000)] * 20
    known = seen(*[60.0] * 20)
    assert poll_schedule([*slept, *known], interval_s=INTERVAL_S) == poll_schedule(
        known, interval_s=INTERVAL_S
    )


def test_times_of_a_clock_that_was_set_teach_nothing() -> None:
    odd = [RenderEnd(KIND, -5, 20), RenderEnd(KIND, 30, 20), RenderEnd(KIND, 0, 0), RenderEnd(KIND, 5, -1)]
    assert poll_schedule(odd, interval_s=INTERVAL_S) == PollSchedule(INTERVAL_S)


def test_expectation_of_the_catalogue_spares_early_polls_until_enough_is_known() -> None:
    expected = poll_schedule([], interval_s=INTERVAL_S, expected_s=300)
    unknown = poll_schedule([], interval_s=INTERVAL_S)
    assert len(polled_at(expected, 150)) <= len(polled_at(unknown, 150)) - 3
    known = seen(*[60.0] * FEWEST)
    assert poll_schedule(known, interval_s=INTERVAL_S, expected_s=300) == poll_schedule(
        known, interval_s=INTERVAL_S
    )


def test_a_longer_interval_asks_for_fewer_polls() -> None:
    chance = random.Random(1)
    known = seen(*(180 * math.exp(0.2 * chance.gauss(0, 1)) for _ in range(60)))
    counts = [len(polled_at(poll_schedule(known, interval_s=interval_s), 200)) for interval_s in (2, 5, 20)]
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) == 3


# ---- against a fixed interval


@pytest.mark.parametrize(
    "name",
    [
        "60 s, always",
        "55 to 65 s",
        "around 180 s, two thirds within 15 %",
        "30 or 150 s",
        "90 s, a tenth refused within 6 s",
    ],
)
def test_half_of_the_requests_notice_ends_as_soon(name: str) -> None:
    fixed, learned = fixed_and_learned(name, first=60)
    assert learned.requests <= fixed.requests / 2
    assert learned.late_s <= max(1.0, 1.1 * fixed.late_s)


@pytest.mark.parametrize("name", ["120 s, from clip 150 on 20 s", "60 s, from clip 150 on 120 s"])
def test_a_load_that_changes_is_followed_within_three_dozen_clips(name: str) -> None:
    fixed, learned = fixed_and_learned(name, clips=240, first=186)
    assert learned.late_s <= fixed.late_s
    assert learned.requests <= 0.6 * fixed.requests


def test_a_growing_queue_is_followed() -> None:
    fixed, learned = fixed_and_learned("a queue that grows, 45 to 300 s", first=40)
    assert learned.late_s <= fixed.late_s
    assert learned.requests <= 0.6 * fixed.requests

"""When a prediction is polled next, from how long such predictions took lately. Pure functions: no clock, ledger or provider.

Where ends are unlikely polls are far apart, where most come they are close, and past all that is known they are as far apart as
where nothing is known. Dynamic programming finds the ages at which requests and waiting cost least together.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

from sora_pipeline.ledger.types import RenderEnd

FEWEST = 8
"""Ends that must be known before polls may be much farther apart than where nothing is known."""
REMEMBERED = 60
FORGET = 0.96
"""What an end counts in terms of the next newer one; half after 17 newer ones."""
SLOWEST_S = 60.0
"""No two polls are farther apart, unless the interval asks for it."""
SKIPPED_INTERVALS = 3
"""For so many intervals a prediction may always be left alone where experience says that nothing ends."""
SKIPPED_SHARE = 0.4
"""For this share of what renders took lately likewise: they may take less from now on."""

# How alike the next end is to those that were seen.
_NEIGHBOURS = 5  # an end stands for all times between its neighbours so many places below and above
_FARTHEST = 0.25  # but for none farther from it than this share of it
_UNSEEN = 0.5  # so many ends are thought to be anywhere at all
_EXPECTED = 3.0  # and so many about where the catalogue expects them, while few are known
_EXPECTED_SPREAD = 0.5  # of their logarithm: two thirds are within a factor of 1.65

# What a request costs in seconds of waiting: _REQUEST x interval² / render time. At a factor of 1 the share of a fixed interval's
# requests and the share of its waiting would be saved alike; docs/design.md has what came of other values.
_REQUEST = 1.5
_SHORTEST_S, _LONGEST_S = 20.0, 180.0  # shorter and longer renders count as ones of these
_LATE = 2.0  # what a second costs besides that is waited in excess of the interval

_BEYOND = 1.3  # up to this multiple of what was seen polls stay an interval apart
_STEPS = 100


@dataclass(frozen=True, slots=True)
class PollSchedule:
    """At which ages predictions of one kind are polled.

    Attributes:
        interval_s: Seconds between two polls where nothing is known.
        ages: Ages at which one may be polled, ascending from 0; none where nothing is known.
        following: For each of these ages the position of the one to poll at next, if it has not ended by then.
    """

    interval_s: float
    ages: tuple[float, ...] = ()
    following: tuple[int, ...] = ()

    def wait_s(self, age_s: float) -> float:
        """Seconds until a prediction is polled (again) that has not ended at this age, as far as is known."""
        age_s = max(age_s, 0.0)  # below 0 where a clock was set
        if not self.ages or age_s >= self.ages[-1]:
            return unlearned_wait_s(age_s, self.interval_s)
        here = max(bisect_right(self.ages, age_s) - 1, 0)
        return max(self.ages[self.following[here]] - age_s, closest_s(self.interval_s))


def unlearned_wait_s(age_s: float, interval_s: float) -> float:
    """Seconds between two polls where nothing is known: a tenth of the age keeps long queues cheap."""
    return min(max(interval_s, age_s / 10), max(SLOWEST_S, interval_s))


def closest_s(interval_s: float) -> float:
    """Seconds between two polls at least: a fifth of the interval, since who sets a longer one has a reason."""
    return max(min(1.0, interval_s), interval_s / 5)


def longest_s(interval_s: float) -> float:
    """Seconds between two polls at most, whatever was learned."""
    return max(SKIPPED_INTERVALS * interval_s, SLOWEST_S)


def poll_schedule(
    ends: Sequence[RenderEnd], *, interval_s: float, expected_s: float | None = None
) -> PollSchedule:
    """The schedule that recent ends ask for.

    Args:
        ends: Of the same kind of prediction at the same account, newest first, whether there was a video or not.
        interval_s: Seconds between two polls where nothing is known.
        expected_s: What the catalogue expects a render to take; it counts while few ends are known.
    """
    known = [end for end in ends if _tells(end, interval_s)][:REMEMBERED]
    expected_s = expected_s if len(known) < FEWEST else None
    if not known and expected_s is None:
        return PollSchedule(interval_s)
    likely = _Likely.of(known, interval_s, expected_s)
    few = len(known) < FEWEST
    limits = [
        _cautious_s(age, interval_s, expected_s) if few else _longest_wait_s(age, likely, interval_s)
        for age in likely.ages
    ]
    return PollSchedule(interval_s, likely.ages, _cheapest(likely, limits, interval_s))


def _tells(end: RenderEnd, interval_s: float) -> bool:
    """Whether it says when the prediction ended: not where nobody looked for long, or a clock was set."""
    return 0 <= end.after_s < end.until_s <= end.after_s + 2 * longest_s(interval_s)


def _cautious_s(age_s: float, interval_s: float, expected_s: float | None) -> float:
    """The longest wait while few ends are known."""
    if expected_s is not None and age_s < expected_s / 2:
        return max(interval_s, min(SKIPPED_INTERVALS * interval_s, expected_s / 20))
    return unlearned_wait_s(age_s, interval_s)


def _longest_wait_s(age_s: float, likely: "_Likely", interval_s: float) -> float:
    """The longest wait, whatever was learned: it need not go on as it was."""
    if age_s >= likely.last_s * _BEYOND:
        return unlearned_wait_s(age_s, interval_s)
    if age_s >= likely.last_s:  # renders take longer than of late: a queue that grows, for one
        return interval_s
    return max(SKIPPED_INTERVALS * interval_s, min(SKIPPED_SHARE * likely.mean_s, SLOWEST_S))


@dataclass(frozen=True, slots=True)
class _Likely:
    """How many predictions are likely to have ended by which age.

    Attributes:
        ages: Ages between which ends are spread evenly, ascending from 0.
        ended: How many have ended by each of these ages.
        moments: The sum of the ages at which these ended.
        total: How many there are, those included that end later than any of these ages.
        last_s: Past this age none is known of.
    """

    ages: tuple[float, ...]
    ended: tuple[float, ...]
    moments: tuple[float, ...]
    total: float
    last_s: float

    @classmethod
    def of(cls, ends: Sequence[RenderEnd], interval_s: float, expected_s: float | None) -> "_Likely":
        """From what was seen, what is expected, and some doubt."""
        spans = _spans(ends)
        last_s = max((span.until_s for span in spans), default=0.0)
        ages = _ages(spans, interval_s, max(last_s, 2 * (expected_s or 0)))
        total = _UNSEEN + sum(span.weight for span in spans)
        masses = [_UNSEEN * (upper - lower) / (2 * ages[-1]) for lower, upper in pairwise(ages)]
        if expected_s is not None:
            total += _EXPECTED
            by = [_expected_by(age, expected_s) for age in ages]
            masses = [m + _EXPECTED * (b - a) for m, (a, b) in zip(masses, pairwise(by), strict=True)]
        _spread(spans, ages, masses)
        middles = ((lower + upper) / 2 for lower, upper in pairwise(ages))
        moments = (mass * middle for mass, middle in zip(masses, middles, strict=True))
        return cls(
            ages,
            tuple(accumulate(masses, initial=0.0)),
            tuple(accumulate(moments, initial=0.0)),
            total,
            last_s,
        )

    @property
    def mean_s(self) -> float:
        """How long predictions take on average."""
        return self.moments[-1] / self.ended[-1]

    def by(self, age_s: float) -> tuple[float, float]:
        """How many have ended by an age, and the sum of the ages at which these ended."""
        if age_s <= 0:
            return 0.0, 0.0
        after = bisect_left(self.ages, age_s)
        lower, upper = self.ages[after - 1], self.ages[after]
        share = (self.ended[after] - self.ended[after - 1]) * (age_s - lower) / (upper - lower)
        return self.ended[after - 1] + share, self.moments[after - 1] + share * (age_s + lower) / 2


@dataclass(frozen=True, slots=True)
class _Span:
    """Ages at which predictions may end of which one was seen.

    Attributes:
        after_s: Later than this.
        until_s: At this age at the latest.
        weight: How much it counts.
        seen_unfinished: Whether a poll found that one unfinished; else it is known to have ended early, and no more.
    """

    after_s: float
    until_s: float
    weight: float
    seen_unfinished: bool


def _spans(ends: Sequence[RenderEnd]) -> list[_Span]:
    """Each end as a span that reaches to its neighbours, mirrored where there are none: the next one is none of those seen."""
    weighed = sorted((end.until_s, end.after_s, FORGET**newer) for newer, end in enumerate(ends))
    seen = [until for until, _, _ in weighed]
    reach = min(_NEIGHBOURS, len(seen) - 1)
    below = [2 * seen[0] - later for later in seen[reach:0:-1]]
    above = [2 * seen[-1] - earlier for earlier in seen[-2 : -2 - reach : -1]]
    around = [*below, *seen, *above]
    return [
        _Span(
            min(after, max(around[place], until * (1 - _FARTHEST))),
            max(until, min(around[place + 2 * reach], until * (1 + _FARTHEST))),
            weight,
            seen_unfinished=after > 0,
        )
        for place, (until, after, weight) in enumerate(weighed)
    ]


def _ages(spans: Iterable[_Span], interval_s: float, last_s: float) -> tuple[float, ...]:
    """Ages at which it may be worth while to poll: close together where ends were seen, in even proportion elsewhere."""
    closest, widest = closest_s(interval_s), max(SLOWEST_S, interval_s)
    end = _BEYOND * last_s + 2 * closest
    candidates = {end}
    age = closest
    while age < end:
        candidates.add(age)
        age += min(age / 10, widest)
    spread_s = 0.0
    if seen := [
        span.after_s + (span.until_s - span.after_s) * quarter / 4 for span in spans for quarter in range(5)
    ]:
        width = end - min(seen)
        step = min(max(interval_s / 3, width / _STEPS), widest)
        candidates.update(seen, (min(seen) + step * number for number in range(int(width / step))))
        spread_s = max(seen) - min(seen)
    ages = [0.0]
    for age in sorted(candidates):
        # Ends far apart are no reason to poll young predictions seldom: no gap is wider than where nothing is known.
        if age - ages[-1] >= max(closest / 8, min(spread_s / (2 * _STEPS), age / 100)):
            ages.append(age)
    return tuple(ages)


def _expected_by(age_s: float, expected_s: float) -> float:
    """The share of predictions that the catalogue expects to have ended by an age."""
    if age_s <= 0:
        return 0.0
    return (1 + math.erf(math.log(age_s / expected_s) / (_EXPECTED_SPREAD * math.sqrt(2)))) / 2


def _spread(spans: Iterable[_Span], ages: Sequence[float], masses: list[float]) -> None:
    """Add each span to the masses between ages: evenly, or where only its upper end is known, as is likely by all else."""
    widths = [upper - lower for lower, upper in pairwise(ages)]
    for span in sorted(spans, key=lambda span: not span.seen_unfinished):
        first = bisect_right(ages, span.after_s) - 1
        last = bisect_left(ages, span.until_s)
        parts = [
            (min(ages[place + 1], span.until_s) - max(ages[place], span.after_s))
            * (1.0 if span.seen_unfinished else masses[place] / widths[place])
            for place in range(first, last)
        ]
        per_part = span.weight / sum(parts)
        for place, part in enumerate(parts, first):
            masses[place] += per_part * part


def _cheapest(likely: _Likely, limits: Sequence[float], interval_s: float) -> tuple[int, ...]:
    """For each age the position of the one to poll at next, so that requests and waiting cost least from there on.

    Args:
        likely: When predictions end.
        limits: For each age the longest wait.
        interval_s: Seconds between two polls where nothing is known.
    """
    ages, last = likely.ages, len(likely.ages) - 1
    request = _REQUEST * interval_s**2 / min(max(likely.mean_s, _SHORTEST_S), _LONGEST_S)
    overdue = [age - interval_s for age in ages]  # who has ended by then waits for longer than the interval
    # Waiting until age a of all that ended by b <= a: a x their number - the sum of their ages.
    waited = [age * ended - sum_ for age, ended, sum_ in zip(ages, likely.ended, likely.moments, strict=True)]
    waited_late = [_LATE * (age * by[0] - by[1]) for age, by in ((age, likely.by(age)) for age in overdue)]
    cost = [0.0] * len(ages)
    following = [last] * len(ages)
    for here in reversed(range(last)):
        ended, moment = likely.ended[here], likely.moments[here]
        best = math.inf
        for there in range(bisect_left(ages, ages[here] + closest_s(interval_s)), last + 1):
            if ages[there] > ages[here] + limits[here] and best < math.inf:
                break
            total = waited[there] - ages[there] * ended + moment + cost[there]
            if overdue[there] > ages[here]:
                total += waited_late[there] - _LATE * (overdue[there] * ended - moment)
            if total < best:
                best, following[here] = total, there
        if best < math.inf:
            cost[here] = best + request * (likely.total - ended)
    return tuple(following)

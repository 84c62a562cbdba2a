"""What the sensors decide, as pure functions over plain values."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from sora_pipeline.ledger import Attempt, AttemptState
from sora_pipeline.ledger.clocks import is_over


@dataclass(frozen=True, slots=True)
class PartitionRange:
    """Neighbouring partitions, in the order in which Dagster keeps them: what one range run can serve."""

    keys: tuple[str, ...]

    @property
    def first(self) -> str:
        """Where the range starts."""
        return self.keys[0]

    @property
    def last(self) -> str:
        """Where the range ends, inclusive."""
        return self.keys[-1]


def contiguous_ranges(wanted: Iterable[str], order: Mapping[str, int], longest: int) -> list[PartitionRange]:
    """Cut keys into maximal runs of neighbours, none longer than ``longest``.

    Args:
        wanted: Partition keys; those that Dagster does not know are left out, since one unknown key would fail a tick.
        order: Position of every live partition key; ranges mean this order, whatever the manifest's is.
        longest: The most keys of one stretch.
    """
    ranges: list[list[str]] = []
    for key in sorted((known for known in set(wanted) if known in order), key=order.__getitem__):
        if ranges and len(ranges[-1]) < longest and order[key] == order[ranges[-1][-1]] + 1:
            ranges[-1].append(key)
        else:
            ranges.append([key])
    return [PartitionRange(tuple(keys)) for keys in ranges]


def plan_batch(
    ready: Mapping[str, str], order: Mapping[str, int], *, first: Collection[str], longest: int
) -> PartitionRange | None:
    """The clips that the next run owns: the longest range, of those that serve a production which no run serves.

    Args:
        ready: Pending clips that may be submitted, with their productions.
        order: Position of every live partition key.
        first: Productions that no run serves so far; where there are any, the range holds clips of one of them.
        longest: The most clips of one run.
    """
    cut = contiguous_ranges(ready, order, longest)
    if first:
        cut = [partitions for partitions in cut if any(ready[key] in first for key in partitions.keys)]
    return max(cut, key=lambda partitions: len(partitions.keys)) if cut else None


def plan_fetching(
    ended: Collection[str], neighbours: Iterable[str], order: Mapping[str, int], *, longest: int
) -> list[PartitionRange]:
    """Which clips are fetched (or shown as failed), as ranges, with neighbours that are to be rendered.

    Args:
        ended: Clips whose attempt has ended, or soon will.
        neighbours: Clips that are with the provider, or will be: whoever fetches goes on with them.
        order: Position of every live partition key.
        longest: The most clips of one range.
    """
    ranges = contiguous_ranges({*ended, *neighbours}, order, longest)
    return [partitions for partitions in ranges if not set(partitions.keys).isdisjoint(ended)]


@dataclass(frozen=True, slots=True)
class Recovery:
    """What has to be done about attempts that no run_lock run holds.

    Attributes:
        lost: Submits whose run died before it recorded the answer.
        unclaimed: Reservations for which a run has to be requested (again), by batch.
    """

    lost: list[Attempt]
    unclaimed: dict[str, list[Attempt]]


def plan_recovery(attempts: Iterable[Attempt], now: datetime) -> Recovery:
    """Sort reservations and submits whose lease has run out."""
    recovery = Recovery([], {})
    for attempt in attempts:
        if attempt.lease.until is not None and not is_over(attempt.lease.until, now):
            continue
        if attempt.state is AttemptState.SUBMITTING:
            recovery.lost.append(attempt)
        elif attempt.state is AttemptState.RESERVED:
            recovery.unclaimed.setdefault(attempt.batch_id, []).append(attempt)
    return recovery

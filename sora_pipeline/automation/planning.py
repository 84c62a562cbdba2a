"""What the sensors decide, as pure functions over plain values."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from sora_pipeline.ledger import Attempt, AttemptState
from sora_pipeline.ledger.clocks import is_over
from sora_pipeline.ledger.types import SLOT_STATES

COLLECT_WAIT = timedelta(seconds=30)
"""How long the first rendered clip of a batch waits for its batch mates before it is fetched without them."""
NEARLY_SETTLED = 0.8


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


def plan_dispatch(
    pending: Sequence[str], order: Mapping[str, int], *, free_slots: int, batch_size: int, max_in_flight: int
) -> PartitionRange | None:
    """The next clips that one run submits, or None to wait.

    A run costs seconds, so a trickle of free slots is not handed out one by one: a quarter of all slots has to be
    free, unless fewer clips are pending than that.
    """
    worth_a_run = min(len(pending), batch_size, ceil(max_in_flight / 4))
    if not pending or free_slots < worth_a_run:
        return None
    cut = contiguous_ranges(pending, order, min(batch_size, free_slots))
    return max(cut, key=lambda partitions: len(partitions.keys)) if cut else None


def plan_collect(
    ended: Sequence[Attempt],
    batch_mates: Sequence[Attempt],
    order: Mapping[str, int],
    *,
    now: datetime,
    batch_size: int,
    attempts_left: Mapping[int, bool],
) -> list[PartitionRange]:
    """Which clips are fetched (or shown as failed) now, as ranges.

    Args:
        ended: Attempts that ended and were not shown yet.
        batch_mates: Every attempt of their batches.
        order: Position of every live partition key.
        now: The present.
        batch_size: The most keys of one range.
        attempts_left: By attempt id: a failed clip that begins another attempt by itself is not shown as failed.
    """
    open_by_batch: dict[str, int] = {}
    total_by_batch: dict[str, int] = {}
    for attempt in batch_mates:
        total_by_batch[attempt.batch_id] = total_by_batch.get(attempt.batch_id, 0) + 1
        open_by_batch[attempt.batch_id] = open_by_batch.get(attempt.batch_id, 0) + (
            attempt.state in SLOT_STATES
        )
    ready: list[str] = []
    shown = [attempt for attempt in ended if not attempts_left.get(attempt.attempt_id, False)]
    first_end: dict[str, datetime] = {}
    for attempt in shown:
        end = attempt.result.completed_at or now
        first_end[attempt.batch_id] = min(end, first_end.get(attempt.batch_id, end))
    for attempt in shown:
        batch = attempt.batch_id
        settled = 1 - open_by_batch.get(batch, 0) / max(total_by_batch.get(batch, 1), 1)
        # An end that is still to come was noted by a clock that ran ahead.
        waited = not timedelta(0) <= now - first_end[batch] < COLLECT_WAIT
        if settled >= NEARLY_SETTLED or waited or attempt.result.collect_tries:
            ready.append(attempt.clip_key)
    return contiguous_ranges(ready, order, batch_size)


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

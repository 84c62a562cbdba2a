"""Counts everything in a ledger clip by clip and attempt by attempt, to compare with what its counters say."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Table, select

from sora_pipeline.ledger import Attempt, AttemptState, ClipStanding, Ledger
from sora_pipeline.ledger.counters import NOT_SENT
from sora_pipeline.ledger.schema import charges, clip_counts
from sora_pipeline.ledger.types import GIVEN_UP, ClipCounts
from sora_pipeline.status import CANCELLED, ClipStatus

MANY_ATTEMPTS = 1_000


def require_right_counters(ledger: Ledger) -> None:
    """Every counter is what a full count gives, and so is every answer that is made of them."""
    clips_found, charges_found = _table(ledger, clip_counts), _table(ledger, charges)
    for production in ledger.productions.all():
        name = production.production_id
        standings = list(ledger.clips.standings_of(name).values())
        attempts = ledger.attempts.of_production(name)
        assert clips_found.pop(name, {}) == clips_counted(standings), f"clips of {name}"
        assert charges_found.pop(name, {}) == charges_counted(attempts), f"charges of {name}"
        for most in (1, 2, 3, 9):
            counted = counts_of(standings, most)
            assert ledger.clips.counts(name, most) == counted, f"{name} with {most} attempts a clip"
            kinds = ledger.clips.pending_kinds(name, most)
            assert sum(kind.clips for kind in kinds) == counted.pending
            pending = [each.key for each in standings if each.pending(most)]
            assert ledger.clips.pending(most, name) == pending
        mine = [each for each in attempts if each.account.simulated == production.simulated]
        money = ledger.money.of_production(name)
        assert money.spent_micros == sum(each.cost_micros for each in mine if each.billed)
        assert money.committed_micros == sum(each.cost_micros for each in mine if each.live or each.billed)
    assert (clips_found, charges_found) == ({}, {}), "counted where there is no production"


def _table(ledger: Ledger, table: Table) -> dict[str, Any]:
    """What is counted, by production and then by place; counters at zero are as good as none."""
    found: dict[str, Any] = {}
    with ledger.database.read() as connection:
        for row in connection.execute(select(table)):
            places = len(table.primary_key.columns)
            if any(row[places:]):
                found.setdefault(row.production_id, {})[tuple(row[1:places])] = tuple(row[places:])
    return found


def clips_counted(standings: Iterable[ClipStanding]) -> dict[tuple[Any, ...], tuple[int]]:
    counted = Counter(
        (
            standing_of(each),
            each.attempts_in_round,
            each.clip.model,
            each.clip.duration,
            str(each.clip.size),
        )
        for each in standings
    )
    return {place: (clips,) for place, clips in counted.items()}


def standing_of(clip: ClipStanding) -> str:
    """The word that the ledger keeps for how a clip stands."""
    latest = clip.latest
    if latest is not None and latest.live:
        given_up = latest.state is AttemptState.SUCCEEDED and latest.reported_at is not None
        return GIVEN_UP if given_up else latest.state
    if clip.delivered:
        return ClipStatus.DELIVERED
    if clip.cancelled:
        return CANCELLED
    return ClipStatus.PENDING if clip.pending(MANY_ATTEMPTS) else ClipStatus.FAILED


def charges_counted(attempts: Iterable[Attempt]) -> dict[tuple[Any, ...], tuple[int, ...]]:
    counted: dict[tuple[Any, ...], list[int]] = {}
    for each in attempts:
        reserved = each.state is AttemptState.RESERVED
        sent_at = None if reserved else each.submission.submitted_at
        place = (each.account.name, each.account.simulated, sent_at.date() if sent_at else NOT_SENT)
        sums = counted.setdefault(place, [0, 0, 0])
        sums[0] += each.cost_micros * reserved
        sums[1] += each.cost_micros * (not reserved and (each.live or each.billed))
        sums[2] += each.cost_micros * each.billed
    return {place: tuple(sums) for place, sums in counted.items() if any(sums)}


def counts_of(standings: Iterable[ClipStanding], max_attempts: int) -> ClipCounts:
    """What ``clips.counts`` should find."""
    standings = list(standings)
    live = [each.latest for each in standings if each.latest and each.latest.live]
    rest = [each for each in standings if not (each.latest and each.latest.live)]
    delivered = sum(each.delivered is not None for each in rest)
    pending = sum(each.pending(max_attempts) for each in rest)
    said = Counter(each.status(max_attempts) for each in rest)
    assert (said[ClipStatus.DELIVERED], said[ClipStatus.PENDING]) == (delivered, pending)
    return ClipCounts(
        clips=len(standings),
        live=Counter(
            (each.state, each.state is AttemptState.SUCCEEDED and each.reported_at is not None)
            for each in live
        ),
        delivered=delivered,
        pending=pending,
        failed=said[ClipStatus.FAILED],
    )

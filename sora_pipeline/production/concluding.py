"""Concludes from traces which attempts a clip had. Where they leave a doubt, nobody pays twice for it.

A stored video is collected. A prediction without a known end is in flight: a poll finds out, for nothing. What may have
been submitted without a trace of the answer is ambiguous, and a person decides.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sora_pipeline.clip import Clip
from sora_pipeline.ledger import Attempt, AttemptState
from sora_pipeline.ledger.types import MICROS
from sora_pipeline.production.traces import LONG_AGO, Trace, TraceKind
from sora_pipeline.provider.errors import ErrorKind

LOST_SUBMIT = "the ledger was lost while a run may have submitted it"
LOST_END = "the ledger that knew how it ended was lost, and another attempt followed"
LOST_KIND = "history_lost"
_FIRST = ("submitted_at", "stored_at")
"""Moments that Dagster noted a little after they had been: of several, the first is the right one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A clip, and whose it is.

    Attributes:
        clip: What is asked for.
        fingerprint: Of that.
        production_id: The production that wants it, or wanted it last.
        output_uri: Where that production's videos go.
        active: Whether its manifest still names the clip.
        position: Where in the manifest.
    """

    clip: Clip
    fingerprint: str
    production_id: str
    output_uri: str
    active: bool
    position: int


def conclude(
    wanted: Wanted,
    traces: Sequence[Trace],
    *,
    price: Callable[[], Decimal],
    spent: Decimal,
    deadline_s: float,
    now: datetime,
) -> list[Attempt]:
    """A clip's attempts, oldest first; only the last can be live.

    Args:
        wanted: The clip.
        traces: All there are of it; stored videos are there.
        price: Says what an attempt costs of which no trace says it, in US dollars.
        spent: What the clip is known to have cost in all.
        deadline_s: Seconds that a prediction gets from now on.
        now: The present.
    """
    numbered = _by_number(traces)
    last = max(numbered, default=0)
    made = [
        _attempt(wanted, number, found, last=number == last, price=price, deadline_s=deadline_s, now=now)
        for number, found in sorted(numbered.items())
    ]
    return _costing(made, int(spent * MICROS))


def _by_number(traces: Iterable[Trace]) -> dict[int, list[Trace]]:
    """Traces by attempt; those that do not say which belong to one after the last word, or to a gap before it."""
    numbered: dict[int, list[Trace]] = {}
    unexplained: list[Trace] = []
    for trace in sorted(traces, key=lambda each: (each.at, each.kind.value)):
        if trace.number is None:
            unexplained.append(trace)
        else:
            numbered.setdefault(trace.number, []).append(trace)
    last_word = max((each.at for found in numbered.values() for each in found), default=None)
    later = [each for each in unexplained if last_word is None or each.at > last_word]
    earlier = [each for each in unexplained if last_word is not None and each.at <= last_word]
    gaps = sorted(set(range(1, max(numbered, default=0))) - numbered.keys())
    if earlier and gaps:  # nobody heard how its submit went, and somebody had it tried again
        numbered[gaps[0]] = earlier
    if later and (_may_follow(numbered) or any(each.new_attempt for each in later)):
        numbered[max(numbered, default=0) + 1] = later
    return dict(sorted(numbered.items()))


def _may_follow(numbered: Mapping[int, Sequence[Trace]]) -> bool:
    """Whether a person's run would begin an attempt after these: only where the last has failed."""
    return not numbered or _kind(numbered[max(numbered)]) is TraceKind.FAILED


def _kind(traces: Iterable[Trace]) -> TraceKind:
    return max((trace.kind for trace in traces), key=lambda each: each.value)


def _attempt(
    wanted: Wanted,
    number: int,
    traces: Sequence[Trace],
    *,
    last: bool,
    price: Callable[[], Decimal],
    deadline_s: float,
    now: datetime,
) -> Attempt:
    """One attempt, from all that is known of it, oldest first."""
    known = _merged(traces)
    kind = _kind(traces)
    if kind is TraceKind.ACCEPTED and known.get("prediction_id") is None:
        kind = TraceKind.PERHAPS_SENT
    told = [trace.at for trace in traces if trace.at > LONG_AGO]
    sent = known.get("submitted_at") or min(told, default=now)
    cost = known.get("cost_usd")
    attempt = Attempt(
        attempt_id=0,
        clip_id=wanted.clip.clip_id,
        production_id=wanted.production_id,
        number=number,
        round=1,
        fingerprint=known.get("fingerprint") or wanted.fingerprint,
        state=AttemptState.FAILED,
        batch_id=f"rebuilt-{now:%Y%m%d%H%M%S}",
        provider=known.get("provider") or wanted.clip.provider,
        model=known.get("model") or wanted.clip.model,
        cost_micros=int((price() if cost is None else cost) * MICROS),
        reserved_at=sent,
        submitted_at=sent,
        accepted_at=sent if known.get("prediction_id") else None,
        completed_at=known.get("completed_at"),
        stored_at=known.get("stored_at"),
        prediction_id=known.get("prediction_id"),
        poll_url=known.get("poll_url"),
        provider_status=known.get("provider_status"),
        model_returned=known.get("model_returned"),
        request_summary=known.get("request"),
        possibly_billed=any(trace.possibly_billed for trace in traces),
        run_id=known.get("run_id"),
        **_stored(known),
    )
    match kind:
        case TraceKind.STORED:
            stored_at = attempt.stored_at or now
            return replace(
                attempt,
                state=AttemptState.COLLECTED,
                stored_at=stored_at,
                completed_at=attempt.completed_at or stored_at,
                reported_at=now,
            )
        case TraceKind.FAILED:
            return _failed(attempt, known, now)
        case TraceKind.ACCEPTED if last:
            return replace(
                attempt,
                state=AttemptState.IN_FLIGHT,
                completed_at=None,
                deadline_at=now + timedelta(seconds=deadline_s),
                next_poll_at=now,
            )
        case TraceKind.AMBIGUOUS | TraceKind.PERHAPS_SENT if last:
            return replace(
                attempt,
                state=AttemptState.AMBIGUOUS,
                possibly_billed=True,
                error_kind=ErrorKind.AMBIGUOUS_SUBMIT,
                error_message=known.get("error_message") or LOST_SUBMIT,
                retryable=False,
            )
        case _:
            ended = {"error_kind": LOST_KIND, "error_message": LOST_END, "retryable": False}
            return replace(_failed(attempt, ended, now), possibly_billed=kind is not TraceKind.ACCEPTED)


def _failed(attempt: Attempt, known: dict[str, Any], now: datetime) -> Attempt:
    return replace(
        attempt,
        error_kind=known.get("error_kind") or LOST_KIND,
        error_message=known.get("error_message") or "no reason was recorded",
        retryable=bool(known.get("retryable")),
        completed_at=attempt.completed_at or now,
        reported_at=now,
    )


def _merged(traces: Iterable[Trace]) -> dict[str, Any]:
    """What is known of an attempt; of two words about the same thing the later counts."""
    known: dict[str, Any] = {}
    for trace in traces:
        for name in Trace.__dataclass_fields__:
            value = getattr(trace, name)
            if value is not None:
                known[name] = min(value, known.get(name, value)) if name in _FIRST else value
    return known


def _stored(known: dict[str, Any]) -> dict[str, Any]:
    return asdict(known["video"]) if known.get("video") is not None else {}


def _costing(made: list[Attempt], spent_micros: int) -> list[Attempt]:
    """Attempts that nothing tells of were paid for as well: budgets must not forget them."""
    billed = [attempt for attempt in made if attempt.billed]
    missing = spent_micros - sum(attempt.cost_micros for attempt in billed)
    if missing <= 0 or not made:
        return made
    numbers = {attempt.number for attempt in made}
    free = next((number for number in range(made[-1].number, 0, -1) if number not in numbers), None)
    if free is None:
        first = billed[0] if billed else made[0]
        dearer = replace(first, cost_micros=first.cost_micros + missing, possibly_billed=True)
        return [dearer if attempt is first else attempt for attempt in made]
    lost = replace(
        _bare(made[-1]),
        number=free,
        cost_micros=missing,
        possibly_billed=True,
        error_kind=LOST_KIND,
        error_message=LOST_END,
        retryable=False,
    )
    return sorted([*made, lost], key=lambda attempt: attempt.number)


def _bare(attempt: Attempt) -> Attempt:
    """A failed attempt at the same clip of which nothing else is known."""
    return Attempt(
        attempt_id=0,
        clip_id=attempt.clip_id,
        production_id=attempt.production_id,
        number=0,
        round=1,
        fingerprint=attempt.fingerprint,
        state=AttemptState.FAILED,
        batch_id=attempt.batch_id,
        provider=attempt.provider,
        model=attempt.model,
        cost_micros=0,
        reserved_at=attempt.reserved_at,
        submitted_at=attempt.submitted_at,
        completed_at=attempt.reserved_at,
        reported_at=attempt.reserved_at,
    )

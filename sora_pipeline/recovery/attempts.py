"""Concludes from evidence which attempts a clip had. Where it leaves a doubt, nobody pays twice for it.

A stored video is collected. A prediction without a known end is in flight: a poll finds out, for nothing. What may have
been submitted without a trace of the answer is ambiguous, and a person decides.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sora_pipeline.clip import clip_key
from sora_pipeline.ledger import Account, Attempt, AttemptState
from sora_pipeline.ledger.restore import LOST_END, LOST_KIND
from sora_pipeline.ledger.types import MICROS, Failure, Polling, Result, Submission
from sora_pipeline.provider.errors import ErrorKind
from sora_pipeline.recovery.clips import WantedClip
from sora_pipeline.recovery.evidence import LONG_AGO, Evidence, EvidenceKind

LOST_SUBMIT = "the ledger was lost while a run may have submitted it"
NO_REASON = "no reason was recorded"
_FIRST = ("submitted_at", "stored_at")
"""Moments that Dagster noted a little after they had been: of several, the first is the right one."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for the attempts of a clip where no evidence says it.

    Attributes:
        account: Where they were submitted.
        price: Says what one costs, in US dollars.
        spent: What the clip is known to have cost in all.
        deadline_s: Seconds that a prediction gets from now on.
        now: The present.
    """

    account: Account
    price: Callable[[], Decimal]
    spent: Decimal
    deadline_s: float
    now: datetime


def reconstruct_attempts(wanted: WantedClip, evidence: Sequence[Evidence], terms: Terms) -> list[Attempt]:
    """A clip's attempts, oldest first; only the last can be live.

    Args:
        wanted: The clip.
        evidence: All there is of it; stored videos are there, and fingerprints are of this version.
        terms: What holds where no evidence says it.
    """
    by_number = evidence_by_number(evidence)
    last = max(by_number, default=0)
    attempts = [
        _attempt(wanted, number, one_attempts, terms, last=number == last)
        for number, one_attempts in sorted(by_number.items())
    ]
    return _with_lost_costs(attempts, int(terms.spent * MICROS))


# ---- which evidence is about which attempt


def evidence_by_number(evidence: Iterable[Evidence]) -> dict[int, list[Evidence]]:
    """Evidence by attempt; what does not say which belongs to one after the last word, or to a gap before it."""
    by_number: dict[int, list[Evidence]] = {}
    unexplained: list[Evidence] = []
    for one in sorted(evidence, key=_in_time):
        if one.number is None:
            unexplained.append(one)
        else:
            by_number.setdefault(one.number, []).append(one)
    by_number = _parted(by_number)
    last_word = max((one.at for numbered in by_number.values() for one in numbered), default=None)
    later = [one for one in unexplained if last_word is None or one.at > last_word]
    earlier = [one for one in unexplained if last_word is not None and one.at <= last_word]
    gap = next(number for number in itertools.count(1) if number not in by_number)
    if earlier and gap < max(by_number):  # nobody heard how its submit went, and somebody had it tried again
        by_number[gap] = earlier
    if later and (_may_follow(by_number) or any(one.new_attempt for one in later)):
        by_number[max(by_number, default=0) + 1] = later
    return dict(sorted(by_number.items()))


def _in_time(one: Evidence) -> tuple[Any, ...]:
    return one.at, one.kind.value, one.prediction_id or ""


def _parted(by_number: Mapping[int, list[Evidence]]) -> dict[int, list[Evidence]]:
    """One attempt has one prediction: what two ledgers counted alike are two attempts, and both were paid for."""
    parted: dict[int, list[Evidence]] = {}
    surplus = 0
    for number, numbered in sorted(by_number.items()):
        by_prediction: dict[str, list[Evidence]] = {}
        for one in numbered:
            if one.prediction_id:
                by_prediction.setdefault(one.prediction_id, []).append(one)
        # The last may still be rendering; those that have ended come before it.
        attempts = sorted(by_prediction.values(), key=lambda theirs: -_strongest(theirs).value) or [[]]
        attempts[-1] = [one for one in numbered if one in attempts[-1] or not one.prediction_id]
        for further, attempt in enumerate(attempts):
            parted[number + surplus + further] = attempt
        surplus += len(attempts) - 1
    return parted


def _may_follow(by_number: Mapping[int, Sequence[Evidence]]) -> bool:
    """Whether a person's run would begin an attempt after these: only where the last has failed."""
    return not by_number or _strongest(by_number[max(by_number)]) is EvidenceKind.FAILED


def _strongest(evidence: Iterable[Evidence]) -> EvidenceKind:
    return max((one.kind for one in evidence), key=lambda kind: kind.value)


# ---- what became of one attempt


def _attempt(
    wanted: WantedClip, number: int, evidence: Sequence[Evidence], terms: Terms, *, last: bool
) -> Attempt:
    """One attempt, from all that is known of it, oldest first."""
    known = _merged(evidence)
    kind = _strongest(evidence)
    if kind is EvidenceKind.ACCEPTED and known.get("prediction_id") is None:
        kind = EvidenceKind.PERHAPS_SENT
    attempt = _as_submitted(wanted, number, evidence, terms)
    match kind:
        case EvidenceKind.STORED:
            return _collected(attempt, known, terms.now)
        case EvidenceKind.FAILED:
            failure = Failure(
                known.get("error_kind") or LOST_KIND,
                known.get("error_message") or NO_REASON,
                bool(known.get("retryable")),
            )
            return _failed(attempt, failure, terms.now)
        case EvidenceKind.ACCEPTED if last:
            return _in_flight(attempt, terms)
        case EvidenceKind.AMBIGUOUS | EvidenceKind.PERHAPS_SENT if last:
            return _ambiguous(attempt, known)
    possibly_billed = kind is not EvidenceKind.ACCEPTED
    lost = _failed(attempt, Failure(LOST_KIND, LOST_END, retryable=False), terms.now)
    return replace(lost, possibly_billed=possibly_billed)


def _merged(evidence: Iterable[Evidence]) -> dict[str, Any]:
    """What is known of an attempt; of two words about the same thing the later counts."""
    known: dict[str, Any] = {}
    for one in evidence:
        for name in Evidence.__dataclass_fields__:
            value = getattr(one, name)
            if value is not None:
                known[name] = min(value, known.get(name, value)) if name in _FIRST else value
    return known


def _as_submitted(wanted: WantedClip, number: int, evidence: Sequence[Evidence], terms: Terms) -> Attempt:
    """An attempt as it was sent, whatever became of it."""
    known = _merged(evidence)
    times = [one.at for one in evidence if one.at > LONG_AGO]
    sent_at = known.get("submitted_at") or min(times, default=terms.now)
    cost = known.get("cost_usd")
    return Attempt(
        attempt_id=0,
        clip_key=clip_key(wanted.production_id, wanted.clip.clip_id),
        number=number,
        round=1,
        fingerprint=known.get("fingerprint") or wanted.fingerprint,
        state=AttemptState.FAILED,
        batch_id=f"rebuilt-{terms.now:%Y%m%d%H%M%S}",
        account=known.get("account") or terms.account,
        model=known.get("model") or wanted.clip.model,
        cost_micros=int((terms.price() if cost is None else cost) * MICROS),
        reserved_at=sent_at,
        submission=_submission(known, sent_at),
        polling=Polling(provider_status=known.get("provider_status")),
        result=Result(
            completed_at=known.get("completed_at"),
            video=known.get("video"),
            stored_at=known.get("stored_at"),
        ),
        possibly_billed=any(one.possibly_billed for one in evidence),
        run_id=known.get("run_id"),
    )


def _submission(known: Mapping[str, Any], sent_at: datetime) -> Submission:
    return Submission(
        submitted_at=sent_at,
        accepted_at=sent_at if known.get("prediction_id") else None,
        prediction_id=known.get("prediction_id"),
        poll_url=known.get("poll_url"),
        model_returned=known.get("model_returned"),
        request=known.get("request"),
    )


def _collected(attempt: Attempt, known: Mapping[str, Any], now: datetime) -> Attempt:
    stored_at = known.get("stored_at") or now
    completed_at = known.get("completed_at") or stored_at
    result = replace(attempt.result, stored_at=stored_at, completed_at=completed_at)
    return replace(attempt, state=AttemptState.COLLECTED, result=result, reported_at=now)


def _failed(attempt: Attempt, failure: Failure, now: datetime) -> Attempt:
    result = replace(attempt.result, completed_at=attempt.result.completed_at or now)
    return replace(attempt, failure=failure, result=result, reported_at=now)


def _in_flight(attempt: Attempt, terms: Terms) -> Attempt:
    deadline_at = terms.now + timedelta(seconds=terms.deadline_s)
    polling = replace(attempt.polling, deadline_at=deadline_at, next_at=terms.now)
    result = replace(attempt.result, completed_at=None)
    return replace(attempt, state=AttemptState.IN_FLIGHT, polling=polling, result=result)


def _ambiguous(attempt: Attempt, known: Mapping[str, Any]) -> Attempt:
    message = known.get("error_message") or LOST_SUBMIT
    failure = Failure(ErrorKind.AMBIGUOUS_SUBMIT, message, retryable=False)
    return replace(attempt, state=AttemptState.AMBIGUOUS, possibly_billed=True, failure=failure)


# ---- what it cost


def _with_lost_costs(attempts: list[Attempt], spent_micros: int) -> list[Attempt]:
    """Attempts that nothing tells of were paid for as well: budgets must not forget them."""
    billed = [attempt for attempt in attempts if attempt.billed]
    missing = spent_micros - sum(attempt.cost_micros for attempt in billed)
    if missing <= 0 or not attempts:
        return attempts
    numbers = {attempt.number for attempt in attempts}
    free = next((number for number in range(attempts[-1].number, 0, -1) if number not in numbers), None)
    if free is None:
        first = billed[0] if billed else attempts[0]
        dearer = replace(first, cost_micros=first.cost_micros + missing, possibly_billed=True)
        return [dearer if attempt is first else attempt for attempt in attempts]
    lost = _forgotten(attempts[-1], free, missing)
    return sorted([*attempts, lost], key=lambda attempt: attempt.number)


def _forgotten(attempt: Attempt, number: int, cost_micros: int) -> Attempt:
    """A failed attempt at the same clip of which nothing but its cost is known."""
    return Attempt(
        attempt_id=0,
        clip_key=attempt.clip_key,
        number=number,
        round=1,
        fingerprint=attempt.fingerprint,
        state=AttemptState.FAILED,
        batch_id=attempt.batch_id,
        account=attempt.account,
        model=attempt.model,
        cost_micros=cost_micros,
        reserved_at=attempt.reserved_at,
        submission=Submission(submitted_at=attempt.submission.submitted_at),
        failure=Failure(LOST_KIND, LOST_END, retryable=False),
        result=Result(completed_at=attempt.reserved_at),
        reported_at=attempt.reserved_at,
        possibly_billed=True,
    )

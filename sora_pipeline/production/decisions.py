"""What a clip needs, as pure functions over how far it is: one for runs that ensure predictions, one for a person's retry.

Doing it is somebody else's.
"""

from datetime import datetime
from enum import Enum, auto
from typing import Any

from sora_pipeline.ledger import Account, Attempt, AttemptState, ClipStanding
from sora_pipeline.ledger.clocks import is_over

HAS_PREDICTION = (AttemptState.IN_FLIGHT, AttemptState.SUCCEEDED, AttemptState.TIMED_OUT)
"""States of an attempt that the provider accepted and that is not over."""


class Need(Enum):
    """What a run does about a clip that is to have a prediction."""

    NOTHING = auto()  # it has a prediction or a video
    BEGIN = auto()  # it has no attempt that could go on: one has to be reserved
    SUBMIT = auto()  # its reservation is ours to send
    RELEASE = auto()  # its reservation is for another account: it has to be planned again
    PARK = auto()  # the run that submitted it died before it recorded the answer
    WAIT = auto()  # another run is submitting it at this moment
    SHOW_FAILURE = auto()  # this batch has tried it, and it failed
    SHOW_AMBIGUOUS = auto()  # it may have been billed: a person decides


def need_of(
    standing: ClipStanding,
    *,
    batch_id: str,
    owner: str,
    account: Account,
    force: bool,
    now: datetime,
    max_attempts: int | None = None,
) -> Need:
    """What a run does about a clip.

    Args:
        standing: How far the clip is.
        batch_id: The batch whose reservations the run may use.
        owner: The run.
        account: Who submits in that run.
        force: Whether to begin an attempt although the clip is delivered with the same fingerprint.
        now: The present.
        max_attempts: Attempts a clip may have, where the run begins another by itself after one that was rendered in vain; None:
            it does not.
    """
    latest = standing.latest
    tried = latest is not None and latest.batch_id == batch_id
    if latest is None or not latest.live:
        if standing.delivered and (tried or not force):
            return Need.NOTHING
        if max_attempts is not None and latest and tried and latest.submission.accepted_at is not None:
            # It had a prediction; that this came to nothing is shown where videos are.
            return Need.BEGIN if standing.pending(max_attempts) else Need.NOTHING
        return Need.SHOW_FAILURE if tried else Need.BEGIN
    if latest.state in HAS_PREDICTION:
        return Need.NOTHING
    if latest.state is AttemptState.AMBIGUOUS:
        return Need.SHOW_AMBIGUOUS
    if not is_claimable(latest, owner, now):
        return Need.WAIT
    if latest.state is AttemptState.SUBMITTING:
        return Need.WAIT if latest.lease.owner == owner else Need.PARK
    return Need.SUBMIT if latest.account == account else Need.RELEASE


def is_claimable(attempt: Attempt, owner: str, now: datetime) -> bool:
    """Whether nobody else works on an attempt, as far as its lease tells."""
    until = attempt.lease.until
    return attempt.lease.owner in (None, owner) or (until is not None and is_over(until, now))


class Said(Enum):
    """What the provider said of a stuck prediction when it was asked for once more."""

    RENDERED = auto()  # there is something to fetch
    RUNNING = auto()  # it still renders, or says so
    LOST = auto()  # the provider does not know it, or has no video of it any more
    FAILED = auto()  # it ended without a video, and the attempt says why
    NO_ANSWER = auto()


def is_stuck(attempt: Attempt | None) -> bool:
    """Whether an attempt stands in the way of a further one although no run waits for it any more."""
    if attempt is None:
        return False
    given_up = attempt.state is AttemptState.SUCCEEDED and attempt.reported_at is not None
    return given_up or attempt.state is AttemptState.TIMED_OUT


class Retry(Enum):
    """What a person's retry does about a clip."""

    ANEW = auto()  # a new attempt, at its price
    GIVE_UP_AND_ANEW = auto()  # what became of it cannot be known or had: another is paid for
    HOLD = auto()  # its submit lost its answer, and the person has not named it
    HOLD_CANCELLED = auto()  # a person cancelled it, and it is neither named nor asked for by that kind
    HOLD_ELSEWHERE = auto()  # its prediction is at an account of earlier, and the person has not named it
    RESUME = auto()  # wait once more for a prediction past its deadline
    FETCH = auto()  # fetch a rendered video that runs had given up on
    FETCH_LOST = auto()  # fetch a delivered video whose file is gone or damaged
    NOTHING = auto()  # delivered, pending or under way


def retry_of(standing: ClipStanding, *, uncancel: bool = False, named: bool, **facts: Any) -> Retry:
    """What a person's retry does about a clip; the arguments are ``_retry_of``'s.

    Args:
        standing: How far the clip is.
        uncancel: Whether the person asked for those that were cancelled.
        named: Whether the person named this very clip.
        facts: Everything else.
    """
    retry = _retry_of(standing, named=named, **facts)
    pays = retry in (Retry.ANEW, Retry.GIVE_UP_AND_ANEW)
    return Retry.HOLD_CANCELLED if pays and standing.cancelled and not (named or uncancel) else retry


def _retry_of(
    standing: ClipStanding,
    *,
    account: str | None,
    named: bool,
    file_lost: bool,
    max_attempts: int,
    said: Said = Said.NO_ANSWER,
    give_up: bool = False,
) -> Retry:
    """What a person's retry does about a clip.

    Args:
        standing: How far the clip is.
        account: The account that its production is made by now; None: not known.
        named: Whether the person named this very clip.
        file_lost: Whether the file of a delivered clip is gone, or is not what was stored.
        max_attempts: Attempts a clip may have by itself.
        said: What the provider said of its prediction just now, where no run waits for that any more.
        give_up: Whether the person would rather pay for another than wait for a prediction, once the provider has said that
            there is no video of it so far.
    """
    latest = standing.latest
    if latest is None or not latest.live:
        if standing.delivered:
            return Retry.FETCH_LOST if named and file_lost else Retry.NOTHING
        return Retry.NOTHING if standing.pending(max_attempts) else Retry.ANEW
    if latest.state is AttemptState.AMBIGUOUS:
        return Retry.GIVE_UP_AND_ANEW if named else Retry.HOLD
    given_up = give_up and named and said is not Said.NO_ANSWER
    if latest.state is AttemptState.IN_FLIGHT:
        return Retry.GIVE_UP_AND_ANEW if given_up and said is not Said.RENDERED else Retry.NOTHING
    if not is_stuck(latest):
        return Retry.NOTHING
    timed_out = latest.state is AttemptState.TIMED_OUT
    if timed_out and account not in (None, latest.account.name):
        return Retry.GIVE_UP_AND_ANEW if named else Retry.HOLD_ELSEWHERE
    if said is Said.LOST or given_up:
        return Retry.GIVE_UP_AND_ANEW
    return Retry.RESUME if timed_out else Retry.FETCH

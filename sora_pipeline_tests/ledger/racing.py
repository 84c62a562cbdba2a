"""What the racing tests run in threads and processes of their own: everybody begins at the same moment."""

import time
from collections.abc import Sequence

from sora_pipeline.ledger import Account, Ledger, Limits
from sora_pipeline.ledger.database import SCHEMA_VERSION

LEASE_S = 600.0


def warm_up() -> int:
    """Makes a worker import all that a race needs."""
    time.sleep(0.1)
    return len(SCHEMA_VERSION)


def wait_until(start: float) -> None:
    time.sleep(max(0.0, start - time.time()))


def open_ledger(url: str, start: float) -> None:
    wait_until(start)
    Ledger(url).close()


def reserve_each(
    url: str, start: float, keys: Sequence[str], cost: int, limits: Limits, account: Account
) -> list[str]:
    """Reserve clip by clip, so that the racers interleave; the keys of the clips that this one got."""
    ledger = Ledger(url)
    wait_until(start)
    won = []
    for key in keys:
        reservation = ledger.attempts.reserve(
            {key: cost}, account=account, batch_id="race", limits=limits, lease_s=LEASE_S
        )
        won += [each.clip_key for each in reservation.reserved]
    ledger.close()
    return won


def begin_each(url: str, start: float, attempt_ids: Sequence[int], owner: str) -> list[int]:
    """Begin to submit attempt by attempt; those that this one may send."""
    ledger = Ledger(url)
    wait_until(start)
    won = [
        attempt_id
        for attempt_id in attempt_ids
        if ledger.attempts.begin_submit(attempt_id, owner, lease_s=LEASE_S, request_summary={})
    ]
    ledger.close()
    return won


def collect_each(url: str, start: float, attempt_ids: Sequence[int], owner: str) -> list[int]:
    """Claim video by video; those that this one may download."""
    ledger = Ledger(url)
    wait_until(start)
    won = [
        attempt_id
        for attempt_id in attempt_ids
        if ledger.attempts.claim_collect(attempt_id, owner, lease_s=LEASE_S)
    ]
    ledger.close()
    return won


def whole_lives(
    url: str, start: float, keys: Sequence[str], cost: int, limits: Limits, account: Account, owner: str
) -> int:
    """Reserve, submit and fail again and again, as dispatch and runs do side by side; how many were accepted."""
    ledger = Ledger(url)
    attempts = ledger.attempts
    wait_until(start)
    accepted = 0
    for key in keys:
        reserved = attempts.reserve(
            {key: cost}, account=account, batch_id="race", limits=limits, lease_s=LEASE_S
        ).reserved
        attempts.heartbeat(owner, LEASE_S)
        for attempt in reserved:
            if not attempts.begin_submit(attempt.attempt_id, owner, lease_s=LEASE_S, request_summary={}):
                continue
            accepted += attempts.accept(
                attempt.attempt_id,
                prediction_id="p",
                poll_url=None,
                provider_status="queued",
                model_returned=None,
                deadline_s=60,
                first_poll_s=1,
            )
            attempts.fail(attempt.attempt_id, "oops", "again", retryable=True, reported=True)
        attempts.report([attempt.attempt_id for attempt in reserved])
    ledger.close()
    return accepted

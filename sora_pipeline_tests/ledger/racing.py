"""What the racing tests run in threads and processes of their own: everybody begins at the same moment."""

import random
import time
from collections.abc import Callable, Sequence
from functools import partial

from sora_pipeline.ledger import Account, AttemptState, Ledger, Limits
from sora_pipeline.ledger.database import SCHEMA_VERSION
from sora_pipeline_tests.ledger.world import DOLLAR, POLL_S, VIDEO, Clock, World, clip

LEASE_S = 600.0


def warm_up() -> int:
    """Makes a worker import all that a race needs."""
    time.sleep(0.1)
    return len(SCHEMA_VERSION)


def wait_until(start: float) -> None:
    time.sleep(max(0.0, start - time.time()))


def take_turns(url: str, start: float, seconds: float, per_minute: float, _number: int) -> int:
    """Take as many turns as there are for a while; how many this one got."""
    ledger = Ledger(url)
    wait_until(start)
    took = 0
    while time.time() < start + seconds:
        taken = ledger.turns.take("sandbox", per_minute, wanted=7)
        took += taken.turns
        time.sleep(min(taken.wait_s, max(0.0, start + seconds - time.time())))
    ledger.close()
    return took


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


def send_and_withdraw(url: str, start: float, attempt_ids: Sequence[int], owner: str) -> None:
    """Submit each of these again and again, and take every one back."""
    ledger = Ledger(url)
    wait_until(start)
    for attempt_id in [*attempt_ids] * 10:
        assert ledger.attempts.begin_submit(attempt_id, owner, lease_s=LEASE_S, request_summary={})
        assert ledger.attempts.withdraw(attempt_id, "rate_limited", "later", counts=False)
    ledger.close()


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


def anything(url: str, start: float, seed: int, names: Sequence[str], clip_ids: Sequence[str]) -> int:
    """Whatever runs, sensors and people do to these productions, in an order of its own; how often something happened."""
    clock = Clock()
    ledger = Ledger(url, now=clock)
    worlds = [
        World.known(ledger, clock, made, Account(made.account or "", made.account or "", made.simulated))
        for made in map(ledger.productions.get, names)
    ]
    at_random = random.Random(seed)
    wait_until(start)
    happened = 0
    for _ in range(60):
        step = at_random.choice(_steps(ledger, at_random, at_random.choice(worlds), clip_ids))
        happened += bool(step())
    ledger.close()
    return happened


def _steps(
    ledger: Ledger, at_random: random.Random, world: World, clip_ids: Sequence[str]
) -> list[Callable[[], object]]:
    """What could be done now to a clip; it may be done by others before that."""
    attempts, clip_id = ledger.attempts, at_random.choice(clip_ids)
    force, retryable = at_random.random() < 0.5, at_random.random() < 0.5
    if at_random.random() < 0.1:
        rows = [clip(each, at_random.choice(["a cat", "a dog"])) for each in clip_ids[1:]]
        return [lambda: world.register(*rows), lambda: ledger.clips.new_round(world.keys(clip_id))]
    made = attempts.of_clips(world.keys(clip_id))
    if not made or not made[-1].live:
        return [partial(world.try_reserve, *at_random.sample(clip_ids, 2), cost=DOLLAR, force=force)]
    newest = made[-1].attempt_id
    fail = partial(attempts.fail, newest, "oops", "no", retryable=retryable, reported=True)
    steps: dict[AttemptState, list[Callable[[], object]]] = {
        AttemptState.RESERVED: [partial(world.begin_submit, newest), partial(attempts.release, newest)],
        AttemptState.SUBMITTING: [
            partial(world.accept, newest),
            partial(attempts.withdraw, newest, "rate_limited", "later"),
            partial(attempts.park_ambiguous, newest, "ambiguous_submit", "lost"),
        ],
        AttemptState.IN_FLIGHT: [
            partial(world.succeed, newest),
            partial(attempts.time_out, newest, "late"),
            partial(attempts.still_running, newest, "processing", POLL_S),
        ],
        AttemptState.SUCCEEDED: [
            partial(attempts.collect, newest, VIDEO, run_id="run"),
            partial(attempts.report, [newest]),
            partial(attempts.fetch_again, newest),
        ],
        AttemptState.AMBIGUOUS: [partial(world.accept, newest)],
        AttemptState.TIMED_OUT: [partial(attempts.resume, newest, LEASE_S), partial(world.succeed, newest)],
    }
    return [*steps[made[-1].state], fail]

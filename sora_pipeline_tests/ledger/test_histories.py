"""Histories that nobody thought of: whatever happens in whatever order, nothing is paid twice and all that is paid counts."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import event, insert, update

from sora_pipeline.ledger import Attempt, AttemptState, Ledger, Limits
from sora_pipeline.ledger.schema import attempts as attempts_table
from sora_pipeline.ledger.schema import clips as clips_table
from sora_pipeline.ledger.types import LIVE_STATES
from sora_pipeline_tests.ledger.world import DEADLINE_S, DOLLAR, LEASE_S, POLL_S, VIDEO, Clock, World, clip

CLIPS = ["a", "b", "c"]
PROMPTS = ["a cat", "a dog"]
OWNERS = ["run 1", "run 2"]
BUDGET = Decimal(9)


def open_quickly(url: str, clock: Clock) -> Ledger:
    """A ledger that need not survive a power cut."""
    ledger = Ledger(url, now=clock)
    if ledger.database.engine.dialect.name == "sqlite":
        ledger.close()
        event.listen(
            ledger.database.engine,
            "connect",
            lambda connection, _: connection.execute("PRAGMA synchronous=OFF"),
        )
    return ledger


# ---- the two ways to say which clips are pending


@st.composite
def histories(draw: st.DrawFn) -> dict[str, Any]:
    """Any attempts that the ledger's rules allow for one clip."""
    rounds = draw(st.lists(st.integers(1, 3), max_size=5).map(sorted))
    made = [
        {
            "round": each,
            "state": draw(st.sampled_from(["failed", "collected"])),
            "retryable": draw(st.sampled_from([True, False, None])),
            "prompt": draw(st.sampled_from(PROMPTS)),
        }
        for each in rounds
    ]
    if made and draw(st.booleans()):
        made[-1]["state"] = draw(st.sampled_from(LIVE_STATES))  # none can be begun after a live one
    return {
        "prompt": draw(st.sampled_from(PROMPTS)),
        "round": draw(st.integers(max(rounds, default=1), 4)),
        "active": draw(st.booleans()),
        "attempts": made,
    }


@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(clips=st.lists(histories(), min_size=1, max_size=12), max_attempts=st.integers(1, 4))
def test_query_and_standing_agree_on_what_is_pending(
    fresh_url: Callable[[], str], clips: list[dict[str, Any]], max_attempts: int
) -> None:
    ledger = open_quickly(fresh_url(), Clock())
    world = World(ledger, Clock())
    world.register(*(clip(f"clip-{number}", each["prompt"]) for number, each in enumerate(clips)))
    with ledger.database.write() as connection:
        for number, each in enumerate(clips):
            connection.execute(
                update(clips_table)
                .where(clips_table.c.clip_id == f"clip-{number}")
                .values(round=each["round"], active=each["active"])
            )
            for position, attempt in enumerate(each["attempts"], 1):
                row = attempt | {"fingerprint": clip("", attempt["prompt"]).fingerprint, "number": position}
                row |= {"clip_id": f"clip-{number}", "production_id": world.production_id}
                row |= {"batch_id": "b", "provider": "sandbox", "model": "m", "cost_micros": 1}
                del row["prompt"]
                connection.execute(insert(attempts_table).values(**row, reserved_at=world.clock()))
    standings = ledger.clips.standings(f"clip-{number}" for number in range(len(clips)))
    expected = [clip_id for clip_id, standing in standings.items() if standing.pending(max_attempts)]
    assert sorted(ledger.clips.pending(max_attempts)) == sorted(expected)
    ledger.close()


# ---- any interleaving


class Runs(RuleBasedStateMachine):
    """Runs, sensors, people and a provider that bills each submit it accepts, in any order."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.clock = Clock()
        self.ledger = open_quickly(url, self.clock)
        self.attempts = self.ledger.attempts
        self.world = World(self.ledger, self.clock, budget=BUDGET)
        self.limits = Limits(max_in_flight=2, max_attempts=2)
        self.billed: Counter[int] = Counter()  # attempt: submits that the provider accepted
        self.on_the_wire: list[int] = []  # submits that were sent and not answered yet
        self.collected: set[int] = set()
        self.world.register(*CLIPS)

    def teardown(self) -> None:
        self.ledger.close()

    def any_of(self, data: st.DataObject, *states: AttemptState) -> Attempt | None:
        found = self.attempts.live(*states)
        return data.draw(st.sampled_from(found)) if found else None

    # -- planning

    @rule(
        clip_ids=st.lists(st.sampled_from(CLIPS), unique=True, min_size=1),
        owner=st.sampled_from([None, *OWNERS]),
        force=st.booleans(),
        dollars=st.integers(1, 4),
    )
    def reserve(self, clip_ids: list[str], owner: str | None, force: bool, dollars: int) -> None:
        before = self.ledger.clips.standings(clip_ids)
        reservation = self.attempts.reserve(
            dict.fromkeys(clip_ids, dollars * DOLLAR),
            batch_id="batch",
            limits=self.limits,
            lease_s=LEASE_S,
            owner=owner,
            force=force,
        )
        for attempt in reservation.reserved:
            standing = before[attempt.clip_id]
            assert standing.active
            assert force or (standing.delivered is None and standing.pending(self.limits.max_attempts))
        if reservation.reserved:
            assert self.attempts.slots_taken() <= self.limits.max_in_flight

    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        if attempt := self.any_of(data, AttemptState.RESERVED):
            assert self.attempts.release(attempt.attempt_id)

    @rule(data=st.data(), owner=st.sampled_from(OWNERS), how=st.sampled_from(["claim", "extend"]))
    def hand_over(self, data: st.DataObject, owner: str, how: str) -> None:
        if attempt := self.any_of(data, AttemptState.RESERVED):
            if how == "claim":
                self.attempts.claim([attempt.attempt_id], owner, LEASE_S)
            else:
                self.attempts.extend([attempt.attempt_id], LEASE_S)

    @rule(owner=st.sampled_from(OWNERS))
    def heartbeat(self, owner: str) -> None:
        self.attempts.heartbeat(owner, LEASE_S)

    @rule(seconds=st.sampled_from([POLL_S, LEASE_S + 1, DEADLINE_S]))
    def time_passes(self, seconds: float) -> None:
        self.clock.turn(seconds)

    # -- submitting

    @rule(data=st.data(), owner=st.sampled_from(OWNERS))
    def send(self, data: st.DataObject, owner: str) -> None:
        attempt = self.any_of(data, AttemptState.RESERVED, AttemptState.SUBMITTING, AttemptState.AMBIGUOUS)
        if attempt and self.world.begin_submit(attempt.attempt_id, owner):
            self.on_the_wire.append(attempt.attempt_id)

    @precondition(lambda self: self.on_the_wire)
    @rule(
        data=st.data(),
        provider_accepts=st.booleans(),
        run=st.sampled_from(["hears", "loses the answer", "died"]),
    )
    def answer(self, data: st.DataObject, provider_accepts: bool, run: str) -> None:
        """The request arrives, however late, and its sender may or may not hear of it."""
        attempt_id = data.draw(st.sampled_from(self.on_the_wire))
        self.on_the_wire.remove(attempt_id)
        self.billed[attempt_id] += provider_accepts
        if run == "loses the answer":
            self.attempts.park_ambiguous(attempt_id, "ambiguous_submit", "lost")
        elif run == "hears" and provider_accepts:
            self.world.accept(attempt_id)
        elif run == "hears" and data.draw(st.booleans(), label="may be tried again"):
            self.attempts.withdraw(attempt_id)
        elif run == "hears" and self.world.state(attempt_id) == AttemptState.SUBMITTING:
            self.attempts.fail(attempt_id, "content_policy", "no", retryable=False, reported=True)

    @rule()
    def find_the_dead(self) -> None:
        """A sensor parks what its run has left; the run may only have been slow."""
        for attempt in self.attempts.live(AttemptState.SUBMITTING):
            if attempt.lease_until and attempt.lease_until < self.clock():
                self.attempts.park_ambiguous(attempt.attempt_id, "ambiguous_submit", "the run died")

    @rule(data=st.data(), retryable=st.booleans())
    def a_person_gives_a_lost_one_up(self, data: st.DataObject, retryable: bool) -> None:
        if attempt := self.any_of(data, AttemptState.AMBIGUOUS):
            self.attempts.fail(attempt.attempt_id, "given_up", "resubmit", retryable=retryable, reported=True)

    # -- polling

    @rule(
        data=st.data(),
        news=st.sampled_from(["processing", "completed", "failed", "failed for good", "late", "resume"]),
    )
    def poll(self, data: st.DataObject, news: str) -> None:
        attempt = self.any_of(data, AttemptState.IN_FLIGHT, AttemptState.TIMED_OUT, AttemptState.SUCCEEDED)
        if attempt is None:
            return
        attempt_id = attempt.attempt_id
        if news == "processing":
            self.attempts.still_running(attempt_id, "processing", POLL_S)
        elif news == "completed":
            assert self.world.succeed(attempt_id)
        elif news == "late":
            self.attempts.time_out(attempt_id, "late")
        elif news == "resume":
            self.attempts.resume(attempt_id, DEADLINE_S)
        else:
            retryable = news == "failed"
            assert self.attempts.fail(attempt_id, "oops", "no", retryable=retryable, reported=False)

    # -- collecting

    @rule(data=st.data(), owner=st.sampled_from(OWNERS), good=st.booleans())
    def collect(self, data: st.DataObject, owner: str, good: bool) -> None:
        attempt = self.any_of(data, AttemptState.SUCCEEDED)
        if attempt is None or not self.attempts.claim_collect(attempt.attempt_id, owner, LEASE_S):
            return
        if good:
            assert self.attempts.collect(attempt.attempt_id, VIDEO, run_id=owner)
            self.collected.add(attempt.attempt_id)
        elif data.draw(st.booleans(), label="wrong video"):
            assert self.attempts.keep_rejected(
                attempt.attempt_id, VIDEO, run_id=owner, kind="wrong_size", message="no"
            )

    @rule(data=st.data())
    def expect_collect(self, data: st.DataObject) -> None:
        if attempt := self.any_of(data, AttemptState.SUCCEEDED):
            self.attempts.expect_collect([attempt.attempt_id], LEASE_S)

    @rule()
    def report(self) -> None:
        self.attempts.report([each.attempt_id for each in self.attempts.unreported()])

    # -- people

    @rule(
        wanted=st.lists(st.tuples(st.sampled_from(CLIPS), st.sampled_from(PROMPTS)), unique_by=lambda x: x[0])
    )
    def edit_the_manifest(self, wanted: list[tuple[str, str]]) -> None:
        self.world.register(*(clip(clip_id, prompt) for clip_id, prompt in wanted))

    @rule(clip_id=st.sampled_from(CLIPS))
    def retry(self, clip_id: str) -> None:
        self.ledger.clips.new_round([clip_id])

    # -- what holds at every moment

    @invariant()
    def nothing_is_paid_twice_and_all_that_is_paid_counts(self) -> None:
        made = {each.attempt_id: each for each in self.attempts.of_production(self.world.production_id)}
        assert max(Counter(each.clip_id for each in made.values() if each.live).values(), default=0) <= 1
        assert max(self.billed.values(), default=0) <= 1
        billed = sum((made[each].cost_usd for each, times in self.billed.items() if times), Decimal(0))
        assert billed <= self.world.committed() <= BUDGET
        assert all(made[each].state == AttemptState.COLLECTED for each in self.collected)

    @invariant()
    def pending_is_what_the_standings_say(self) -> None:
        standings = self.ledger.clips.standings(CLIPS)
        expected = {clip_id for clip_id in CLIPS if standings[clip_id].pending(self.limits.max_attempts)}
        assert set(self.world.pending()) == expected


def test_no_interleaving_pays_twice_or_forgets_a_bill(fresh_url: Callable[[], str]) -> None:
    run_state_machine_as_test(
        lambda: Runs(fresh_url()),
        settings=settings(
            max_examples=30,
            stateful_step_count=25,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )

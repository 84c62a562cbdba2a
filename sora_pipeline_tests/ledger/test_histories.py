"""Histories that nobody thought of: whatever happens in whatever order, nothing is paid twice and all that is paid counts."""

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import insert, update

from sora_pipeline.automation.planning import plan_recovery
from sora_pipeline.ledger import AttemptState, Ledger, Limits
from sora_pipeline.ledger.clips import note_outcomes
from sora_pipeline.ledger.clocks import FURTHEST_S
from sora_pipeline.ledger.schema import attempts as attempts_table
from sora_pipeline.ledger.schema import clips as clips_table
from sora_pipeline.ledger.types import LIVE_STATES, SLOT_STATES, ClipCounts
from sora_pipeline_tests.ledger.world import DEADLINE_S, DOLLAR, LEASE_S, POLL_S, VIDEO, Clock, World, clip

CLIPS = ["a", "b", "c"]
PROMPTS = ["a cat", "a dog"]
OWNERS = ["run 1", "run 2"]
BUDGET = Decimal(15)
HOUR = 3600.0
ANSWERS = [
    "accepted",
    "accepted, answer lost",
    "accepted, run died",
    "answer lost",
    "run died",
    "later",
    "refused",
]
GOOD_STEP = {
    AttemptState.RESERVED: "send",
    AttemptState.SUBMITTING: "accepted",
    AttemptState.IN_FLIGHT: "completed",
    AttemptState.SUCCEEDED: "collect",
    AttemptState.TIMED_OUT: "resume",
    AttemptState.AMBIGUOUS: None,
}
ODD_STEPS = {
    AttemptState.RESERVED: ["claim", "extend", "release"],
    AttemptState.SUBMITTING: [*ANSWERS[1:], "send"],
    AttemptState.IN_FLIGHT: ["processing", "failed", "failed for good", "late"],
    AttemptState.SUCCEEDED: ["reject", "expect", "completed", "failed"],
    AttemptState.TIMED_OUT: ["completed", "failed for good"],
    AttemptState.AMBIGUOUS: ["send", "give up", *ANSWERS],
}


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
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(clips=st.lists(histories(), min_size=1, max_size=12), max_attempts=st.integers(1, 4))
def test_query_and_standing_agree_on_what_is_pending(
    empty: Callable[[], Ledger], clips: list[dict[str, Any]], max_attempts: int
) -> None:
    ledger = empty()
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
        note_outcomes(connection, clips_table.c.production_id == world.production_id)
    standings = ledger.clips.standings(f"clip-{number}" for number in range(len(clips)))
    expected = [clip_id for clip_id, standing in standings.items() if standing.pending(max_attempts)]
    assert sorted(ledger.clips.pending(max_attempts)) == sorted(expected)
    assert ledger.clips.counts(world.production_id, max_attempts) == counted(ledger, world, max_attempts)


def counted(ledger: Ledger, world: World, max_attempts: int) -> ClipCounts:
    """What ``counts`` should find, clip by clip."""
    standings = ledger.clips.standings_of(world.production_id).values()
    live = [each.latest for each in standings if each.latest and each.latest.live]
    rest = [each for each in standings if not (each.latest and each.latest.live)]
    delivered = sum(each.delivered is not None for each in rest)
    pending = sum(each.pending(max_attempts) for each in rest)
    return ClipCounts(
        clips=len(standings),
        live=Counter((each.state, each.reported_at is not None) for each in live),
        delivered=delivered,
        pending=pending,
        failed=len(rest) - delivered - pending,
    )


# ---- any interleaving


class Runs(RuleBasedStateMachine):
    """Runs, sensors, people and a provider that bills each submit it accepts, in any order."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__()
        assert isinstance(ledger.now, Clock)
        self.ledger, self.clock, self.attempts = ledger, ledger.now, ledger.attempts
        self.world = World(self.ledger, self.clock, budget=BUDGET)
        self.limits = self.world.limits = Limits(max_in_flight=2, max_attempts=2)
        self.billed: Counter[int] = Counter()  # attempt: submits that the provider accepted
        self.on_the_wire: list[int] = []  # submits that were sent and not answered yet
        self.collected: set[int] = set()
        self.delivered: dict[str, set[str]] = {}  # clip: fingerprints
        self.prompts = dict.fromkeys(CLIPS, PROMPTS[0])
        self.world.register(*CLIPS)

    # -- what runs and sensors do

    @rule(
        data=st.data(),
        clip_id=st.sampled_from(CLIPS),
        owner=st.sampled_from(OWNERS),
        steps=st.integers(1, 6),
        odd_step=st.integers(0, 6),
    )
    def work(self, data: st.DataObject, clip_id: str, owner: str, steps: int, odd_step: int) -> None:
        """Bring a clip on, all well but for one step: else hardly any would get to the later states."""
        for number in range(steps):
            latest = self.ledger.clips.standings([clip_id])[clip_id].latest
            if latest is None or not latest.live:
                self.reserve(data, clip_id, owner, odd=number == odd_step)
                continue
            step = GOOD_STEP[latest.state]
            if number == odd_step or step is None:
                step = data.draw(st.sampled_from(ODD_STEPS[latest.state]))
            self.take(data, latest.attempt_id, owner, step)

    def reserve(self, data: st.DataObject, clip_id: str, owner: str, *, odd: bool) -> None:
        clip_ids = data.draw(st.permutations(CLIPS)) if odd else [clip_id]
        force = odd and data.draw(st.booleans(), label="force")
        before = self.ledger.clips.standings(clip_ids)
        reservation = self.attempts.reserve(
            dict.fromkeys(clip_ids, data.draw(st.integers(1, 2), label="dollars") * DOLLAR),
            batch_id="batch",
            limits=self.limits,
            lease_s=LEASE_S,
            owner=owner if odd else None,
            force=force,
        )
        for attempt in reservation.reserved:
            standing = before[attempt.clip_id]
            delivered = self.delivered.get(attempt.clip_id, set())
            assert standing.active
            assert force or standing.clip.fingerprint not in delivered
            assert force or standing.attempts_in_round < self.limits.max_attempts
        if reservation.reserved:
            assert self.attempts.slots_taken() <= self.limits.max_in_flight

    def take(self, data: st.DataObject, attempt_id: int, owner: str, step: str) -> None:
        match step:
            case "send":
                if self.world.begin_submit(attempt_id, owner):
                    assert attempt_id not in self.on_the_wire
                    self.on_the_wire.append(attempt_id)
            case "claim":
                self.attempts.claim([attempt_id], owner, LEASE_S)
            case "extend":
                self.attempts.extend([attempt_id], LEASE_S)
            case "release":
                assert self.attempts.release(attempt_id)
            case "give up":
                retryable = data.draw(st.booleans(), label="resubmit")
                assert self.attempts.fail(attempt_id, "lost", "lost", retryable=retryable, reported=True)
            case "completed":
                assert self.world.succeed(attempt_id)
            case "processing":
                assert self.attempts.still_running(attempt_id, "processing", POLL_S)
            case "late":
                assert self.attempts.time_out(attempt_id, "late")
            case "resume":
                assert self.attempts.resume(attempt_id, DEADLINE_S)
            case "expect":
                self.attempts.expect_collect([attempt_id], LEASE_S)
            case "collect" if self.attempts.claim_collect(attempt_id, owner, LEASE_S):
                assert self.attempts.collect(attempt_id, VIDEO, run_id=owner)
                attempt = self.attempts.get(attempt_id)
                self.collected.add(attempt_id)
                self.delivered.setdefault(attempt.clip_id, set()).add(attempt.fingerprint)
            case "reject" if self.attempts.claim_collect(attempt_id, owner, LEASE_S):
                assert self.attempts.keep_rejected(
                    attempt_id, VIDEO, run_id=owner, kind="wrong_size", message="no"
                )
            case "failed" | "failed for good":
                retryable = step == "failed"
                assert self.attempts.fail(attempt_id, "oops", "no", retryable=retryable, reported=False)
            case answer if answer in ANSWERS and attempt_id in self.on_the_wire:
                self.answer(attempt_id, answer)

    def answer(self, attempt_id: int, answer: str) -> None:
        """The request arrives, however late, and its sender may or may not hear of it."""
        self.on_the_wire.remove(attempt_id)
        self.billed[attempt_id] += "accepted" in answer
        match answer:
            case "accepted":
                self.world.accept(attempt_id)
            case "accepted, answer lost" | "answer lost":
                self.attempts.park_ambiguous(attempt_id, "ambiguous_submit", "lost")
            case "later":
                self.attempts.withdraw(attempt_id, "connect", "refused")
            case "refused":
                self.attempts.fail(attempt_id, "content_policy", "no", retryable=False, reported=True)

    @precondition(lambda self: self.on_the_wire)
    @rule(data=st.data())
    def answer_whatever_became_of_it(self, data: st.DataObject) -> None:
        """A run that was only slow hears the answer after somebody has parked or given up its attempt."""
        attempt_id = data.draw(st.sampled_from(self.on_the_wire))
        self.answer(attempt_id, data.draw(st.sampled_from(ANSWERS)))

    # -- meanwhile

    @rule(data=st.data(), seconds=st.sampled_from([POLL_S, LEASE_S + 1, DEADLINE_S]))
    def time_passes(self, data: st.DataObject, seconds: float) -> None:
        """Leases run out, a sensor parks what their runs were sending, and living runs say so."""
        self.clock.turn(seconds)
        match data.draw(st.sampled_from(["look", "heartbeat", "report", "nothing"])):
            case "look":
                for attempt in self.attempts.live(AttemptState.SUBMITTING):
                    if attempt.lease_until and attempt.lease_until < self.clock():
                        self.attempts.park_ambiguous(attempt.attempt_id, "ambiguous_submit", "the run died")
            case "heartbeat":
                self.attempts.heartbeat(data.draw(st.sampled_from(OWNERS)), LEASE_S)
            case "report":
                self.attempts.report([each.attempt_id for each in self.attempts.unreported()])

    @rule(seconds=st.sampled_from([-HOUR, HOUR]))
    def the_clock_is_set(self, seconds: float) -> None:
        self.clock.turn(seconds)

    @rule(data=st.data(), how=st.sampled_from(["retry", "edit a row", "drop a row"]))
    def a_person_interferes(self, data: st.DataObject, how: str) -> None:
        clip_id = data.draw(st.sampled_from(CLIPS))
        if how == "retry":
            self.ledger.clips.new_round([clip_id])
            return
        self.prompts[clip_id] = data.draw(st.sampled_from(PROMPTS))
        rows = [clip(each, prompt) for each, prompt in self.prompts.items()]
        self.world.register(*(each for each in rows if each.clip_id != clip_id or how == "edit a row"))

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
        counts = self.ledger.clips.counts(self.world.production_id, self.limits.max_attempts)
        assert counts == counted(self.ledger, self.world, self.limits.max_attempts)

    @invariant()
    def no_clip_that_wants_something_is_overlooked(self) -> None:
        wanted = self.ledger.clips.wanted()
        for clip_id, standing in self.ledger.clips.standings(CLIPS).items():
            under_way = standing.latest is not None and standing.latest.live
            assert (clip_id in wanted) == (standing.active and (not standing.delivered or under_way))

    def teardown(self) -> None:
        """Whatever the clock did: once the longest wait is over, everything live is somebody's to take up."""
        self.clock.turn(FURTHEST_S + 1)
        now = self.clock()
        recovery = plan_recovery(self.attempts.live(AttemptState.RESERVED, AttemptState.SUBMITTING), now)
        taken_up = [*recovery.lost, *(each for batch in recovery.unclaimed.values() for each in batch)]
        taken_up += self.attempts.due(100)
        taken_up += self.attempts.unreported()
        made = self.attempts.of_production(self.world.production_id)
        needy = [
            each.attempt_id
            for each in made
            if each.state in (*SLOT_STATES, AttemptState.SUCCEEDED) and each.reported_at is None
        ]
        assert set(needy) <= {each.attempt_id for each in taken_up}


def test_no_interleaving_pays_twice_or_forgets_a_bill(empty: Callable[[], Ledger]) -> None:
    run_state_machine_as_test(
        lambda: Runs(empty()),
        settings=settings(
            max_examples=25,
            stateful_step_count=12,
            deadline=None,
            phases=set(Phase) - {Phase.explain},  # it traces every line, which takes minutes here
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
